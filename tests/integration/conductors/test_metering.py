"""From the proxies' counts to Postgres and back: nothing lost, nothing doubled, known in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import asyncpg
import pytest

from watchllm_proxy import recorder_metrics
from watchllm_proxy.metering import Metering, MeteringStats
from watchllm_proxy.proxy.limits.counts import Counted, Usage
from watchllm_proxy.proxy.limits.report import UsageReport, read_report
from watchllm_proxy.recorder_stats import RecorderStats
from watchllm_proxy.store import project_settings, usage
from watchllm_proxy.store.projects import create_project
from watchllm_proxy.store.transactions import open_pool
from watchllm_proxy.store.usage import CountedDay, RequestCounts

NOVEMBER = date(2026, 11, 1), date(2026, 12, 1)


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


NOW = at("2026-11-22T12:00:00")


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    opened = await open_pool(postgres_dsn)
    await create_project(opened, "acme", "Acme")
    await project_settings.change(opened, "acme", lambda now: replace(now, plan="free"))
    yield opened
    await opened.close()


async def counting(directory: Path, worker: str, now_s: float = NOW) -> Usage:
    opened = Usage(directory, worker)
    await asyncio.to_thread(opened.open, now_s)
    return opened


async def passed(pool: asyncpg.Pool, first: date = NOVEMBER[0], after: date = NOVEMBER[1]) -> dict[date, int]:
    return {each.day: each.counts.passed for each in await usage.used_days(pool, "acme", first, after)}


async def test_what_all_workers_counted_is_told_once_however_often_it_is_told(
    pool: asyncpg.Pool, tmp_path: Path
) -> None:
    workers = [await counting(tmp_path, name) for name in ("w0", "w1")]
    for _ in range(3):
        for worker in workers:
            worker.count(NOW, "acme", Counted.PASSED)
        workers[0].count(NOW, "acme", Counted.REFUSED_RATE)
        await Metering(pool, tmp_path, clock_s=lambda: NOW).meter()  # the process before was killed
    (day,) = await usage.used_days(pool, "acme", *NOVEMBER)
    assert (day.counts.passed, day.counts.refused_rate) == (6, 3)
    assert await asyncio.to_thread(read_report, tmp_path) == UsageReport("2026-11")


async def test_machines_know_of_each_other_and_not_twice_of_themselves(pool: asyncpg.Pool, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for directory, times in ((here, 10), (there, 5)):
        worker = await counting(directory, "w0")
        for _ in range(times):
            worker.count(NOW, "acme", Counted.PASSED)
    for _ in range(2):
        for directory in (here, there):
            await Metering(pool, directory, clock_s=lambda: NOW).meter()
    assert (await asyncio.to_thread(read_report, here)).elsewhere == {"acme": 5}
    assert (await asyncio.to_thread(read_report, there)).elsewhere == {"acme": 10}
    assert await passed(pool) == {date(2026, 11, 22): 15}


async def test_a_directory_that_was_lost_leaves_its_counts_behind(pool: asyncpg.Pool, tmp_path: Path) -> None:
    for directory in (tmp_path / "lost", tmp_path / "new"):
        worker = await counting(directory, "w0")
        worker.count(NOW, "acme", Counted.PASSED)
        await Metering(pool, directory, clock_s=lambda: NOW).meter()
    assert await passed(pool) == {date(2026, 11, 22): 2}
    assert (await asyncio.to_thread(read_report, tmp_path / "new")).elsewhere == {"acme": 1}


async def test_at_the_months_turn_each_month_gets_its_own_and_the_report_is_of_the_new_one(
    pool: asyncpg.Pool, tmp_path: Path
) -> None:
    before, after = at("2026-11-30T23:59:59"), at("2026-12-01T00:00:01")
    late, early = await counting(tmp_path, "w0", before), await counting(tmp_path, "w1", before)
    metering = Metering(pool, tmp_path, clock_s=lambda: after)
    await asyncio.to_thread(early.look_around, before)  # as it does each second: the next month's file is there
    early.count(before, "acme", Counted.PASSED)
    early.count(after, "acme", Counted.PASSED)
    await metering.meter()
    late.count(before, "acme", Counted.PASSED)
    await metering.meter()
    assert await passed(pool) == {date(2026, 11, 30): 2}
    assert await passed(pool, date(2026, 12, 1), date(2027, 1, 1)) == {date(2026, 12, 1): 1}
    assert (await asyncio.to_thread(read_report, tmp_path)).month == "2026-12"


async def test_files_go_once_their_month_is_long_over(pool: asyncpg.Pool, tmp_path: Path) -> None:
    worker = await counting(tmp_path, "w0", at("2026-10-31T23:00:00"))
    worker.count(at("2026-10-31T23:00:00"), "acme", Counted.PASSED)
    for now, is_there in (("2026-11-30T23:59:59", True), ("2026-12-01T00:00:00", False)):
        await Metering(pool, tmp_path, clock_s=lambda now=now: at(now)).meter()
        assert (tmp_path / "2026-10").exists() is is_there
    assert await passed(pool, date(2026, 10, 1), date(2026, 11, 1)) == {date(2026, 10, 31): 1}


async def test_who_is_near_the_end_of_a_quota_is_told(pool: asyncpg.Pool, tmp_path: Path) -> None:
    metering = Metering(pool, tmp_path, clock_s=lambda: NOW)
    for count, near in ((799, {}), (800, {"acme": 0.8}), (1_001, {"acme": 1.001})):
        day = CountedDay("acme", date(2026, 11, 2), RequestCounts(passed=count))
        await usage.save_counts(pool, "elsewhere", [day])
        await metering.meter()
        assert metering.stats.near_quota == near
    assert metering.stats.reported_at_s == NOW


async def test_a_project_at_its_cap_is_in_the_report(pool: asyncpg.Pool, tmp_path: Path) -> None:
    await project_settings.change(pool, "acme", lambda now: replace(now, monthly_cap_usd=Decimal(0)))
    metering = Metering(pool, tmp_path, clock_s=lambda: NOW)
    await metering.meter()
    assert (await asyncio.to_thread(read_report, tmp_path)).capped_projects == {"acme"}
    assert (metering.stats.capped_projects, metering.stats.capped_keys) == (1, 0)


async def test_what_is_no_count_holds_up_nobody(pool: asyncpg.Pool, tmp_path: Path) -> None:
    worker = await counting(tmp_path, "w0")
    worker.count(NOW, "acme", Counted.PASSED)
    worker.count(NOW, "deleted-meanwhile", Counted.PASSED)
    (tmp_path / "2026-11" / "w9").write_bytes(b"x" * 1_000)
    (tmp_path / "2026-11" / "folder").mkdir()
    (tmp_path / "notes").mkdir()
    await Metering(pool, tmp_path, clock_s=lambda: NOW).meter()
    assert await passed(pool) == {date(2026, 11, 22): 1}


async def test_the_last_counts_are_told_when_it_stops(pool: asyncpg.Pool, tmp_path: Path) -> None:
    stop = asyncio.Event()
    worker = await counting(tmp_path, "w0")
    metering = asyncio.ensure_future(Metering(pool, tmp_path, clock_s=lambda: NOW).run(stop))
    async with asyncio.timeout(10):
        while not (tmp_path / "report.json").exists():
            await asyncio.sleep(0.01)
        worker.count(NOW, "acme", Counted.PASSED)
        stop.set()
        await metering
    assert await passed(pool) == {date(2026, 11, 22): 1}


def test_metrics_tell_how_many_and_never_who() -> None:
    stats = MeteringStats(near_quota={"acme": 0.85, "other": 1.0, "third": 2.5}, capped_projects=1, capped_keys=4)
    shown = recorder_metrics.exposition(RecorderStats(), None, stats).decode()
    assert 'watchllm_quota_projects{state="near"} 1.0' in shown
    assert 'watchllm_quota_projects{state="over"} 2.0' in shown
    assert 'watchllm_capped{whose="key"} 4.0' in shown
    assert "acme" not in shown
