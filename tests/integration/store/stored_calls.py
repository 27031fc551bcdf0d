"""Calls in a ClickHouse, and what is there of them: for the tests of retention, figures and erasure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from tests.unit.store.batches import bounds
from watchllm_proxy.records import Call, Placement
from watchllm_proxy.store.clickhouse import EventStore
from watchllm_proxy.store.event_rows import RecentMessages, event_inserts
from watchllm_proxy.store.retention import FOR_EVER, Retention

KEPT_FOR_EVER = Retention(FOR_EVER)


def store_calls(
    store: EventStore,
    calls: Sequence[tuple[Call, Placement]],
    token: int = 1,
    *,
    retention: Retention = KEPT_FOR_EVER,
    recent: RecentMessages | None = None,
) -> None:
    inserts = event_inserts(calls, bounds(token), keep_raw_days=1000, retention=retention, recent=recent)
    for insert in inserts:
        store.insert(*insert)
    if recent is not None:
        recent.remember(inserts)


def count(store: EventStore, table: str, where: str = "1") -> int:
    (row,) = store.query(f"SELECT count() AS rows FROM {table} FINAL WHERE {where}")
    return int(str(row["rows"]))


def orphans(store: EventStore) -> tuple[int, int]:
    """(messages that a call lacks, messages that no call holds), over all partitions. Both are to be 0."""
    held = (
        "SELECT DISTINCT project_id, expires_on, arrayJoin(arrayConcat(message_hashes, "
        "if(isNull(answer_hash), [], [assumeNotNull(answer_hash)]))) AS content_hash FROM events FINAL"
    )
    stored = "SELECT DISTINCT project_id, expires_on, content_hash FROM messages"
    key = "(project_id, expires_on, content_hash)"
    (lacking,) = store.query(f"SELECT count() AS rows FROM ({held}) WHERE {key} NOT IN ({stored})")
    (dead,) = store.query(f"SELECT count() AS rows FROM ({stored}) WHERE {key} NOT IN ({held})")
    return int(str(lacking["rows"])), int(str(dead["rows"]))


def partitions(store: EventStore, table: str) -> set[date]:
    found = store.query(f"SELECT DISTINCT expires_on FROM {table}")
    return {day for row in found if isinstance(day := row["expires_on"], date)}
