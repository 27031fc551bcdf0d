"""Steps of one call: each function makes one row of the debugger. Nothing here knows of runs.

A call makes, in this order: a `user_input` for each new user message, a `retry` marker where it tries a
failed attempt again, exactly one model step (`decision`, `model_response` or `error`) that carries the
call's figures, and a `tool_call` for each tool that it asked for.
"""

from __future__ import annotations

from dataclasses import fields, replace
from operator import attrgetter

from watchllm_proxy.records import Api, Call, ExchangeEnd, Settlement, Step, StepType, ToolCall, ToolResult
from watchllm_proxy.sessionize.contradictions import contradiction
from watchllm_proxy.sessionize.names import SUMMARY_CHARS, cut
from watchllm_proxy.sessionize.tool_errors import is_tool_error
from watchllm_proxy.sessionize.turns import UserInput, prompt_hash

MODEL_STEPS = frozenset({StepType.DECISION, StepType.MODEL_RESPONSE, StepType.ERROR})

OUTPUT_TOOLS = frozenset({"final_result", "final_answer", "attempt_completion", "submit_final_answer"})
"""Tools by which frameworks have the model hand in its final answer: pydantic-ai, smolagents, Cline and Roo.
Calling one ends the run; nobody runs it, so its result may never come."""

_TRANSIENT_STATUS = frozenset({408, 409, 425, 429})


def user_input_step(index: int, call: Call, user_input: UserInput) -> Step:
    return Step(
        step_index=index,
        type=StepType.USER_INPUT,
        started_at_us=call.started_at_us,
        duration_us=0,
        is_duration_inferred=False,
        summary=cut(user_input.text, SUMMARY_CHARS),
        call_id=call.call_id,
        occurrence=user_input.occurrence,
    )


def retry_step(index: int, call: Call, failed: Step | None) -> Step:
    reason = f" after {failed.error_type}" if failed and failed.error_type else ""
    return Step(
        step_index=index,
        type=StepType.RETRY,
        started_at_us=call.started_at_us,
        duration_us=0,
        is_duration_inferred=False,
        summary=f"Same request tried again{reason}",
        call_id=call.call_id,
    )


def model_step(index: int, call: Call) -> Step:
    """The step that carries the call's tokens, cost and times."""
    asked = asked_tools(call)
    names = ", ".join(tool.name for tool in asked)
    usage, error = call.usage, call.error
    return Step(
        step_index=index,
        type=_model_step_type(call, asked),
        started_at_us=call.started_at_us,
        duration_us=max(0, call.ended_at_us - call.started_at_us),
        is_duration_inferred=False,
        summary=cut(_model_summary(call, names), SUMMARY_CHARS),
        call_id=call.call_id,
        decision=names or None,
        model=call.response_model or call.request_model,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_input_tokens=usage.cache_read_input_tokens,
        cost_usd=call.cost.usd,
        is_priced=True,
        time_to_first_token_us=call.time_to_first_token_us,
        http_status=call.http_status,
        error_type=error.type if error else None,
        error_message=cut(error.message, SUMMARY_CHARS) if error else None,
        finish_reason=call.finish_reasons[0] if call.finish_reasons else None,
        prompt_hash=prompt_hash(call),
        contradiction=contradiction(call),
    )


def tools_hash(step: Step) -> str:
    """Of the list of tools that its call offered."""
    return (step.prompt_hash or "").partition(" ")[2]


def with_settlement(step: Step, told: Settlement) -> Step:
    """With the figures that the upstream told afterwards; those it did not tell stay."""
    usage = told.usage
    cached = usage.cache_read_input_tokens
    return replace(
        step,
        input_tokens=step.input_tokens if usage.input_tokens is None else usage.input_tokens,
        output_tokens=step.output_tokens if usage.output_tokens is None else usage.output_tokens,
        cache_read_input_tokens=step.cache_read_input_tokens if cached is None else cached,
        cost_usd=told.cost.usd,
    )


