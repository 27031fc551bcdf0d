"""Runs that are to go: by age or because somebody asked for it. And how long each project keeps its calls."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import asyncpg

from watchllm_proxy.store import views
from watchllm_proxy.store.retention import Retention, kept_days
from watchllm_proxy.store.sql import queries
from watchllm_proxy.store.transactions import UPKEEP, transaction

RULES_S = 5.0
"""A changed retention is known after this long."""


REMEMBERED = timedelta(days=1)
"""A recorder may hold runs in memory that had a call within this time before the latest call of all."""


@dataclass(frozen=True, slots=True)
class DeletedRuns:
    """How many rows went. `may_be_remembered`: a recorder may have one of them in its memory."""

    runs: int = 0
    steps: int = 0
    may_be_remembered: bool = False

    def __add__(self, other: DeletedRuns) -> DeletedRuns:
        return DeletedRuns(
            self.runs + other.runs,
            self.steps + other.steps,
            self.may_be_remembered or other.may_be_remembered,
        )


class RetentionRules:
    """How long calls are kept: by the column of `projects`, else by the setting. Asks at most each `RULES_S`."""

    def __init__(self, pool: asyncpg.Pool, default_days: int) -> None:
        self._pool = pool
        self._known = Retention(default_days)
        self._next_look = 0.0

    async def current(self) -> Retention:
        if time.monotonic() >= self._next_look:
            async with transaction(self._pool, UPKEEP) as connection:
                found = await connection.fetch(queries("postgres")["retention_rules"])
            by_project = {row["project_id"]: row["retention_days"] for row in found}
            self._known = Retention(self._known.default_days, by_project)
            self._next_look = time.monotonic() + RULES_S
        return self._known


async def set_retention(pool: asyncpg.Pool, project_id: str, days: int | None) -> bool:
    """None: as the setting says. False: there is no such project."""
    async with transaction(pool, UPKEEP) as connection:
        return bool(await connection.fetch(queries("postgres")["set_retention"], views.key(project_id), days))


async def delete_old_runs(pool: asyncpg.Pool, retention: Retention, now_us: int, *, limit: int) -> DeletedRuns:
    """Delete runs whose last call is out of their project's retention, at most `limit` of each project.

    A run is kept whole: its early steps stay as long as it gets calls.
    """
    deleted = DeletedRuns()
    async with transaction(pool, UPKEEP) as connection:
        projects = await connection.fetch(queries("postgres")["projects_with_runs"])
        ((latest,),) = await connection.fetch(queries("postgres")["latest_activity"])
    for row in projects:
        project_id = row["project_id"]
        before = views.instant(now_us) - timedelta(days=kept_days(retention.days(project_id)))
        async with transaction(pool, UPKEEP) as connection:
            old = await connection.fetch(queries("postgres")["old_runs"], project_id, before, limit)
            gone = await delete_runs(connection, project_id, [each["run_id"] for each in old])
        newest = max((each["last_activity_at"] for each in old), default=None)
        deleted += replace(gone, may_be_remembered=_is_recent(newest, latest))
    return deleted


def _is_recent(newest: datetime | None, latest: datetime | None) -> bool:
    """Reported runs are in nobody's memory: where there are no others, there is no `latest`."""
    return newest is not None and latest is not None and newest > latest - 2 * REMEMBERED


async def delete_runs(connection: asyncpg.Connection, project_id: str, run_ids: Sequence[str]) -> DeletedRuns:
    """All rows of these runs, in the transaction of `connection`."""
    if not run_ids:
        return DeletedRuns()
    ((runs, steps),) = await connection.fetch(queries("postgres")["delete_runs"], project_id, list(run_ids))
    return DeletedRuns(runs, steps)
