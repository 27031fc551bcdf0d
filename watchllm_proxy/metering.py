"""CONDUCTOR of usage: what the proxies counted -> Postgres, and what they must know of the rest -> their file.

    every two seconds   say in Postgres what each worker's file holds: its own counts, so twice is once
                        write down for the workers what other machines counted, and who reached a cap
                        tell who is near the end of a quota

While Postgres is away the workers go on with what they knew: their own counts, and the last report.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import structlog

from watchllm_proxy.errors import StoreError
from watchllm_proxy.lifecycle import rest
from watchllm_proxy.proxy.limits.counts import UsageSnapshot, read_snapshot
from watchllm_proxy.proxy.limits.months import Month
from watchllm_proxy.proxy.limits.report import UsageReport, write_report
from watchllm_proxy.store import usage
from watchllm_proxy.store.usage import CountedDay, RequestCounts

log = structlog.get_logger(__name__)

METER_S = 2.0
WARN_AT = (0.8, 1.0)
"""Shares of a quota that are told when a project gets there."""


@dataclass(slots=True)
class MeteringStats:
    """What `/metrics` tells."""

    near_quota: dict[str, float] = field(default_factory=dict)
    """By project, of those at 80 % of their quota or more: how much of it is used, 1.0 is all."""
    capped_projects: int = 0
    capped_keys: int = 0
    reported_at_s: float | None = None  # when the proxies were last told, epoch; None: never


class Metering:
    """`directory`: where the proxies of this machine count (Settings.usage_dir)."""

    def __init__(self, pool: asyncpg.Pool, directory: Path, *, clock_s: Callable[[], float] = time.time) -> None:
        self._pool = pool
        self._directory = directory
        self._clock_s = clock_s
        self._said: dict[str, dict[CountedDay, None]] = {}  # by source
        self._written: UsageReport | None = None
        self.stats = MeteringStats()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`, and once more after it: the proxies have stopped counting by then."""
        is_failing = False
        while True:
            is_last = stop.is_set()
            try:
                await self.meter()
                is_failing = False
            except (StoreError, OSError) as exc:  # Postgres is away, or the disk is full
                if not is_failing:
                    log.warning("metering.failed", error=str(exc))
                is_failing = True
            if is_last:
                return
            await rest(stop, METER_S)

    async def meter(self) -> None:
        """One pass. Raises `StoreError` or OSError, with nothing lost: the next one says it all again."""
        now = Month.of(self._clock_s())
        counted = await asyncio.to_thread(lambda: list(_snapshots(self._directory)))
        for _, snapshot in counted:
            await self._say(snapshot)
        here = [snapshot.source for month, snapshot in counted if month == now]
        await self._report(now, here)
        await self._warn(now)
        await asyncio.to_thread(_forget_before, self._directory, now.previous)

    async def _say(self, snapshot: UsageSnapshot) -> None:
        """What is new in it."""
        days = dict.fromkeys(
            CountedDay(each.project_id, each.day, RequestCounts(*each.counts)) for each in snapshot.days
        )
        said = self._said.get(snapshot.source, {})
        await usage.save_counts(self._pool, snapshot.source, [each for each in days if each not in said])
        self._said[snapshot.source] = days

    async def _report(self, month: Month, here: list[str]) -> None:
        span = month.first_day, month.next.first_day
        elsewhere = await usage.passed_elsewhere(self._pool, *span, here)
        projects, keys = await usage.capped(self._pool, *span)
        report = UsageReport(month.name, elsewhere, projects, keys)
        if report != self._written:
            await asyncio.to_thread(write_report, self._directory, report)
            self._written = report
        self.stats.capped_projects, self.stats.capped_keys = len(projects), len(keys)
        self.stats.reported_at_s = self._clock_s()

    async def _warn(self, month: Month) -> None:
        before = self.stats.near_quota
        near = await usage.near_quota(self._pool, month.first_day, month.next.first_day, WARN_AT[0])
        for project_id, used in near.items():
            reached = [share for share in WARN_AT if before.get(project_id, 0.0) < share <= used]
            if reached:
                log.warning(
                    "metering.quota", project_id=project_id, used_percent=int(100 * used), month=month.name
                )
        self.stats.near_quota = near


def _snapshots(directory: Path) -> Iterator[tuple[Month, UsageSnapshot]]:
    """What the workers' files hold, of all months that are there."""
    for path in sorted(directory.glob("*/*")):
        month = Month.named(path.parent.name)
        if month is None or path.name.startswith(".") or not path.is_file():
            continue
        snapshot = read_snapshot(path, month)
        if snapshot is not None:
            yield month, snapshot


def _forget_before(directory: Path, kept: Month) -> None:
    """Files of months before `kept`: all that is in them was said."""
    for path in directory.glob("*/"):
        month = Month.named(path.name)
        if month is not None and month < kept:
            shutil.rmtree(path)