def tool_call_step(index: int, call: Call, tool: ToolCall) -> Step:
    """Its time and output come with a later request: `with_result`."""
    return Step(
        step_index=index,
        type=StepType.TOOL_CALL,
        started_at_us=call.ended_at_us,
        duration_us=None,
        is_duration_inferred=True,
        summary=cut(f"{tool.name}({tool.arguments})", SUMMARY_CHARS),
        call_id=call.call_id,
        tool=tool.name,
        tool_call_id=tool.tool_call_id or None,
        tool_args=tool.arguments,
    )


def with_result(step: Step, call: Call, result: ToolResult) -> Step:
    """The tool ran between the answer that asked for it and the request that brings its result; longer than
    that it cannot have taken."""
    return _with_output(
        step,
        max(0, call.started_at_us - step.started_at_us),
        cut(result.text, SUMMARY_CHARS),
        is_tool_error(result),
        _output_chars(call, result),
    )


def with_told_result(step: Step, told: Step) -> Step:
    """Of a tool call that is seen after the request that brought its result."""
    return _with_output(
        step,
        max(0, told.started_at_us - step.started_at_us),
        told.tool_output_summary,
        told.is_tool_error,
        told.output_chars,
    )


def _with_output(
    step: Step, duration_us: int, summary: str | None, is_error: bool | None, output_chars: int | None
) -> Step:
    """As `replace` does it, in a fifth of the time: every tool call comes by here."""
    values = list(_values_of(step))
    values[_DURATION], values[_OUTPUT], values[_IS_ERROR], values[_CHARS] = (
        duration_us,
        summary,
        is_error,
        output_chars,
    )
    return Step(*values)


_FIELDS = [field.name for field in fields(Step)]
_values_of = attrgetter(*_FIELDS)
_DURATION, _OUTPUT, _IS_ERROR, _CHARS = map(
    _FIELDS.index, ("duration_us", "tool_output_summary", "is_tool_error", "output_chars")
)


def tool_result_step(index: int, call: Call, result: ToolResult) -> Step:
    """A result whose call this run does not know: it was asked for before the capture began, or elsewhere."""
    return Step(
        step_index=index,
        type=StepType.TOOL_RESULT,
        started_at_us=call.started_at_us,
        duration_us=None,
        is_duration_inferred=True,
        summary=cut(result.text, SUMMARY_CHARS),
        call_id=call.call_id,
        tool_call_id=result.tool_call_id or None,
        tool_output_summary=cut(result.text, SUMMARY_CHARS),
        is_tool_error=is_tool_error(result),
        output_chars=_output_chars(call, result),
    )


def _output_chars(call: Call, result: ToolResult) -> int | None:
    """Of a text that must not be stored, all that is left is a note of that."""
    return None if call.is_content_refused else len(result.text)


def asked_tools(call: Call) -> tuple[ToolCall, ...]:
    """Tools that the client is to run now. A failed call's are not: the client never got the whole answer."""
    if call.answer is None or call.is_failed:
        return ()
    return call.answer.tool_calls


def is_output_tool(step: Step) -> bool:
    return step.tool in OUTPUT_TOOLS


def is_transient_error(step: Step) -> bool:
    """A client may well try again: rate limits, time-outs, broken connections, 5xx, or it left by itself."""
    status = step.http_status
    return status is None or status < 400 or status >= 500 or status in _TRANSIENT_STATUS


def is_client_abort(step: Step) -> bool:
    return step.error_type == ExchangeEnd.CLIENT_ABORTED


def _model_step_type(call: Call, asked: tuple[ToolCall, ...]) -> StepType:
    if call.is_failed:
        return StepType.ERROR
    return StepType.DECISION if asked else StepType.MODEL_RESPONSE


def _model_summary(call: Call, names: str) -> str:
    if call.error is not None:
        return call.error.message or call.error.type
    if call.api is Api.EMBEDDINGS:
        count = sum(message.slot == "input" for message in call.messages)
        return f"Embedded {count} {'text' if count == 1 else 'texts'}"
    if call.api is Api.OTHER:
        return f"{call.method} {call.target.split('?', 1)[0]}: {call.http_status}"
    text = call.answer.text.strip() if call.answer else ""
    return text or names
