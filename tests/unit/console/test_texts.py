from __future__ import annotations

import json

import pytest

from watchllm_proxy.console.answers import Problem
from watchllm_proxy.console.texts import is_storable, storable_fields


@pytest.mark.parametrize("value", ["", "ü", "\U0001f600", "\ufffd", 1, None, True, [], {"a": ["b", {"c": 1.5}]}])
def test_what_a_store_can_hold(value: object) -> None:
    assert is_storable(value)


@pytest.mark.parametrize("value", ["\0", "a\ud800", ["\udfff"], {"\0": 1}, {"a": [{"b": "\0"}]}])
def test_what_no_store_can_hold(value: object) -> None:
    assert not is_storable(value)


def test_depth_is_no_matter() -> None:
    assert is_storable(json.loads("[" * 900 + "1" + "]" * 900))


def test_the_first_bad_field_is_named_and_a_bad_name_is_not_repeated() -> None:
    with pytest.raises(Problem) as found:
        storable_fields([("good", "text"), ("bad", ["\0"]), ("worse", "\0")], 422)
    assert (found.value.status, found.value.param) == (422, "bad")
    with pytest.raises(Problem) as found:
        storable_fields([("\0", "text")], 400)
    assert (found.value.status, found.value.param) == (400, None)
