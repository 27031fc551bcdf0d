"""Reported events, searched by one fixed statement with bound values. What its order may be is listed here."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from watchllm_proxy.records import record
from watchllm_proxy.store.clickhouse import AsyncEventStore
from watchllm_proxy.store.sql import queries

_PLACES = {
    "timestamp": "toUnixTimestamp64Micro(at)",
    "latency_ms": "ifNull(toInt64(latency_ms), -1)",
    "cost_estimate_usd": "ifNull(toInt64(toFloat64(cost_usd) * 1000000000000), -1)",
}
"""What events are sorted by, as whole numbers; what is not known comes first, or last in descending order."""

_ORDERS = {"asc": ("ASC", ">"), "desc": ("DESC", "<")}


@record
class EventFilter:
    """All that is given must hold; empty, or None: any."""

    run_id: str = ""
    user_ids: tuple[str, ...] = ()
    event_types: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    from_us: int = 0
    to_us: int = 2**62
    text: str = ""
    sort_by: str = "timestamp"
    order: str = "desc"
    after: tuple[int, str] | None = None
    limit: int = 100
    offset: int = 0


@record
class FoundEvent:
    """`place` is that of its sort."""

    event_id: str
    body: bytes
    cost_usd: Decimal | None
    cost_source: str
    place: int


@record
class FoundEvents:
    events: tuple[FoundEvent, ...]
    total: int  # of all that match, whichever page
    has_more: bool


async def search_events(events: AsyncEventStore, project_id: str, wanted: EventFilter) -> FoundEvents:
    """Raises `StoreUnavailable`."""
    direction, beyond = _ORDERS[wanted.order]
    after = wanted.after or (0, "")
    params = {
        **_params(project_id, wanted),
        "has_after": int(wanted.after is not None),
        "after_place": after[0],
        "after_id": after[1],
        "limit": wanted.limit + 1,
        "offset": wanted.offset,
    }
    sql = _filtered("search_reported_events")
    for name, value in (("place", _PLACES[wanted.sort_by]), ("direction", direction), ("beyond", beyond)):
        sql = sql.replace(f"/*{name}*/", value)
    found = await events.query(sql, params)
    ((counted),) = await events.query(_filtered("count_found_events"), _params(project_id, wanted))
    page = tuple(_found(row) for row in found[: wanted.limit])
    return FoundEvents(page, int(str(counted["rows"])), len(found) > wanted.limit)


def _params(project_id: str, wanted: EventFilter) -> dict[str, str | int | list[str]]:
    return {
        "project_id": project_id,
        "run_id": wanted.run_id,
        "user_ids": list(wanted.user_ids),
        "event_types": list(wanted.event_types),
        "statuses": list(wanted.statuses),
        "models": list(wanted.models),
        "tags": list(wanted.tags),
        "from_us": wanted.from_us,
        "to_us": wanted.to_us,
        "text": wanted.text,
    }


def _filtered(name: str) -> str:
    sql = queries("clickhouse")
    return sql[name].replace("/*event_filter*/", sql["event_filter"].rstrip().removesuffix(";"))


def _found(row: Mapping[str, object]) -> FoundEvent:
    cost = row["cost_usd_text"]
    return FoundEvent(
        event_id=bytes.fromhex(str(row["event_id_hex"])).decode("utf-8", "replace"),
        body=bytes.fromhex(str(row["body_hex"])),
        cost_usd=None if cost is None else Decimal(str(cost)).normalize() + 0,
        cost_source=str(row["cost_source"]),
        place=int(str(row["place"])),
    )
