"""The calls of a run with what each request sent that the one before did not: sizes and hashes, no text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from watchllm_proxy.records import Api, Call, Cost, CostSource, ExchangeEnd, SentCall, SentMessage, outlined_call
from watchllm_proxy.store.call_shapes import Stored, as_bytes, text, usage_of
from watchllm_proxy.store.clickhouse import AsyncEventStore
from watchllm_proxy.store.sql import queries

MAX_MESSAGES_SENT = 8_000_000
"""Of all requests of a run together: each is 16 bytes of memory in the store while it is compared."""

HASHES_AT_ONCE = 5_000


async def sent_calls(
    events: AsyncEventStore, project_id: str, run_id: str, from_us: int, to_us: int
) -> tuple[SentCall, ...] | None:
    """In the order they began in, all of them within [from_us, to_us). None: the run is too long for this. Raises
    `StoreUnavailable`."""
    sql = queries("clickhouse")
    params: dict[str, str | int] = {
        "project_id": project_id,
        "run_id": run_id,
        "from_us": from_us,
        "to_us": to_us,
    }
    (row,) = await events.query(sql["messages_sent"], params)
    if int(str(row["messages"])) > MAX_MESSAGES_SENT:
        return None
    rows: Sequence[Stored] = await events.query(sql["sent_calls"], params)
    messages = await _messages(events, project_id, rows)
    return tuple(_sent(project_id, row, messages) for row in rows)


async def _messages(
    events: AsyncEventStore, project_id: str, rows: Sequence[Stored]
) -> dict[tuple[str, str], Mapping[str, Any]]:
    """By day and hash: a call and its messages stand in one partition."""
    wanted: dict[str, set[str]] = {}
    for row in rows:
        wanted.setdefault(row["day"], set()).update(row["new_hashes"])
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    for day, hashes in wanted.items():
        listed = sorted(hashes)
        for start in range(0, len(listed), HASHES_AT_ONCE):
            params: dict[str, str | list[str]] = {
                "project_id": project_id,
                "expires_on": day,
                "hashes": listed[start : start + HASHES_AT_ONCE],
            }
            for each in await events.query(queries("clickhouse")["message_sizes"], params):
                found[day, str(each["content_hash"])] = each
    return found


def _sent(project_id: str, row: Stored, messages: Mapping[tuple[str, str], Mapping[str, Any]]) -> SentCall:
    new = tuple(
        _message(content_hash, slot, messages.get((row["day"], content_hash)))
        for content_hash, slot in zip(row["new_hashes"], row["new_slots"], strict=True)
    )
    return SentCall(_call(project_id, row), row["kept"], new, row["answer_hash"] or None)


def _message(content_hash: str, slot: str, found: Mapping[str, Any] | None) -> SentMessage:
    """One that is gone, by retention or erasure, has no size: what it cost falls to the others of its request."""
    if found is None:
        return SentMessage(content_hash, slot, "", 0)
    results = tuple((text(tool_call_id), int(size)) for tool_call_id, size in found["tool_results"])
    return SentMessage(content_hash, slot, text(found["role"]), int(found["size"]), results)


def _call(project_id: str, row: Stored) -> Call:
    """As far as its price needs it."""
    return outlined_call(
        call_id=UUID(row["call_id"]),
        project_id=project_id,
        api=Api(row["api"]),
        method=text(row["method"]),
        started_at_us=row["started_at_us"],
        end=ExchangeEnd(row["end"]),
        http_status=row["http_status"],
        usage=usage_of(row),
        request_model=row["request_model"],
        response_model=row["response_model"],
        provider_name=row["provider_name"],
        response_id=row["response_id"],
        response_metadata=as_bytes(row["response_metadata"]),
        cost=Cost(row["cost_usd"], CostSource(row["cost_source"]), row["price_provider"], row["price_date"]),
    )
