"""Figures by the hour, made anew from the calls of each hour that changed (decision 0136)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from watchllm_proxy.store.clickhouse import AsyncEventStore
from watchllm_proxy.store.sql import queries

SETTLED_S = 120
"""An insert that was begun is through by then: figures count what was inserted until this long ago, for sure."""


class Hour(NamedTuple):
    """An hour of a project that changed since its figures were made. `began_at`: UTC."""

    project_id: str
    began_at: datetime


async def changed_hours(events: AsyncEventStore, *, since_us: int, limit: int) -> list[Hour]:
    """The newest first. `since_us`: what changed before was made anew in an earlier pass."""
    found = await events.query(queries("clickhouse")["changed_hours"], {"since_us": since_us, "limit": limit})
    return [Hour(str(row["project_id"]), datetime.fromtimestamp(int(str(row["hour_s"])), UTC)) for row in found]


async def make_anew(events: AsyncEventStore, hour: Hour) -> None:
    """One row in the place of what was known of this hour; without calls it is a row without groups."""
    await events.execute(
        queries("clickhouse")["make_figures"],
        {
            "project_id": hour.project_id,
            "hour_s": int(hour.began_at.timestamp()),
            "settled_s": SETTLED_S,
        },
    )
