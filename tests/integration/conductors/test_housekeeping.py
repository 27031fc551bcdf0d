"""Retention and figures, as the core sees to them beside its recorder."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.integration.conductors.recording import Recording, Running, chat, until_true
from tests.integration.store.stored_calls import orphans
from watchllm_proxy.housekeeping import Housekeeping
from watchllm_proxy.store import old_runs
from watchllm_proxy.store.old_runs import RetentionRules

only_embedded = pytest.mark.parametrize("empty_event_store", ["embedded"], indirect=True)
DAY_US = 86_400_000_000


def housekeeping(recording: Recording, days: int = 90) -> Housekeeping:
    return Housekeeping(recording.runs.pool, recording.events, RetentionRules(recording.runs.pool, days))


async def recorded(recording: Recording, ages_days: list[int]) -> None:
    """One run for each age."""
    now_us = time.time_ns() // 1000
    async with Running(recording.recorder()):
        await recording.write(
            [chat(n, run=f"run-{age}", ended_at_us=now_us - age * DAY_US) for n, age in enumerate(ages_days)]
        )
        await until_true(lambda: recording.count_of("run_links", len(ages_days)), "the calls")


@only_embedded
async def test_runs_and_calls_out_of_retention_go_from_both_stores_together(recording: Recording) -> None:
    await recorded(recording, [0, 50, 80, 130, 200])
    done = await housekeeping(recording).retain(datetime.now(UTC))
    assert done.deleted.runs == 2
    assert done.dropped_rows["events"] == 2
    assert await recording.count("events") == 3
    runs = await recording.runs.pool.fetch("SELECT run_id FROM agent_debug_logs ORDER BY run_id")
    assert [row["run_id"] for row in runs] == ["run-0", "run-50", "run-80"]
    assert await recording.count_of("run_links", 3)
    assert orphans(recording.store) == (0, 0)
    again = await housekeeping(recording).retain(datetime.now(UTC))
    assert (again.deleted.runs, again.dropped_rows, again.has_more) == (0, {}, False)


@only_embedded
async def test_a_shorter_retention_holds_for_what_is_stored_too(recording: Recording) -> None:
    await recorded(recording, [0, 20, 40])
    assert await old_runs.set_retention(recording.runs.pool, "default", 7)
    assert not await old_runs.set_retention(recording.runs.pool, "nobody", 7)
    kept = housekeeping(recording)
    assert (await kept.retain(datetime.now(UTC))).overdue_projects == 1
    async with Running(recording.recorder()):  # it erases what housekeeping asked for

        async def one_is_left() -> bool:
            return await recording.in_postgres("SELECT count(*) FROM erasures WHERE done_at IS NOT NULL") == 1

        await until_true(one_is_left, "the erasure")
    assert await recording.count("events") == 1
    assert orphans(recording.store) == (0, 0)
    assert (await kept.retain(datetime.now(UTC))).overdue_projects == 0


@only_embedded
async def test_new_calls_are_stored_by_the_retention_of_their_project(recording: Recording) -> None:
    await old_runs.set_retention(recording.runs.pool, "default", 7)
    await recorded(recording, [0])
    (row,) = await recording.events.query("SELECT expires_on FROM events")
    assert row["expires_on"] == (datetime.now(UTC) + timedelta(days=8)).date()


@only_embedded
async def test_a_recorder_is_told_when_runs_go_that_it_may_remember(recording: Recording) -> None:
    """All is still for weeks, so its newest run is out of retention."""
    await recorded(recording, [100])
    told: list[bool] = []
    rules = RetentionRules(recording.runs.pool, 90)
    kept = Housekeeping(recording.runs.pool, recording.events, rules, forgotten=lambda: told.append(True))
    await kept.retain(datetime.now(UTC))
    assert told == [True]
    assert await recording.count_of("agent_debug_logs", 0)


@only_embedded
async def test_figures_follow_the_calls(recording: Recording) -> None:
    await recorded(recording, [0, 1, 1])
    kept = housekeeping(recording)
    assert await kept.make_figures() == 2
    (row,) = await recording.events.query(
        "SELECT sum(calls) AS calls, sum(input_tokens) AS tokens FROM daily_figures"
    )
    assert (row["calls"], row["tokens"]) == (3, 30)
    assert kept.stats.hours_made == 2
