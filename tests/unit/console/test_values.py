from __future__ import annotations

import json

import pytest

from watchllm_proxy.console.answers import Problem
from watchllm_proxy.console.values import is_storable, storable_fields, whole_number


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


@pytest.mark.parametrize("value", [60, 60.0])
def test_a_whole_number_however_it_was_written(value: object) -> None:
    found = whole_number(value)
    assert found == 60
    assert isinstance(found, int)


@pytest.mark.parametrize("value", [None, True, False, 60.5, "60", float("inf"), float("nan"), [60]])
def test_what_is_no_whole_number(value: object) -> None:
    assert whole_number(value) is None
