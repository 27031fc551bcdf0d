"""`kill -9` of the proxy under load: whoever had a whole answer finds it stored, once, and nobody helped."""

from __future__ import annotations

import asyncio
import os
import random

import pytest

from tests.e2e.killing import Load, Victim, new_seed, report, running, stored_in

KILLS = int(os.environ.get("WATCHLLM_TEST_KILLS", "30"))
IS_FULL = "WATCHLLM_TEST_KILLS" in os.environ
EXCHANGES = 10_000 if IS_FULL else 0
CLIENTS, PAUSE_S = (16, 0.01) if IS_FULL else (4, 0.04)
"""It is up for a third of a second between two kills: 10,000 exchanges in so short a time want many clients."""


@pytest.mark.slow
@pytest.mark.timeout(600 + 10 * KILLS)
async def test_kills_of_the_proxy_lose_and_double_no_answered_call() -> None:
    seed = new_seed()
    chance = random.Random(seed)
    async with running() as stack:
        victim = Victim(stack, "proxy")
        async with Load(stack.base_url, clients=CLIENTS, pause_s=PAUSE_S) as load:
            for _ in range(KILLS):
                await asyncio.sleep(chance.uniform(0.1, 0.5))
                await victim.kill()
            while len(load.answered) < EXCHANGES:
                await asyncio.sleep(0.1)
        stored = await stored_in(stack)

    report("proxy", seed, victim, load, stored)
    stored.assert_each_once(load.answered)
    assert load.broken > 0, "no request was under way at any kill: this proved nothing"
    assert len(load.answered) > KILLS * 10
