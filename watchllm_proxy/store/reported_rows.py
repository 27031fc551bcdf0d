"""Reported events -> rows of ClickHouse. Pure: the same events give the same rows under the same token."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from watchllm_proxy.records import BatchBounds, ReportedEvent
from watchllm_proxy.store import views
from watchllm_proxy.store.event_rows import Insert, token
from watchllm_proxy.store.retention import Retention

TABLE = "reported_events"
COLUMNS = (
    "project_id", "event_id", "event_type", "run_id", "at", "stored_at", "user_id", "status", "model", "tags",
    "release", "env", "latency_ms", "tokens_input", "tokens_output", "cost_usd", "cost_source", "body",
    "expires_on",
)  # fmt: skip


def reported_insert(events: Sequence[ReportedEvent], bounds: BatchBounds, retention: Retention) -> Insert:
    """Of an event that was told twice in this batch the later one.

    The token names the rows too: a batch that is taken again may find projects that keep or redact otherwise, and
    its rows must not be dropped for those of before. The table keeps one row of each event.
    """
    last = {(event.project_id, event.event_id): event for event in events}
    rows = [_row(event, bounds.now_us, retention) for event in last.values()]
    digest = hashlib.blake2b(repr(rows).encode(), digest_size=8).hexdigest()
    return Insert(TABLE, COLUMNS, rows, f"{token(bounds, TABLE)}-{digest}")


def _row(event: ReportedEvent, stored_at_us: int, retention: Retention) -> tuple[object, ...]:
    return (
        event.project_id, _bytes(views.key(event.event_id)), event.event_type, views.optional_key(event.run_id),
        event.at_us, stored_at_us, _optional(event.user_id), event.status, _optional(event.model),
        [_bytes(tag) for tag in event.tags], _optional(event.release), event.env,
        views.tokens(event.latency_ms), views.tokens(event.tokens_input), views.tokens(event.tokens_output),
        views.picodollars(event.cost_usd), event.cost_source.value, event.body,
        retention.expires_on(event.project_id, event.at_us),
    )  # fmt: skip


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _optional(text: str | None) -> bytes | None:
    return None if text is None else _bytes(text)
