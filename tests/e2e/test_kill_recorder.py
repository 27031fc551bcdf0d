"""`kill -9` of the recorder under load, at any moment and between any two of its writes: all is stored once.

How long it is down is printed, not asserted: bench.restart measures that, on a machine that does nothing else.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
import urllib.request
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.killing import DEADLINE_S, REQUEST_ID, Load, Victim, new_seed, report, running, stored_in
from tests.e2e.programs.armed_watchllm import CRASH_FILE
from tests.e2e.stack import Stack

IS_FULL = "WATCHLLM_TEST_KILLS" in os.environ
KILLS = int(os.environ.get("WATCHLLM_TEST_KILLS", "30"))
"""`make crash` has 200 of them."""
KILLS_ON_SERVERS = KILLS if IS_FULL else 10
EXCHANGES = 10_000 if IS_FULL else 0
FILLED = 50_000 if IS_FULL else 10_000
"""Calls of the last half hour that the stores hold when it begins. All of a day are for `make crash`."""

POINTS = (
    "recorder.after_begin",
    "recorder.after_messages",
    "recorder.after_events",
    "recorder.after_raw_exchanges",
    "recorder.after_commit",
)
ARMED = ("-m", "tests.e2e.programs.armed_watchllm")


async def die_at(victim: Victim, point: str, data_dir: Path, *, reached: int, torn: str = "") -> None:
    """Kill the core; the next dies when it has `reached` a point so often, a table `torn`; wait for the third."""
    file = data_dir / CRASH_FILE
    file.write_text(f"{point} {reached} {torn}")
    await victim.strike()
    deadline = time.monotonic() + DEADLINE_S
    while file.exists():
        assert time.monotonic() < deadline, f"{point} was never reached"
        await asyncio.sleep(0.01)
    victim.died_by_itself()
    await victim.until_back()


async def kill_again_and_again(what: str, kills: int, *, filled: int, **environ: str) -> None:
    seed = new_seed()
    chance = random.Random(seed)
    async with running(filled=filled, program=ARMED, environ={"WATCHLLM_KEEP_RAW": "1", **environ}) as stack:
        victim = Victim(stack, "core")
        async with Load(stack.base_url, pause_s=0.1) as load:
            for point in POINTS:
                await die_at(victim, point, stack.data_dir, reached=chance.randint(1, 3))
            for kill in range(kills):  # most in a row: also while it starts, takes up its state, catches up
                await asyncio.sleep(chance.uniform(0, 2.0))
                await victim.strike()
                if kill % 5 == 4:
                    await victim.until_back()
            while len(load.answered) < EXCHANGES:
                await asyncio.sleep(0.1)
        await asyncio.to_thread(stack.wait_ready)  # told to stop before it listens, it leaves a rest in the log
        stored = await stored_in(stack, filled=filled)

    report(what, seed, victim, load, stored)
    stored.assert_each_once(load.answered)
    assert (load.refused, load.broken) == (0, 0), "clients are not to notice"
    assert len(stored.events) - filled == len(load.answered) > kills * 10


async def test_rows_whose_token_clickhouse_noted_before_it_was_killed_are_stored_all_the_same() -> None:
    """It would drop them for ever as rows that it has (decision 0258)."""
    async with running(program=ARMED) as stack:
        victim = Victim(stack, "core")
        async with Load(stack.base_url, pause_s=0.02) as load:
            for table in ("messages", "events"):  # of its second batch: the first, taken up, the third would cut
                await die_at(victim, f"recorder.after_{table}", stack.data_dir, reached=2, torn=table)
        stored = await stored_in(stack)

    stored.assert_each_once(load.answered)


@pytest.mark.slow
@pytest.mark.timeout(600 + 10 * KILLS)
async def test_kills_of_the_recorder_and_one_at_each_crash_point_lose_and_double_nothing() -> None:
    """With a day's calls in the stores: each start takes up what they hold."""
    await kill_again_and_again("recorder on embedded stores", KILLS, filled=FILLED)


@pytest.mark.slow
async def test_a_record_that_kills_each_recorder_is_set_aside_and_all_others_flow_on() -> None:
    async with running(program=ARMED) as stack:
        victim = Victim(stack, "core")
        (stack.data_dir / CRASH_FILE).write_text("deadly kaboom")
        await victim.strike()
        deadly = await say(stack, "kaboom")
        others = [await say(stack, f"number {number}") for number in range(3)]
        while not await asyncio.to_thread(count_of_deadly, stack):
            await asyncio.sleep(0.1)
        stored = await stored_in(stack)
    assert stored.dead_letters == 1
    assert deadly not in stored.events
    assert (stored.lost_of(others), stored.doubled) == (0, 0)
    assert len(stored.events) == len(others)


async def say(stack: Stack, text: str) -> str:
    """The id of the exchange."""
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{stack.base_url}/chat/completions", json=body) as answer,
    ):
        await answer.read()
        return answer.headers[REQUEST_ID]


def count_of_deadly(stack: Stack) -> bool:
    """Whether /metrics counts it; nobody is there to count while a core starts."""
    with urllib.request.urlopen(f"{stack.origin}/metrics", timeout=10) as answer:
        return b'watchllm_captures{reason="deadly",state="dead_lettered"} 1.0' in answer.read()


@pytest.mark.slow
@pytest.mark.timeout(600 + 10 * KILLS)
async def test_the_same_on_servers(postgres_dsn: str, clickhouse_url: str) -> None:
    await kill_again_and_again(
        "recorder on servers",
        KILLS_ON_SERVERS,
        filled=0,
        WATCHLLM_DATABASE_URL=postgres_dsn,
        WATCHLLM_OWNER_DATABASE_URL=postgres_dsn.replace("watchllm_app@", "watchllm_owner@"),
        WATCHLLM_CLICKHOUSE_URL=clickhouse_url,
    )
