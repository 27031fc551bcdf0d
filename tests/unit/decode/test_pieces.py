"""The normal form: what frameworks do to a message on its way back, and what makes another one of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.decode.exchanges import CHAT, MESSAGES, RESPONSES, decoded, stream
from watchllm_proxy.decode import combined_link_hash


def _chat(message: dict[str, Any]) -> bytes:
    return decoded(CHAT, {"messages": [message]}).messages[0].link_hash


def _call(arguments: Any = '{"city": "Oslo", "days": 2}', call_id: str = "a", **fields: Any) -> dict[str, Any]:
    function = {"name": "weather", "arguments": arguments}
    return {
        "role": "assistant",
        "tool_calls": [{"id": call_id, "type": "function", "function": function}],
        **fields,
    }


@pytest.mark.parametrize(
    "rewritten",
    [
        _call(content=None),
        _call(content=""),
        _call(content=[]),
        _call(content="Let me look."),
        _call('{"days":2,"city":"Oslo"}', content=None),
        _call({"city": "Oslo", "days": 2}),
        _call(refusal=None, annotations=[], name="agent", reasoning_content="hm", audio=None),
    ],
)
def test_a_tool_call_survives_its_way_back(rewritten: dict[str, Any]) -> None:
    assert _chat(rewritten) == _chat(_call())


@pytest.mark.parametrize(
    "other", [_call('{"city": "Bergen"}'), _call(call_id="b"), {"role": "assistant", "content": "weather"}]
)
def test_another_tool_call_is_another_message(other: dict[str, Any]) -> None:
    assert _chat(other) != _chat(_call())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"role": "user", "content": "hi"}, {"role": "user", "content": [{"type": "text", "text": "hi"}]}),
        ({"role": "user", "content": "hi"}, {"content": " hi\n", "role": "user", "name": "bob"}),
        ({"role": "system", "content": "s"}, {"role": "developer", "content": "s"}),
        ({"role": "assistant", "content": None}, {"role": "assistant"}),
        ({"role": "assistant", "refusal": "no"}, {"role": "assistant", "content": "no"}),
        (
            {"role": "tool", "tool_call_id": "a", "content": "x"},
            {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "x"}], "name": "f"},
        ),
    ],
)
def test_harmless_rewrites_keep_the_link_hash(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert _chat(one) == _chat(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"role": "user", "content": "hi"}, {"role": "assistant", "content": "hi"}),
        ({"role": "user", "content": "hi"}, {"role": "user", "content": "ho"}),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a"}}]},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "b"}}]},
        ),
        (
            {"role": "tool", "tool_call_id": "a", "content": "x"},
            {"role": "tool", "tool_call_id": "b", "content": "x"},
        ),
    ],
)
def test_what_says_something_else_has_another_link_hash(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert _chat(one) != _chat(other)


@pytest.mark.parametrize("empty", ["", "{}", None, "null", " { } "])
def test_no_arguments_are_alike_however_they_are_written(empty: Any) -> None:
    assert _chat(_call(empty)) == _chat(_call("{}"))


def test_the_content_hash_tells_what_the_link_hash_does_not() -> None:
    one, other = (decoded(CHAT, {"messages": [_call(content=text)]}).messages[0] for text in (None, ""))
    assert one.link_hash == other.link_hash
    assert one.content_hash != other.content_hash


def test_key_order_changes_neither_hash() -> None:
    one = decoded(CHAT, b'{"messages":[{"role":"user","content":"\\u00e9"}]}')
    other = decoded(CHAT, '{ "messages": [ {"content": "é", "role": "user"} ] }'.encode())
    assert one.messages == other.messages
    assert one.request_hash == other.request_hash


def test_a_chat_answer_sent_back_word_for_word_is_the_same_message() -> None:
    message = {"role": "assistant", "content": "It rains.", "refusal": None, "annotations": []}
    answer = decoded(answer={"choices": [{"index": 0, "message": message}]}).answer
    assert answer is not None
    assert answer.link_hash == _chat(message)


def test_a_streamed_messages_answer_sent_back_is_the_same_message() -> None:
    blocks = [
        {"type": "text", "text": "Hm"},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"b": 1, "a": 2}},
    ]
    events = [
        {"type": "message_start", "message": {"id": "msg_1", "role": "assistant", "content": []}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hm"}},
        {"type": "content_block_start", "index": 1, "content_block": {**blocks[1], "input": {}}},
        {
            "type": "content_block_delta",
            "index": 1,
            "delta": {"type": "input_json_delta", "partial_json": '{"a":2,'},
        },
        {
            "type": "content_block_delta",
            "index": 1,
            "delta": {"type": "input_json_delta", "partial_json": '"b":1}'},
        },
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 3}},
    ]
    answer = decoded(MESSAGES, answer=stream(*events, name=True)).answer
    echoed = decoded(MESSAGES, {"messages": [{"role": "assistant", "content": blocks}]}).messages[0]
    assert answer is not None
    assert (answer.content, answer.link_hash) == (echoed.content, echoed.link_hash)


def test_a_responses_answer_is_its_items_combined_without_reasoning() -> None:
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": []}
    calls = [
        {"type": "function_call", "id": f"fc_{i}", "call_id": f"c{i}", "name": "f", "arguments": '{"a": 1}'}
        for i in (1, 2)
    ]
    answer = decoded(RESPONSES, answer={"output": [reasoning, *calls]}).answer
    # The client leaves out what it need not send back.
    bare = [{key: value for key, value in call.items() if key != "id"} for call in calls]
    echoed = [message.link_hash for message in decoded(RESPONSES, {"input": bare}).messages]
    assert answer is not None
    assert answer.link_hash == combined_link_hash(echoed)
    single = decoded(RESPONSES, answer={"output": [reasoning, calls[0]]}).answer
    assert single is not None
    assert single.link_hash == echoed[0]


def test_the_normal_form_is_the_same_in_all_dialects() -> None:
    chat = decoded(CHAT, {"messages": [{"role": "tool", "tool_call_id": "a", "content": "x"}]}).messages[0]
    item = decoded(
        RESPONSES, {"input": [{"type": "function_call_output", "call_id": "a", "output": "x"}]}
    ).messages[0]
    block = {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "x"}]}
    message = decoded(MESSAGES, {"messages": [{"role": "user", "content": [block]}]}).messages[0]
    assert chat.link_hash == item.link_hash == message.link_hash
