from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.decode.exchanges import decoded, stream
from watchllm_proxy.records import Call, ToolCall, ToolResult, Usage


def _chunk(delta: dict[str, Any], **choice: Any) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "model": "m-1", "choices": [{"index": 0, "delta": delta, **choice}]}


def _calls_of(*deltas: dict[str, Any]) -> tuple[ToolCall, ...]:
    call = decoded(answer=stream(*(_chunk({"tool_calls": [delta]}) for delta in deltas)))
    assert call.answer is not None
    return call.answer.tool_calls


def _function(arguments: Any = None, name: str | None = None) -> dict[str, Any]:
    return {key: value for key, value in {"name": name, "arguments": arguments}.items() if value is not None}


# --- tool calls in streams --------------------------------------------------------------------------


def test_parallel_calls_may_be_interleaved() -> None:
    assert _calls_of(
        {"index": 0, "id": "a", "function": _function("", "f")},
        {"index": 1, "id": "b", "function": _function("", "g")},
        {"index": 0, "function": _function('{"x"')},
        {"index": 1, "function": _function('{"y"')},
        {"index": 0, "function": _function(":1}")},
        {"index": 1, "function": _function(":2}")},
    ) == (ToolCall("a", "f", '{"x":1}'), ToolCall("b", "g", '{"y":2}'))


def test_a_call_may_come_whole_and_without_index() -> None:  # Mistral
    assert _calls_of(
        {"id": "a", "function": _function("{}", "f")}, {"id": "b", "function": _function("{}", "f")}
    ) == (ToolCall("a", "f", "{}"), ToolCall("b", "f", "{}"))


def test_continuations_may_have_an_empty_id() -> None:  # Alibaba
    assert _calls_of(
        {"index": 0, "id": "a", "function": _function("", "f")},
        {"index": 0, "id": "", "function": _function("{}", "")},
    ) == (ToolCall("a", "f", "{}"),)


def test_calls_without_any_id_are_kept() -> None:  # Gemini
    assert _calls_of({"index": 0, "id": "", "function": _function("{}", "f")}) == (ToolCall(None, "f", "{}"),)


def test_every_parallel_call_may_be_numbered_zero() -> None:
    assert _calls_of(
        {"index": 0, "id": "a", "function": _function("{}", "f")},
        {"index": 0, "id": "b", "function": _function('{"q":', "f")},
        {"index": 0, "function": _function("1}")},
    ) == (ToolCall("a", "f", "{}"), ToolCall("b", "f", '{"q":1}'))


def test_an_id_minted_for_every_delta_is_one_call() -> None:
    assert _calls_of(
        {"index": 0, "id": "a", "function": _function("", "f")},
        {"index": 0, "id": "b", "function": _function("{")},
        {"index": 0, "id": "c", "function": _function("}")},
    ) == (ToolCall("a", "f", "{}"),)


def test_id_and_name_may_be_repeated_on_every_delta() -> None:
    assert _calls_of(
        {"index": 0, "id": "a", "function": _function("{", "f")},
        {"index": 0, "id": "a", "function": _function("}", "f")},
    ) == (ToolCall("a", "f", "{}"),)


@pytest.mark.parametrize("function", [{"name": "f"}, {"name": "f", "arguments": None}])
def test_arguments_may_be_missing_or_null(function: dict[str, Any]) -> None:
    assert _calls_of({"index": 0, "id": "a", "function": function}) == (ToolCall("a", "f", ""),)


def test_arguments_may_be_an_object() -> None:
    assert _calls_of({"index": 0, "id": "a", "function": _function({"x": 1}, "f")}) == (
        ToolCall("a", "f", '{"x":1}'),
    )


def test_the_older_function_call_has_no_id() -> None:
    call = decoded(
        answer=stream(
            _chunk({"function_call": {"name": "f", "arguments": ""}}),
            _chunk({"function_call": {"arguments": "{}"}}, finish_reason="function_call"),
        )
    )
    assert call.answer is not None
    assert call.answer.tool_calls == (ToolCall(None, "f", "{}"),)
    assert call.finish_reasons == ("function_call",)


# --- the rest of a stream ---------------------------------------------------------------------------


def test_a_streamed_answer_equals_the_plain_one() -> None:
    message = {
        "role": "assistant",
        "content": "Hello, wörld",
        "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    }
    plain = decoded(answer={"id": "chatcmpl-1", "model": "m-1", "choices": [{"index": 0, "message": message}]})
    streamed = decoded(
        answer=stream(
            {"id": "", "model": "", "choices": [], "prompt_filter_results": [1]},  # Azure
            _chunk({"role": "assistant", "content": ""}),
            _chunk({"content": "Hello, "}),
            _chunk({"content": "wörld"}),
            _chunk(
                {"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": _function("{}", "f")}]}
            ),
            _chunk({}, finish_reason="tool_calls"),
            done=True,
        )
    )
    assert streamed.answer == plain.answer
    assert (streamed.response_id, streamed.response_model) == ("chatcmpl-1", "m-1")
    assert streamed.issued_ids == plain.issued_ids == ("chatcmpl-1", "a")
    assert json.loads(streamed.response_metadata)["prompt_filter_results"] == [1]


def test_content_parts_and_text_are_put_together() -> None:  # Mistral
    thinking = [{"type": "thinking", "thinking": [{"type": "text", "text": text}]} for text in ("The ", "river")]
    call = decoded(answer=stream(*(_chunk({"content": [part]}) for part in thinking), _chunk({"content": "Swim"})))
    assert call.answer is not None
    assert json.loads(call.answer.content)["content"] == [
        {"type": "thinking", "thinking": [{"type": "text", "text": "The river"}]},
        {"type": "text", "text": "Swim"},
    ]
    assert call.answer.text == "Swim"


