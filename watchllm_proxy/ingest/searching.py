"""What `POST /v1/events/query` may ask. Read strictly: a field overlooked would answer another question."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec

from watchllm_proxy.ingest.reading import Decoder, Unfit, wrong
from watchllm_proxy.ingest.shapes import EventStatus, EventType

MAX_LIMIT = 1_000
MAX_OFFSET = 1_000_000
MAX_NAMES = 100
MAX_TEXT = 1_000

SortBy = Literal["timestamp", "latency_ms", "cost_estimate_usd"]
Names = list[str]


class EventQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """All that is given must hold. `tags`: each of them. `status`: one or several."""

    run_id: str | None = None
    user_id: str | None = None
    event_types: list[EventType] = []
    status: EventStatus | list[EventStatus] | None = None
    models: Names = []
    tags: Names = []
    date_from: datetime | None = None
    date_to: datetime | None = None
    text_search: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_LIMIT)] = 100
    offset: Annotated[int, msgspec.Meta(ge=0, le=MAX_OFFSET)] = 0
    cursor: str | None = None
    sort_by: SortBy = "timestamp"
    sort_order: Literal["asc", "desc"] = "desc"

    @property
    def statuses(self) -> list[str]:
        told = self.status
        return [] if told is None else [told] if isinstance(told, str) else list(told)


class Cursor(msgspec.Struct, array_like=True):
    """Where a page ended: the sort it belongs to, and the last event's place in it."""

    sort: str
    value: int
    event_id: str


_QUERY: Decoder[EventQuery] = Decoder(
    EventQuery,
    {
        "event_types": tuple(EventType),
        "status": EventStatus.__args__,  # type: ignore[attr-defined]
        "sort_by": SortBy.__args__,  # type: ignore[attr-defined]
        "sort_order": ("asc", "desc"),
    },
)
_CURSOR = msgspec.json.Decoder(Cursor)


def read_query(body: bytes) -> EventQuery:
    """Raises `Unfit`."""
    query = _QUERY.decode(body)
    for name in ("event_types", "models", "tags", "statuses"):
        if len(getattr(query, name)) > MAX_NAMES:
            raise wrong(name.replace("statuses", "status"), f"must be at most {MAX_NAMES} of them")
    for name in ("run_id", "user_id", "text_search"):
        if len(getattr(query, name) or "") > MAX_TEXT:
            raise wrong(name, f"must be at most {MAX_TEXT} characters")
    for name in ("date_from", "date_to"):
        at = getattr(query, name)
        if at is not None and not 1970 <= at.year < 2200:
            raise wrong(name, "must lie between the years 1970 and 2200")
    if query.cursor is not None and query.offset:
        raise wrong("offset", "cannot be given with a cursor, which says where to go on")
    read_cursor(query)
    return query


def read_cursor(query: EventQuery) -> Cursor | None:
    """Raises `Unfit` for one that this query did not give."""
    if query.cursor is None:
        return None
    try:
        cursor = _CURSOR.decode(base64.urlsafe_b64decode(query.cursor.encode()))
    except (ValueError, msgspec.DecodeError):
        raise _foreign_cursor() from None
    if cursor.sort != sort_of(query) or not -(2**63) <= cursor.value < 2**63:
        raise _foreign_cursor()
    return cursor


def written_cursor(query: EventQuery, value: int, event_id: str) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(Cursor(sort_of(query), value, event_id))).decode()


def sort_of(query: EventQuery) -> str:
    return f"{query.sort_by} {query.sort_order}"


def at_us(at: datetime | None, otherwise: int) -> int:
    """An instant without an offset is in UTC."""
    if at is None:
        return otherwise
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()) * 1_000_000 + at.microsecond


def _foreign_cursor() -> Unfit:
    return wrong("cursor", "must be the `cursor` of an answer to the same query")
