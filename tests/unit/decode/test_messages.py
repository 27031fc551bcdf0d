from __future__ import annotations

import json

from tests.unit.decode.exchanges import MESSAGES, decoded, stream
from watchllm_proxy.records import ToolCall, ToolResult

_START = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "role": "assistant",
        "model": "claude-x",
        "content": [],
        "usage": {
            "input_tokens": 10,
            "cache_read_input_tokens": 90,
            "cache_creation_input_tokens": 5,
            "output_tokens": 1,
        },
    },
}


def _end(**usage: int) -> dict[str, object]:
    return {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7, **usage}}


def test_input_tokens_include_cached_ones_and_are_not_added_up() -> None:
    for end in (_end(), _end(input_tokens=10, cache_read_input_tokens=90, cache_creation_input_tokens=5)):
        usage = decoded(MESSAGES, answer=stream(_START, end, name=True)).usage
        assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (105, 7, 112)
        assert (usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (90, 5)


def test_blocks_grow_by_their_deltas() -> None:
    def delta(index: int, **fields: object) -> dict[str, object]:
        return {"type": "content_block_delta", "index": index, "delta": fields}

    def start(index: int, **block: object) -> dict[str, object]:
        return {"type": "content_block_start", "index": index, "content_block": block}

    call = decoded(
        MESSAGES,
        answer=stream(
            _START,
            {"type": "ping"},
            start(0, type="thinking", thinking="", signature=""),
            delta(0, type="thinking_delta", thinking="Let me "),
            delta(0, type="thinking_delta", thinking="see"),
            delta(0, type="signature_delta", signature="abc="),
            start(1, type="text", text=""),
            delta(1, type="text_delta", text="Rain"),
            delta(1, type="citations_delta", citation={"url": "u"}),
            start(2, type="tool_use", id="toolu_1", name="f", input={}),
            delta(2, type="input_json_delta", partial_json=""),
            delta(2, type="input_json_delta", partial_json='{"a": 1}'),
            start(3, type="tool_use", id="toolu_2", name="g", input={}),
            _end(),
            name=True,
        ),
    )
    assert call.answer is not None
    assert json.loads(call.answer.content)["content"] == [
        {"type": "thinking", "thinking": "Let me see", "signature": "abc="},
        {"type": "text", "text": "Rain", "citations": [{"url": "u"}]},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}},
        {"type": "tool_use", "id": "toolu_2", "name": "g", "input": {}},
    ]
    assert call.answer.text == "Rain"
    assert call.answer.tool_calls == (ToolCall("toolu_1", "f", '{"a":1}'), ToolCall("toolu_2", "g", "{}"))
    assert call.issued_ids == ("msg_1", "toolu_1", "toolu_2")
    assert call.finish_reasons == ("end_turn",)


def test_an_input_that_was_cut_keeps_its_text() -> None:
    call = decoded(
        MESSAGES,
        answer=stream(
            _START,
            {
                "type": "content_block_start",
                "index": 0,
                "content_block": {"type": "tool_use", "id": "t", "name": "f"},
            },
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "input_json_delta", "partial_json": '{"a'},
            },
            name=True,
        ),
    )
    assert call.answer is not None
    assert call.answer.tool_calls == (ToolCall("t", "f", '{"a'),)


def test_an_error_event_ends_the_call() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    call = decoded(MESSAGES, answer=stream(_START, error, name=True))
    assert call.error is not None
    assert (call.error.type, call.error.message) == ("overloaded_error", "Overloaded")
    assert call.usage.input_tokens == 105


def test_a_request_is_read() -> None:
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "14 C", "is_error": True}
    call = decoded(
        MESSAGES,
        {
            "model": "claude-x",
            "system": [{"type": "text", "text": "s1"}, {"type": "text", "text": "s2", "cache_control": {}}],
            "messages": [
                {"role": "user", "content": "hi"},
                {
                    "role": "assistant",
                    "content": [{"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}],
                },
                {"role": "user", "content": [result, {"type": "text", "text": "go on"}]},
            ],
        },
    )
    assert [(m.slot, m.role, m.text) for m in call.messages] == [
        ("system", "system", "s1"),
        ("system", "system", "s2"),
        ("messages", "user", "hi"),
        ("messages", "assistant", ""),
        ("messages", "user", "go on\n14 C"),
    ]
    assert call.messages[4].tool_results == (ToolResult("toolu_1", "14 C", is_error=True),)
    assert call.mentioned_ids == ("toolu_1",)


def test_a_system_prompt_may_be_a_string() -> None:
    message = decoded(MESSAGES, {"system": "s", "messages": []}).messages[0]
    assert (message.slot, message.role, message.text) == ("system", "system", "s")
