"""CONDUCTOR of what keeps the stores in order, beside the recorder: figures by the hour, and retention.

    every minute   make the figures of the hours anew that got calls
    every hour     drop the partitions of ClickHouse that have expired, ask the recorder to erase calls that a
                   project wants to keep no longer, delete the runs whose last call is as old

Each pass does a bounded amount; what is left is done in the next one. A store that is away is tried again in the
next pass: nothing waits for this.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from uuid import NAMESPACE_OID, uuid5

import asyncpg
import structlog

from watchllm_proxy.errors import StoreError
from watchllm_proxy.lifecycle import rest
from watchllm_proxy.store import erasures
from watchllm_proxy.store.clickhouse import AsyncEventStore
from watchllm_proxy.store.erasures import Erasure, ErasureScope
from watchllm_proxy.store.figures import SETTLED_S, changed_hours, make_anew
from watchllm_proxy.store.old_runs import DeletedRuns, RetentionRules, delete_old_runs
from watchllm_proxy.store.partitions import Dropped, Overdue, drop_expired, overdue_calls

log = structlog.get_logger(__name__)

FIGURES_EVERY_S = 60.0
RETENTION_EVERY_S = 3600.0
RETENTION_AGAIN_S = 10.0
"""While more is to go than one pass takes."""

HOURS_A_PASS = 200
PARTITIONS_A_PASS = 10
RUNS_A_PASS = 500
SHARE_OF_TIME = 0.05
"""Figures take this share of one core at most, however many calls there are."""


@dataclass(slots=True)
class HousekeepingStats:
    """What `/metrics` tells. Counts are since this process started."""

    dropped_rows: Counter[str] = field(default_factory=Counter)
    """By table; rows that went with their partition."""
    deleted_runs: int = 0
    hours_made: int = 0  # figures of an hour made anew
    retained_at_s: float | None = None  # when the last pass of retention was through, epoch; None: none was


@dataclass(frozen=True, slots=True)
class Retained:
    """What one pass of retention did. `has_more`: a limit ended it."""

    dropped_rows: dict[str, int]
    overdue_projects: int
    deleted: DeletedRuns
    has_more: bool


class Housekeeping:
    """`forgotten` is called when runs are gone that the recorder may have in its memory."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        events: AsyncEventStore,
        rules: RetentionRules,
        *,
        forgotten: Callable[[], None] = lambda: None,
    ) -> None:
        self._pool = pool
        self._events = events
        self._rules = rules
        self._forgotten = forgotten
        self._figures_since_us = 0
        self.stats = HousekeepingStats()

    async def run(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as task_group:
            task_group.create_task(_repeatedly(self._figures_pass, stop, "figures"))
            task_group.create_task(_repeatedly(self._retention_pass, stop, "retention"))

    # --- figures

    async def _figures_pass(self) -> float:
        started = time.monotonic()
        await self.make_figures()
        return max(FIGURES_EVERY_S, (time.monotonic() - started) / SHARE_OF_TIME)

    async def make_figures(self) -> int:
        """Make the figures of changed hours anew; how many hours those were."""
        now_us = time.time_ns() // 1000
        hours = await changed_hours(self._events, since_us=self._figures_since_us, limit=HOURS_A_PASS)
        for hour in hours:
            await make_anew(self._events, hour)
        self.stats.hours_made += len(hours)
        if len(hours) < HOURS_A_PASS:
            self._figures_since_us = now_us - 2 * SETTLED_S * 1_000_000
        return len(hours)

    # --- retention

    async def _retention_pass(self) -> float:
        done = await self.retain(datetime.now(UTC))
        return RETENTION_AGAIN_S if done.has_more else RETENTION_EVERY_S

    async def retain(self, now: datetime) -> Retained:
        """One pass."""
        retention, today = await self._rules.current(), now.date()
        dropped = await drop_expired(self._events, today, limit=PARTITIONS_A_PASS)
        overdue = await overdue_calls(self._events, retention, today)
        for each in overdue:
            await erasures.ask_for(self._pool, _erasure_of(each, now))
        deleted = await delete_old_runs(self._pool, retention, _us(now), limit=RUNS_A_PASS)
        has_more = len(dropped) >= PARTITIONS_A_PASS or deleted.runs >= RUNS_A_PASS
        done = Retained(_rows_by_table(dropped), len(overdue), deleted, has_more)
        self._note(done, today)
        return done

    def _note(self, done: Retained, today: date) -> None:
        if done.deleted.may_be_remembered:
            self._forgotten()
        self.stats.dropped_rows.update(done.dropped_rows)
        self.stats.deleted_runs += done.deleted.runs
        self.stats.retained_at_s = time.time()
        if done.dropped_rows or done.overdue_projects or done.deleted.runs:
            log.info(
                "housekeeping.retained",
                today=today.isoformat(),
                dropped_rows=done.dropped_rows,
                overdue_projects=done.overdue_projects,
                deleted_runs=done.deleted.runs,
                has_more=done.has_more,
            )


async def _repeatedly(one_pass: Callable[[], Awaitable[float]], stop: asyncio.Event, what: str) -> None:
    """`one_pass` tells how long to rest after it. One that fails is tried again a minute later, told once."""
    is_failing = False
    while not stop.is_set():
        try:
            rest_s = await one_pass()
            is_failing = False
        except StoreError as exc:
            if not is_failing:
                log.warning("housekeeping.failed", what=what, error=str(exc))
            is_failing, rest_s = True, FIGURES_EVERY_S
        await rest(stop, rest_s)


def _rows_by_table(dropped: Sequence[Dropped]) -> dict[str, int]:
    rows: Counter[str] = Counter()
    for each in dropped:
        rows[each.table] += each.rows
    return dict(rows)


def _erasure_of(overdue: Overdue, now: datetime) -> Erasure:
    """By an id that is the same all day: asked for each hour it is done once."""
    name = f"{overdue.project_id}/{overdue.before_us}/{now.date()}"
    erasure_id = uuid5(NAMESPACE_OID, name)
    return Erasure(erasure_id, overdue.project_id, ErasureScope.BEFORE, str(overdue.before_us), _us(now))


def _us(at: datetime) -> int:
    return int(at.timestamp()) * 1_000_000
