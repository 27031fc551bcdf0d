"""One reported step, or one event, as a step of the debugger."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec

from watchllm_proxy.ingest import shapes
from watchllm_proxy.ingest.shapes import AgentStep, PromptCall
from watchllm_proxy.ingest.tellings import document_of
from watchllm_proxy.records import Step, StepType

Priced = Callable[[str, int, int, int], Decimal | None]
"""(model, input tokens, output tokens, when) -> US dollars by the price table; None: unpriced."""

MAX_SUMMARY_CHARACTERS = 500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STEP = msgspec.json.Decoder(shapes.Step)
_STEP_TYPES = {
    "reasoning": StepType.DECISION,
    "validation": StepType.DECISION,
    "tool_call": StepType.TOOL_CALL,
    "output": StepType.MODEL_RESPONSE,
}
_FAILED = frozenset({"error", "timeout"})


def event_at_us(at: datetime) -> int:
    """Exact; an instant without an offset is in UTC."""
    return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - _EPOCH) // timedelta(microseconds=1)


def reported_step(fields: Mapping[str, bytes], price: Priced) -> Step:
    """Under the index that it was told under. It counts as a call where tokens, money or a model are told."""
    told = _STEP.decode(document_of(fields))
    at_us = event_at_us(told.timestamp)
    input_tokens, output_tokens = whole(told.input_tokens), whole(told.output_tokens)
    is_call = bool(told.model or told.token_cost or told.api_cost_usd or input_tokens or output_tokens)
    cost_usd = told.api_cost_usd
    if cost_usd is None:
        cost_usd = by_table(price, told.model, input_tokens, output_tokens, at_us)
    return Step(
        step_index=told.step_index,
        type=told.type,
        started_at_us=at_us,
        duration_us=_us(told.duration_ms),
        is_duration_inferred=False,
        summary=told.summary or told.decision or told.tool_output_summary or told.tool or told.error_message or "",
        call_id=None,
        decision=told.decision,
        tool=told.tool,
        tool_args=text_of_json(bytes(told.tool_args)),
        tool_output_summary=told.tool_output_summary,
        is_tool_error=True if told.tool is not None and told.error_type is not None else None,
        model=told.model,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cost_usd=cost_usd if is_call else None,
        is_priced=is_call,
        error_type=told.error_type or ("error" if told.type is StepType.ERROR else None),
        error_message=told.error_message or (told.summary if told.type is StepType.ERROR else None),
    )


def event_step(event: AgentStep | PromptCall, step_index: int, price: Priced) -> Step:
    return (
        _prompt_call(event, step_index, price) if isinstance(event, PromptCall) else _agent_step(event, step_index)
    )


def _agent_step(event: AgentStep, step_index: int) -> Step:
    has_failed = event.status in _FAILED
    output = text_of_json(bytes(event.output_data))
    is_tool = event.step_type == "tool_call"
    return Step(
        step_index=step_index,
        type=StepType.ERROR if has_failed and not is_tool else _STEP_TYPES[event.step_type],
        started_at_us=event_at_us(event.timestamp),
        duration_us=_us(event.latency_ms),
        is_duration_inferred=False,
        summary=text_of(event.reasoning or output or event.step_name or "", MAX_SUMMARY_CHARACTERS),
        call_id=None,
        decision=event.reasoning,
        tool=event.step_name if is_tool else None,
        tool_args=text_of_json(bytes(event.input_data)) if is_tool else None,
        tool_output_summary=output if is_tool else None,
        is_tool_error=has_failed if is_tool and event.status is not None else None,
        error_type=_error_type(event) if has_failed else None,
        error_message=_error_message(event) if has_failed else None,
    )


def _prompt_call(event: PromptCall, step_index: int, price: Priced) -> Step:
    at_us = event_at_us(event.timestamp)
    input_tokens, output_tokens = whole(event.tokens_input), whole(event.tokens_output)
    cost_usd = event.cost_estimate_usd
    if cost_usd is None:
        cost_usd = by_table(price, event.model, input_tokens, output_tokens, at_us)
    has_failed = event.status in _FAILED
    done = StepType.DECISION if event.tool_calls else StepType.MODEL_RESPONSE
    said = text_of_json(bytes(event.response)) or text_of_json(bytes(event.prompt)) or event.model
    return Step(
        step_index=step_index,
        type=StepType.ERROR if has_failed else done,
        started_at_us=at_us,
        duration_us=_us(event.latency_ms),
        is_duration_inferred=False,
        summary=text_of(said, MAX_SUMMARY_CHARACTERS),
        call_id=None,
        model=event.model,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cost_usd=cost_usd,
        is_priced=True,
        error_type=_error_type(event) if has_failed else None,
        error_message=_error_message(event) if has_failed else None,
    )


def _error_type(event: AgentStep | PromptCall) -> str:
    told = event.error
    return (told.type if isinstance(told, shapes.Problem) else None) or event.status or "error"


def _error_message(event: AgentStep | PromptCall) -> str | None:
    return event.error.message if isinstance(event.error, shapes.Problem) else event.error


def by_table(
    price: Priced, model: str | None, input_tokens: int | None, output_tokens: int | None, at_us: int
) -> Decimal | None:
    """Half a usage would make half a price."""
    if model is None or input_tokens is None or output_tokens is None:
        return None
    return price(model, input_tokens, output_tokens, at_us)


def text_of_json(raw: bytes) -> str | None:
    """A text as it is, anything else as JSON; None where nothing was told."""
    if not raw or raw == b"null":
        return None
    return str(msgspec.json.decode(raw, type=str)) if raw.startswith(b'"') else raw.decode()


def text_of(text: str, max_characters: int) -> str:
    """Its beginning, in one line."""
    line = " ".join(text[: 4 * max_characters].split())
    return line if len(line) <= max_characters else f"{line[: max_characters - 1]}…"


def whole(value: Decimal | None) -> int | None:
    return None if value is None else int(value)


def _us(duration_ms: Decimal | None) -> int | None:
    return None if duration_ms is None else int(duration_ms * 1000)
