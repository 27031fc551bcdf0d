"""A reported event -> the row that is searched for it. The event itself stays as it was told."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from watchllm_proxy.ingest.making import Priced, by_table, event_at_us, whole
from watchllm_proxy.ingest.shapes import Event, PromptCall, ToolCall
from watchllm_proxy.ingest.tellings import EventTelling, document_of
from watchllm_proxy.records import CostSource, ReportedEvent

_EVENT: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def reported_event(project_id: str, telling: EventTelling, price: Priced) -> ReportedEvent:
    """Raises for an event that `reading` did not take."""
    body = document_of(telling.fields)
    event = _EVENT.decode(body)
    at_us = event_at_us(event.timestamp)
    prompt_call = event if isinstance(event, PromptCall) else None
    tokens_input = whole(prompt_call.tokens_input) if prompt_call else None
    tokens_output = whole(prompt_call.tokens_output) if prompt_call else None
    told_usd = event.cost_estimate_usd if isinstance(event, PromptCall | ToolCall) else None
    cost_usd, cost_source = told_usd, CostSource.UPSTREAM
    if told_usd is None:
        cost_usd, cost_source = _priced(prompt_call, tokens_input, tokens_output, at_us, price)
    return ReportedEvent(
        project_id=project_id,
        event_id=event.event_id,
        event_type=str(type(event).__struct_config__.tag),
        run_id=event.run_id,
        at_us=at_us,
        user_id=event.user_id,
        status=event.status,
        model=prompt_call.model if prompt_call else None,
        tags=tuple(event.tags),
        release=event.release,
        env=event.env,
        latency_ms=whole(event.latency_ms),
        tokens_input=tokens_input,
        tokens_output=tokens_output,
        cost_usd=cost_usd,
        cost_source=cost_source,
        body=body,
    )


def _priced(
    event: PromptCall | None, tokens_input: int | None, tokens_output: int | None, at_us: int, price: Priced
) -> tuple[Decimal | None, CostSource]:
    cost_usd = by_table(price, event.model if event else None, tokens_input, tokens_output, at_us)
    return cost_usd, CostSource.UNKNOWN if cost_usd is None else CostSource.PRICE_TABLE
