"""Memory taken up from a real Postgres, run by run and after restarts: the rows are those of a sessionizer that
forgot nothing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence

import pytest

from tests.unit.builders import SILENCE_US, CallBuilder, Rows, asked_ids, tool
from tests.unit.sessionize.test_sessionizer_restart import CLIENT_IDS, TASK, Move, history, recorded
from watchllm_proxy.recalling import StoredRuns, take_up
from watchllm_proxy.records import Call, RunChanges
from watchllm_proxy.sessionize import Sessionizer
from watchllm_proxy.store.postgres import RunStore

ANSWER = "It will be mild and dry in Bergen, with a light wind from the south."


@pytest.fixture
async def runs(postgres_dsn: str) -> AsyncIterator[RunStore]:
    opened = await RunStore.open(postgres_dsn)
    yield opened
    await opened.close()


class Process:
    """A recorder's thinking, started anew by `restart`. It holds no step across a commit."""

    def __init__(self, runs: RunStore) -> None:
        self._runs = runs
        self._shelf = StoredRuns(runs.load_runs)
        self.rows = Rows()

    async def restart(self) -> None:
        self._shelf.serve()
        self._sessionizer = Sessionizer(silence_us=SILENCE_US, max_steps=0, shelf=self._shelf)
        await take_up(self._sessionizer, self._runs)

    async def record(self, calls: Sequence[Call]) -> None:
        await self._commit(await asyncio.to_thread(self._think, calls))

    async def pass_time(self, until_us: int) -> None:
        await asyncio.to_thread(self._sessionizer.tick, until_us)
        await self._commit(self._sessionizer.drain())

    def _think(self, calls: Sequence[Call]) -> RunChanges:
        self._sessionizer.bring(calls)
        for call in calls:
            self._sessionizer.observe(call, call.ended_at_us)
        self._sessionizer.tick(calls[-1].ended_at_us)
        return self._sessionizer.drain()

    async def _commit(self, changes: RunChanges) -> None:
        self.rows.store(changes)
        await self._runs.commit_batch(None, changes, {}, {})


async def assert_stored(runs: RunStore, process: Process, expected: Rows) -> None:
    assert process.rows.placements == expected.placements
    found = {(run.project_id, run.run_id): (run, steps) for run, steps in await runs.load_runs([*expected.runs])}
    assert {key: run for key, (run, _) in found.items()} == expected.runs
    assert {key: steps for key, (_, steps) in found.items()} == {
        key: expected.steps_of(run) for key, run in expected.runs.items()
    }
    state = await runs.load_state(settled_for_us=0)
    horizon_us = max(anchor.at_us for anchor in expected.anchors.values()) - 86_400_000_000
    kept = [anchor for anchor in expected.anchors.values() if anchor.at_us >= horizon_us]
    assert list(state.anchors) == sorted(kept, key=lambda anchor: anchor.seq)


def some_history(seed: int) -> list[Call]:
    chance = random.Random(seed)
    moves = [
        Move(
            follows=chance.choice([None, 0, 1, 2, 3, 5, 8]),
            user=chance.choice([None, "Hi", "Go on", TASK, f"Judge this: {ANSWER}"]),
            asks=chance.randrange(3),
            outcome=chance.choice(["ok", "ok", "ok", "ok", "429", "400", "left", "again"]),
            client_ids=chance.choice(["none", "none", "none", *CLIENT_IDS]),
            gap_s=chance.choice([0.0, 0.5, 30.0, 599.0, 601.0, 1300.0]),
            brings_results=chance.random() < 0.7,
            connection=chance.randint(1, 2),
            shared_id=chance.random() < 0.3,
            project=chance.choice(["default", "default", "other"]),
        )
        for _ in range(40)
    ]
    return history(moves)


@pytest.mark.parametrize("seed", range(6))
async def test_restarts_leave_no_trace(runs: RunStore, seed: int) -> None:
    calls = some_history(seed)
    chance = random.Random(seed)
    process = Process(runs)
    position = 0
    while position < len(calls):
        if position == 0 or chance.random() < 0.6:
            await process.restart()
        size = chance.randint(1, 5)
        await process.record(calls[position : position + size])
        position += size
    await process.pass_time(calls[-1].ended_at_us + 100 * SILENCE_US)
    await assert_stored(runs, process, recorded(calls, frozenset(), frozenset(), max_steps=1_000_000))


async def test_a_run_that_was_hung_under_another_is_found_there_after_a_restart(runs: RunStore) -> None:
    """Its session, and that of its traces, is the parent's: by the rows alone, with a restart before each call."""
    call = CallBuilder()
    plan = call(user="Plan a day in Bergen", answers=tool("research", {"n": 1}), client="127.0.0.1:1")
    child = call(
        user="How is the weather in Bergen?", answers=ANSWER, system="You research.", client="127.0.0.1:2"
    )
    done = call(after=plan, results={asked_ids(plan)[0]: ANSWER}, answers="Take a walk.", client="127.0.0.1:1")
    more = call(after=child, user="And tomorrow, in Oslo?", answers="The same.", client="127.0.0.1:2")
    calls = [plan, child, done, more]
    process = Process(runs)
    for each in calls:
        await process.restart()
        await process.record([each])
    await process.pass_time(more.ended_at_us + 100 * SILENCE_US)
    placed = process.rows.placements
    parent = placed[plan.call_id]
    assert (placed[child.call_id].parent_run_id, placed[child.call_id].session_id) == (
        parent.run_id,
        parent.session_id,
    )
    assert placed[more.call_id].session_id == parent.session_id
    await assert_stored(runs, process, recorded(calls, frozenset(), frozenset(), max_steps=1_000_000))
