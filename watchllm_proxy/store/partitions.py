"""Retention in ClickHouse: partitions that have expired are dropped, calls whose project keeps less now are found.

Bodies first, messages last: whatever comes in between, a call that is there has its messages.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from watchllm_proxy.store.clickhouse import AsyncEventStore
from watchllm_proxy.store.retention import DAY_US, Retention, expiry, kept_days, span_days
from watchllm_proxy.store.sql import queries

TABLES = ("raw_exchanges", "events", "messages", "reported_events")
"""Those that are partitioned by `expires_on`, in the order in which to drop."""

_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Dropped:
    """A partition that is gone. `rows` counts rows, not calls: of a call that moved there may be two."""

    table: str
    expires_on: date
    rows: int


@dataclass(frozen=True, slots=True)
class Overdue:
    """Calls of a project that began before an instant are kept for longer than it now wants."""

    project_id: str
    before_us: int


async def drop_expired(events: AsyncEventStore, today: date, *, limit: int) -> list[Dropped]:
    """Drop partitions whose day has come, the oldest first, at most `limit` of each table."""
    dropped = []
    for table in TABLES:
        found = await events.query(
            queries("clickhouse")["expired_partitions"].replace("/*table*/", table),
            {"today": today.isoformat(), "limit": limit},
        )
        for row in found:
            expires_on = row["expires_on"]
            assert isinstance(expires_on, date)  # noqa: S101 - the column's type
            await events.execute(f"ALTER TABLE {table} DROP PARTITION '{expires_on.isoformat()}'")
            dropped.append(Dropped(table, expires_on, int(str(row["rows"]))))
    return dropped


async def overdue_calls(events: AsyncEventStore, retention: Retention, today: date) -> list[Overdue]:
    """Projects with calls that were stored to be kept for longer than the project keeps calls now."""
    found = await events.query(queries("clickhouse")["oldest_calls"], {"today": today.isoformat()})
    overdue = []
    for row in found:
        project_id = row["project_id"] if isinstance(row["project_id"], str) else ""
        days = kept_days(retention.days(project_id))
        if expiry(int(str(row["started_at_us"])), days) <= today:
            overdue.append(Overdue(project_id, last_expired_us(days, today)))
    return overdue


def last_expired_us(days: int, today: date) -> int:
    """Calls that began before it have expired by `today`, all others have not."""
    span = span_days(days)
    return max(0, ((today - _EPOCH) // timedelta(days=1) - days) // span * span * DAY_US)
