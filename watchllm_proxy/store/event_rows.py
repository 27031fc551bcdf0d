"""(Call, Placement) -> rows of ClickHouse. Pure: the same calls give the same rows under the same tokens."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from typing import NamedTuple, TypeVar
from uuid import UUID

from watchllm_proxy.records import BatchBounds, Call, Message, Moved, Placement
from watchllm_proxy.store import views
from watchllm_proxy.store.retention import Retention
from watchllm_proxy.store.sql import queries

T = TypeVar("T")

OPAQUE_RAW_DAYS = 90
"""How long the bytes of a call that could not be understood are kept, whatever WATCHLLM_KEEP_RAW says: not longer
than the call."""

MOVED_AT_ONCE = 1000
"""Calls in one statement: its parameters are a quarter of a megabyte at most, but for the longest of ids."""

LAST_INSTANT_US = 9_999_999_999_999_999  # the year 2286: DateTime64 ends at 2299
_NO_HASH = bytes(16)
DEFAULT_RETENTION = Retention()
_NO_PLACE = (None, None, None)


class Insert(NamedTuple):
    """Rows for one table. Inserted again under its token, they are dropped."""

    table: str
    columns: tuple[str, ...]
    rows: list[tuple[object, ...]]
    token: str


EVENT_COLUMNS = (
    "project_id", "call_id", "started_at", "ended_at", "stored_at", "time_to_first_token_us",
    "run_id", "session_id", "parent_run_id",
    "api", "method", "target", "end", "http_status", "client_address", "user_agent", "is_stream",
    "request_model", "response_model", "provider_name",
    "request_skeleton", "message_hashes", "message_slots", "request_hash", "tool_names",
    "answer_hash", "response_id", "finish_reasons", "response_metadata",
    "input_tokens", "output_tokens", "total_tokens", "cache_read_input_tokens", "cache_creation_input_tokens",
    "reasoning_tokens", "is_usage_estimated", "upstream_cost_usd",
    "cost_usd", "cost_source", "price_provider", "price_date",
    "error_type", "error_code", "error_message",
    "agent_name", "agent_version", "user_id", "tags", "client_ids", "retry_count_hint",
    "request_bytes", "response_bytes", "opaque_reason", "is_truncated", "is_content_refused", "redacted",
    "expires_on",
)  # fmt: skip
MESSAGE_COLUMNS = ("project_id", "content_hash", "role", "content", "expires_on")
RAW_COLUMNS = ("project_id", "call_id", "started_at", "request", "response", "expires_on")


class RecentMessages:
    """Messages known to be stored, so that a conversation that is sent again is not written again.

    Only saves work: a message that is written twice is stored once. Remember after the insert, never before. A
    message is known by its partition too: one that was stored for last week's calls goes when they go, so today's
    calls have it stored once more.
    """

    def __init__(self, capacity: int = 200_000) -> None:
        self._capacity = capacity
        self._stored: OrderedDict[tuple[object, object, object], None] = OrderedDict()

    def has(self, project_id: str, content_hash: bytes, expires_on: date) -> bool:
        return (project_id, content_hash, expires_on) in self._stored

    def remember(self, inserts: Iterable[Insert]) -> None:
        """These inserts are stored."""
        for insert in inserts:
            if insert.table == "messages":
                for project_id, content_hash, _, _, expires_on in insert.rows:
                    self._stored[project_id, content_hash, expires_on] = None
        while len(self._stored) > self._capacity:
            self._stored.popitem(last=False)


def event_inserts(
    calls: Sequence[tuple[Call, Placement]],
    bounds: BatchBounds,
    *,
    keep_raw_days: int,
    retention: Retention = DEFAULT_RETENTION,
    recent: RecentMessages | None = None,
) -> list[Insert]:
    """What a batch inserts, in the order to insert it: an event that can be read has its messages."""
    events = [event_row(call, placement, bounds.now_us, retention) for call, placement in calls]
    messages, raw = _message_rows(calls, retention, recent), _raw_rows(calls, retention, keep_raw_days)
    return [
        Insert("messages", MESSAGE_COLUMNS, messages, _kept_token(bounds, "messages", calls, retention)),
        Insert("raw_exchanges", RAW_COLUMNS, raw, _kept_token(bounds, "raw_exchanges", calls, retention)),
        Insert("events", EVENT_COLUMNS, events, _kept_token(bounds, "events", calls, retention)),
    ]


def move_sql() -> str:
    """The statement that takes `move_params`."""
    return queries("clickhouse")["move_calls"]


def move_params(moved: Iterable[Moved]) -> Iterator[dict[str, str | list[str]]]:
    """Parameters of the query `move_calls`, one set for many calls: each statement looks through the calls of a
    project and makes a part of its own, which takes as long for one call as for hundreds. Of a call that moved
    twice the last place counts."""
    places: dict[str, dict[str, Moved]] = {}
    for each in moved:
        places.setdefault(each.project_id, {})[str(each.call_id)] = each
    for project_id, by_call in places.items():
        for batch in _batched(list(by_call.items()), MOVED_AT_ONCE):
            yield {
                "project_id": project_id,
                "call_ids": [call_id for call_id, _ in batch],
                "run_ids": [each.run_id for _, each in batch],
                "session_ids": [each.session_id for _, each in batch],
                "parent_run_ids": [each.parent_run_id or "" for _, each in batch],
            }


def note_hours_sql() -> str:
    """The statement that takes `note_hours_params`."""
    return queries("clickhouse")["note_hours"]


def note_hours_params(calls: Iterable[Call]) -> Iterator[dict[str, str | list[str]]]:
    """Parameters of the query `note_hours`, one set for many calls of a project."""
    by_project: dict[str, list[str]] = {}
    for call in calls:
        by_project.setdefault(call.project_id, []).append(str(call.call_id))
    for project_id, call_ids in by_project.items():
        for batch in _batched(call_ids, MOVED_AT_ONCE):
            yield {"project_id": project_id, "keys": list(batch)}


def without_run_params(project_id: str, call_id: UUID) -> dict[str, str | list[str]]:
    """Parameters of `move_calls` for a call that is to belong to no run."""
    (params,) = move_params([Moved(call_id, project_id, run_id="", session_id="", parent_run_id=None)])
    return params


def _batched(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def token(bounds: BatchBounds, table: str) -> str:
    """Names the rows of one batch for one table: the bounds of every log, and nothing else.

    Of records that are tried again: which, and when they are thought at. Another time other code may have made
    other rows of them, which must not be taken for these.
    """
    named: object = [(name, bounds.starts.get(name), end) for name, end in sorted(bounds.ends.items())]
    if bounds.retried:
        named = (bounds.now_us, [str(record_id) for record_id in bounds.retried])
    digest = hashlib.blake2b(repr(named).encode(), digest_size=16).hexdigest()
    return f"{digest}-{table}"


def _kept_token(
    bounds: BatchBounds, table: str, calls: Sequence[tuple[Call, Placement]], retention: Retention
) -> str:
    """`token`, how long the rows are kept, how they were redacted and by which prices: a batch that is taken
    again may find each of them changed.

    Its messages stand in other partitions then, or have other hashes, and must not be dropped for the old ones;
    nor may its costs be, for the run store has the new ones.
    """
    days = {call.project_id: f"{retention.days(call.project_id)}{_as_redacted(call)}" for call, _ in calls}
    named = ",".join(f"{project_id}={days[project_id]}" for project_id in sorted(days))
    if table == "events":
        named += "".join(sorted({f",{call.cost.source} {call.cost.price_date}" for call, _ in calls}))
    digest = hashlib.blake2b(named.encode("utf-8", "replace"), digest_size=4).hexdigest()
    return f"{token(bounds, table)}-{digest}"


def _as_redacted(call: Call) -> str:
    return "" if call.redaction_mode == "off" else call.redaction_mode


def event_row(
    call: Call, placement: Placement, stored_at_us: int, retention: Retention = DEFAULT_RETENTION
) -> tuple[object, ...]:
    """One row of `events`, in the order of `EVENT_COLUMNS`."""
    call = _kept(call)
    usage, cost, error = call.usage, call.cost, call.error
    return (
        call.project_id, call.call_id, _at(call.started_at_us), _at(call.ended_at_us), _at(stored_at_us),
        views.tokens(call.time_to_first_token_us),
        views.optional_key(placement.run_id), views.optional_key(placement.session_id),
        views.optional_key(placement.parent_run_id),
        call.api.value, _bytes(call.method), _bytes(call.target), call.end.value, _status(call.http_status),
        call.client_address, _optional_bytes(call.user_agent), call.is_stream,
        _optional_bytes(call.request_model), _optional_bytes(call.response_model),
        _optional_bytes(call.provider_name),
        call.request_skeleton, [message.content_hash for message in call.messages],
        [message.slot for message in call.messages], call.request_hash or _NO_HASH,
        [_bytes(name) for name in call.tool_names],
        call.answer.content_hash if call.answer else None, _optional_bytes(call.response_id),
        [_bytes(reason) for reason in call.finish_reasons], call.response_metadata,
        views.tokens(usage.input_tokens), views.tokens(usage.output_tokens), views.tokens(usage.total_tokens),
        views.tokens(usage.cache_read_input_tokens), views.tokens(usage.cache_creation_input_tokens),
        views.tokens(usage.reasoning_tokens), usage.is_estimated, views.picodollars(usage.cost_usd),
        views.picodollars(cost.usd), cost.source.value, cost.price_provider, cost.price_date,
        _optional_bytes(error.type if error else None), _optional_bytes(error.code if error else None),
        _optional_bytes(error.message if error else None),
        _optional_bytes(call.agent_name), _optional_bytes(call.agent_version), _optional_bytes(call.user_id),
        {_bytes(name): _bytes(value) for name, value in call.tags},
        {_bytes(client_id.source): _bytes(client_id.value) for client_id in call.client_ids},
        views.optional_integer(views.tokens(call.retry_count_hint)),
        call.request_bytes, call.response_bytes, _optional_bytes(call.opaque_reason), call.is_truncated,
        call.is_content_refused, {kind.encode(): str(count).encode() for kind, count in call.redacted},
        retention.expires_on(call.project_id, call.started_at_us),
    )  # fmt: skip


def _kept(call: Call) -> Call:
    """What may be kept of a call: of one whose client refused it, no text and no hash of one."""
    if not call.is_content_refused:
        return call
    error = replace(call.error, message="") if call.error else None
    return replace(
        call,
        request_skeleton=b"",
        messages=(),
        request_hash=_NO_HASH,
        answer=None,
        response_metadata=b"",
        error=error,
    )


def _message_rows(
    calls: Sequence[tuple[Call, Placement]], retention: Retention, recent: RecentMessages | None
) -> list[tuple[object, ...]]:
    """Each message once for each partition with a call that holds it, unless it is known to be stored there."""
    held: dict[tuple[str, bytes, date], Message] = {}
    for call, _ in calls:
        if call.is_content_refused:
            continue
        expires_on = retention.expires_on(call.project_id, call.started_at_us)
        messages = call.messages if call.answer is None else (*call.messages, call.answer)
        for message in messages:
            held.setdefault((call.project_id, message.content_hash, expires_on), message)
    return [
        (project_id, content_hash, message.role, message.content, expires_on)
        for (project_id, content_hash, expires_on), message in held.items()
        if recent is None or not recent.has(project_id, content_hash, expires_on)
    ]


def _raw_rows(
    calls: Sequence[tuple[Call, Placement]], retention: Retention, keep_raw_days: int
) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for call, _ in calls:
        if call.is_content_refused or (call.raw_request is None and call.raw_response is None):
            continue
        days = keep_raw_days if call.opaque_reason is None else max(keep_raw_days, OPAQUE_RAW_DAYS)
        expires_on = retention.expires_within(call.project_id, call.started_at_us, days)
        started_at = _at(call.started_at_us)
        rows.append((call.project_id, call.call_id, started_at, call.raw_request, call.raw_response, expires_on))
    return rows


def _at(at_us: int) -> int:
    """Raw microseconds: what DateTime64(6) is inside, and free of time zones and floats."""
    return max(0, min(at_us, LAST_INSTANT_US))


def _status(status: int | None) -> int | None:
    return status if status is not None and 0 <= status <= 65_535 else None


def _bytes(value: str) -> bytes:
    """UTF-8; a lone surrogate becomes "?". ClickHouse strings hold any bytes, NUL included."""
    return value.encode("utf-8", "replace")


def _optional_bytes(value: str | None) -> bytes | None:
    return None if value is None else value.encode("utf-8", "replace")
