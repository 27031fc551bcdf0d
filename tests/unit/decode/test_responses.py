from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.decode.exchanges import RESPONSES, decoded, stream
from watchllm_proxy.records import ToolCall, ToolResult

_CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}"}
_TEXT = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "Hello", "annotations": []}],
}
_RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "model": "gpt-5",
    "status": "completed",
    "conversation": {"id": "conv_1"},
    "output": [{"type": "reasoning", "id": "rs_1", "summary": []}, _TEXT, _CALL],
    "instructions": "long",
    "usage": {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4},
        "output_tokens": 6,
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": 16,
    },
}


def _deltas() -> list[dict[str, Any]]:
    """The same output as in _RESPONSE, by its events, without the last one."""
    return [
        {
            "type": "response.created",
            "response": {**_RESPONSE, "status": "in_progress", "output": [], "usage": None},
        },
        {"type": "response.output_item.added", "output_index": 0, "item": _RESPONSE["output"][0]},  # type: ignore[index]  # a list
        {"type": "response.output_item.added", "output_index": 1, "item": {**_TEXT, "content": []}},
        {"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": "Hel"},
        {"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": "lo"},
        {"type": "response.output_item.added", "output_index": 2, "item": {**_CALL, "arguments": ""}},
        {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": "{}"},
    ]


def test_a_response_is_read() -> None:
    call = decoded(RESPONSES, answer=_RESPONSE)
    assert call.answer is not None
    assert (call.answer.text, call.answer.tool_calls) == ("Hello", (ToolCall("call_1", "f", "{}"),))
    assert call.issued_ids == ("resp_1", "rs_1", "msg_1", "fc_1", "call_1", "conv_1")
    assert call.finish_reasons == ("completed",)
    usage = call.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (10, 4, 6)
    assert (usage.reasoning_tokens, usage.total_tokens) == (3, 16)
    assert "instructions" not in json.loads(call.response_metadata)


@pytest.mark.parametrize("name", [True, False])
def test_a_stream_is_its_last_event(name: bool) -> None:
    final = {"type": "response.completed", "response": _RESPONSE}
    streamed = decoded(RESPONSES, answer=stream(*_deltas(), final, name=name))
    plain = decoded(RESPONSES, answer=_RESPONSE)
    assert streamed.answer == plain.answer
    assert streamed.usage == plain.usage
    assert streamed.issued_ids == plain.issued_ids


def test_a_broken_stream_is_put_together_from_its_deltas() -> None:
    call = decoded(RESPONSES, answer=stream(*_deltas()))
    assert call.answer is not None
    assert (call.answer.text, call.answer.tool_calls) == ("Hello", (ToolCall("call_1", "f", "{}"),))
    assert call.finish_reasons == ()
    assert "call_1" in call.issued_ids


def test_a_final_event_without_output_is_filled_in() -> None:
    final = {"type": "response.completed", "response": {**_RESPONSE, "output": []}}
    call = decoded(RESPONSES, answer=stream(*_deltas(), final))
    assert call.answer is not None
    assert call.answer.text == "Hello"
    assert call.finish_reasons == ("completed",)


def test_an_incomplete_response_says_why() -> None:
    body = {**_RESPONSE, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    assert decoded(RESPONSES, answer=body).finish_reasons == ("max_output_tokens",)


def test_a_failed_response_is_an_error_under_status_200() -> None:
    error = {"code": "insufficient_quota", "message": "You exceeded your current quota"}
    failed = {"type": "response.failed", "response": {"id": "resp_1", "status": "failed", "error": error}}
    call = decoded(RESPONSES, answer=stream(failed))
    assert call.error is not None
    assert (call.error.type, call.error.message) == ("insufficient_quota", "You exceeded your current quota")


@pytest.mark.parametrize(
    "event",
    [
        {"type": "error", "code": "server_error", "message": "boom", "param": None},
        {"type": "error", "error": {"code": "server_error", "message": "boom"}},
    ],
)
def test_an_error_event_has_two_shapes(event: dict[str, Any]) -> None:
    call = decoded(RESPONSES, answer=stream(*_deltas(), event))
    assert call.error is not None
    assert (call.error.type, call.error.message) == ("server_error", "boom")


def test_input_is_read_item_by_item() -> None:
    body = {
        "model": "gpt-5",
        "instructions": "Be brief.",
        "input": [
            {"role": "user", "content": "hi"},
            {"role": "user", "content": [{"type": "input_text", "text": "there"}]},
            _CALL,
            {"type": "function_call_output", "call_id": "call_1", "output": "14 C"},
            {
                "type": "custom_tool_call_output",
                "call_id": "call_2",
                "output": [{"type": "input_text", "text": "x"}],
            },
            {"type": "item_reference", "id": "msg_9"},
        ],
        "previous_response_id": "resp_0",
        "conversation": {"id": "conv_1"},
    }
    call = decoded(RESPONSES, body)
    assert [(m.slot, m.role, m.text) for m in call.messages] == [
        ("instructions", "system", "Be brief."),
        ("input", "user", "hi"),
        ("input", "user", "there"),
        ("input", "assistant", ""),
        ("input", "tool", "14 C"),
        ("input", "tool", "x"),
        ("input", "", ""),
    ]
    assert call.messages[4].tool_results == (ToolResult("call_1", "14 C"),)
    assert call.mentioned_ids == ("resp_0", "conv_1", "fc_1", "call_1", "call_2", "msg_9")


def test_input_may_be_a_string() -> None:
    call = decoded(RESPONSES, {"input": "hi"})
    assert [(m.slot, m.role, m.text) for m in call.messages] == [("input", "user", "hi")]
