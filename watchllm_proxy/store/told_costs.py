"""Rows of calls whose cost changes after they were stored: told by the upstream later, or priced anew. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from uuid import UUID

from watchllm_proxy.records import Cost, Settlement
from watchllm_proxy.store import views
from watchllm_proxy.store.sql import queries

REPRICED_AT_ONCE = 1000
"""Calls in one statement, which looks through the calls of a project however few they are."""


def settle_sql() -> str:
    """The statement that takes `settle_params`."""
    return queries("clickhouse")["settle_call"]


def settle_params(told: Settlement) -> dict[str, str]:
    usage = told.usage
    counts = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "cache_read_input_tokens": usage.cache_read_input_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
    }
    return {
        "project_id": told.project_id,
        "call_id": str(told.call_id),
        "cost_usd": views.picodollar_text(told.cost.usd),
        "cost_source": told.cost.source.value,
        **{name: "" if views.tokens(count) is None else str(count) for name, count in counts.items()},
    }


def reprice_sql() -> str:
    """The statement that takes `reprice_params`."""
    return queries("clickhouse")["reprice_calls"]


def reprice_params(project_id: str, costs: Mapping[UUID, Cost]) -> Iterator[dict[str, str | list[str]]]:
    """Of calls of one project with their new costs."""
    told = list(costs.items())
    for start in range(0, len(told), REPRICED_AT_ONCE):
        batch = told[start : start + REPRICED_AT_ONCE]
        yield {
            "project_id": project_id,
            "call_ids": [str(call_id) for call_id, _ in batch],
            "costs_usd": [views.picodollar_text(cost.usd) for _, cost in batch],
            "cost_sources": [cost.source.value for _, cost in batch],
            "price_providers": [cost.price_provider or "" for _, cost in batch],
            "price_dates": [cost.price_date or "" for _, cost in batch],
        }