def test_reasoning_is_kept_but_not_read_as_text() -> None:
    call = decoded(
        answer=stream(
            _chunk(
                {"reasoning": "We ", "reasoning_details": [{"type": "reasoning.text", "text": "We ", "index": 0}]}
            ),
            _chunk(
                {
                    "reasoning": "need",
                    "reasoning_details": [{"type": "reasoning.text", "text": "need", "index": 0}],
                }
            ),
            _chunk({"content": "42"}),
        )
    )
    assert call.answer is not None
    content = json.loads(call.answer.content)
    assert content["reasoning"] == "We need"
    assert content["reasoning_details"] == [{"type": "reasoning.text", "text": "We need", "index": 0}]
    assert call.answer.text == "42"


def test_a_repeated_finish_reason_counts_once() -> None:  # OpenRouter
    call = decoded(answer=stream(_chunk({}, finish_reason="stop"), _chunk({}, finish_reason="stop")))
    assert call.finish_reasons == ("stop",)


def test_an_empty_finish_reason_is_none() -> None:  # Snowflake
    assert decoded(answer={"choices": [{"index": 0, "finish_reason": "", "message": {}}]}).finish_reasons == ()


def test_of_several_choices_the_first_answers_and_all_ids_count() -> None:
    choices = [
        {"index": i, "finish_reason": f"r{i}", "message": {"content": f"c{i}", "tool_calls": [{"id": f"t{i}"}]}}
        for i in (1, 0)
    ]
    call = decoded(answer={"id": "x", "choices": choices})
    assert call.answer is not None
    assert call.answer.text == "c0"
    assert call.issued_ids == ("x", "t0", "t1")
    assert call.finish_reasons == ("r0", "r1")
    assert [c["index"] for c in json.loads(call.response_metadata)["other_choices"]] == [1]


def test_choices_of_a_stream_are_told_apart() -> None:
    call = decoded(
        answer=stream(
            {"choices": [{"index": 1, "delta": {"content": "b"}}, {"index": 0, "delta": {"content": "a"}}]},
            {"choices": [{"index": 0, "delta": {"content": "A"}, "finish_reason": "stop"}]},
        )
    )
    assert call.answer is not None
    assert call.answer.text == "aA"


# --- usage in a stream ------------------------------------------------------------------------------

_TOTAL = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
_COUNTED = Usage(input_tokens=5, output_tokens=2, total_tokens=7)


@pytest.mark.parametrize(
    "events",
    [
        pytest.param(
            [_chunk({"content": "x"}), {"choices": [], "usage": _TOTAL}], id="last chunk without choices"
        ),
        pytest.param([{**_chunk({"content": "x"}), "usage": _TOTAL}], id="chunk with choices"),
        pytest.param([{**_chunk({}), "x_groq": {"id": "r", "usage": _TOTAL}}], id="x_groq"),
        pytest.param(
            [{**_chunk({}), "usage": {**_TOTAL, "completion_tokens": n}} for n in (1, 2)], id="running total"
        ),
        pytest.param(
            [{"choices": [], "usage": _TOTAL}, {**_chunk({}), "usage": None}], id="another chunk follows"
        ),
    ],
)
def test_usage_is_found_wherever_it_stands(events: list[dict[str, Any]]) -> None:
    assert decoded(answer=stream(*events)).usage == _COUNTED


def test_no_usage_is_not_zero_usage() -> None:
    assert decoded(answer=stream(_chunk({"content": "x"}))).usage == Usage()


# --- request ----------------------------------------------------------------------------------------


def _messages(*messages: Any) -> Call:
    return decoded(request={"model": "m", "messages": list(messages)})


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("hi", "hi"),
        (None, ""),
        ("", ""),
        ([], ""),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "a\nb"),
        ([{"type": "image_url", "image_url": {"url": "data:…"}}, {"type": "text", "text": "what?"}], "what?"),
        (17, ""),
    ],
)
def test_content_is_read_in_all_its_forms(content: Any, text: str) -> None:
    assert _messages({"role": "user", "content": content}).messages[0].text == text


def test_a_tools_answer_is_a_result_and_readable() -> None:
    message = _messages({"role": "tool", "tool_call_id": "a", "content": "14 C"}).messages[0]
    assert message.tool_results == (ToolResult("a", "14 C"),)
    assert (message.role, message.text) == ("tool", "14 C")


def test_offered_tools_are_one_message_and_named_in_order() -> None:
    tools = [
        {"type": "function", "function": {"name": "weather", "description": "Now"}},
        {"type": "web_search"},
        {"type": "custom", "custom": {"name": "sql"}},
    ]
    call = decoded(request={"messages": [], "tools": tools, "functions": [{"name": "old"}]})
    assert call.tool_names == ("weather", "web_search", "sql", "old")
    assert [(message.slot, message.role) for message in call.messages] == [("tools", "")]
    assert "weather: Now" in call.messages[0].text


@pytest.mark.parametrize(
    "message", [None, "text", 7, [], [1], {"role": 7, "content": {"x": 1}, "tool_calls": "no"}]
)
def test_a_message_of_another_shape_is_kept_as_it_is(message: Any) -> None:
    call = _messages(message)
    assert call.opaque_reason is None
    assert json.loads(call.messages[0].content) == message
