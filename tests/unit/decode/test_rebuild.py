from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.decode.exchanges import CHAT, MESSAGES, RESPONSES, decoded
from watchllm_proxy.decode import rebuild

_VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=10),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
_SLOT = st.sampled_from(["messages", "input", "system", "instructions", "prompt", "tools"])
_BODY = st.dictionaries(_SLOT | st.sampled_from(["slots", "rest", "model", "content"]), _VALUE, max_size=6)
_TARGET = st.sampled_from(
    [CHAT, RESPONSES, MESSAGES, "/v1/completions", "/v1/embeddings", "/v1/images/generations"]
)


@given(_TARGET, _BODY | _VALUE)
def test_any_body_can_be_rebuilt(target: str, body: Any) -> None:
    call = decoded(target, json.dumps(body).encode())
    assert "internal" not in (call.opaque_reason or "")
    assert json.loads(rebuild(call.request_skeleton, call.messages)) == body


def test_the_skeleton_holds_what_is_no_message() -> None:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "tools": [{"type": "function"}]}
    call = decoded(CHAT, body)
    assert json.loads(call.request_skeleton) == {
        "rest": {"model": "gpt-4o"},
        "slots": {"messages": 1, "tools": "whole"},
    }
    assert [(m.slot, json.loads(m.content)) for m in call.messages] == [
        ("messages", body["messages"][0]),
        ("tools", body["tools"]),
    ]


@pytest.mark.parametrize("change", [lambda m: m[:-1], lambda m: (*m, m[0]), lambda m: ()])
def test_messages_that_do_not_fit_the_skeleton_are_refused(change: Any) -> None:
    call = decoded(CHAT, {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]})
    with pytest.raises(ValueError, match="skeleton"):
        rebuild(call.request_skeleton, change(call.messages))


def test_a_message_of_another_slot_is_refused() -> None:
    call = decoded(MESSAGES, {"system": "s", "messages": []})
    other = decoded(CHAT, {"messages": [{"role": "user", "content": "a"}]})
    with pytest.raises(ValueError, match="has no place for"):
        rebuild(other.request_skeleton, (*other.messages, *call.messages))


def test_a_request_that_was_not_understood_cannot_be_rebuilt() -> None:
    with pytest.raises(ValueError, match="no skeleton"):
        rebuild(decoded(CHAT, b"no json").request_skeleton, ())
