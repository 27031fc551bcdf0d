"""Rows of ClickHouse's `events` as the shapes that readers want. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from watchllm_proxy.records import Api, CallError, Cost, CostSource, ExchangeEnd, Usage
from watchllm_proxy.store.shapes import CallDetail, CallRow

Stored = Mapping[str, Any]
"""A row as the driver gives it: its types are those of sql/clickhouse/queries.sql, which mypy cannot see."""


@dataclass(frozen=True, slots=True)
class StoredCalls:
    """How many calls of a project there are, and of how many the exact bytes."""

    calls: int
    raw_bodies: int


def call_row(row: Stored) -> CallRow:
    return CallRow(
        call_id=UUID(row["call_id"]),
        run_id=row["run_id"],
        api=Api(row["api"]),
        method=text(row["method"]),
        target=text(row["target"]),
        started_at_us=row["started_at_us"],
        duration_us=row["ended_at_us"] - row["started_at_us"],
        http_status=row["http_status"],
        end=ExchangeEnd(row["end"]),
        agent_name=row["agent_name"],
        request_model=row["request_model"],
        response_model=row["response_model"],
        usage=usage_of(row),
        cost=Cost(row["cost_usd"], CostSource(row["cost_source"]), row["price_provider"], row["price_date"]),
        error=error_of(row),
    )


def call_detail(row: Stored, request: bytes | None, answer: bytes | None) -> CallDetail:
    """Without its links, which another store has."""
    return CallDetail(
        row=call_row(row),
        provider_name=row["provider_name"],
        is_stream=row["is_stream"],
        time_to_first_token_us=row["time_to_first_token_us"],
        finish_reasons=tuple(row["finish_reasons"]),
        response_id=row["response_id"],
        user_agent=row["user_agent"],
        request_bytes=row["request_bytes"],
        response_bytes=row["response_bytes"],
        request=request,
        answer=answer,
        response_metadata=as_bytes(row["response_metadata"]) or None,
        opaque_reason=row["opaque_reason"],
        is_truncated=row["is_truncated"],
        links=(),
        redacted=redacted_from(row["redacted"]),
    )


def as_bytes(value: str | bytes) -> bytes:
    """A string column: text where it is UTF-8, else the bytes as they are."""
    return value.encode() if isinstance(value, str) else value


def text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


def usage_of(row: Stored) -> Usage:
    return Usage(
        input_tokens=row["input_tokens"],
        output_tokens=row["output_tokens"],
        total_tokens=row["total_tokens"],
        cache_read_input_tokens=row["cache_read_input_tokens"],
        cache_creation_input_tokens=row["cache_creation_input_tokens"],
        reasoning_tokens=row["reasoning_tokens"],
        is_estimated=row["is_usage_estimated"],
        cost_usd=row["upstream_cost_usd"],
    )


def error_of(row: Stored) -> CallError | None:
    if row["error_type"] is None:
        return None
    return CallError(row["error_type"], text(row["error_message"] or ""), row["error_code"])


def redacted_from(counts: Mapping[str | bytes, str | bytes]) -> tuple[tuple[str, int], ...]:
    """How many values were put behind tags, by kind."""
    return tuple(sorted((text(kind), int(count)) for kind, count in counts.items()))
