"""A run that goes on is told as it grows, until it is over."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient

from tests.console_runs import MemoryReading
from watchllm_proxy.console.api import live
from watchllm_proxy.records import RunStatus

EVENTS = "/api/agent-runs/run_7q2k9fh4/events"


def now_is(reading: MemoryReading, status: RunStatus, steps: int) -> None:
    loaded = reading.runs[0]
    run = replace(loaded.run, status=status, total_steps=steps)
    reading.runs[0] = replace(loaded, run=run)


async def event(answer: ClientResponse) -> dict[str, str]:
    """The next one that tells anything; empty at the end."""
    while True:
        lines = []
        while line := (await asyncio.wait_for(answer.content.readline(), 10)).decode().strip():
            lines.append(line)
        found = dict(line.split(": ", 1) for line in lines if not line.startswith(":"))
        if "data" in found or answer.content.at_eof():
            return found


async def test_each_change_is_told_once_and_the_end_ends_it(client: TestClient, reading: MemoryReading) -> None:
    now_is(reading, RunStatus.RUNNING, 3)
    answer = await client.get(EVENTS)
    assert (answer.status, answer.content_type) == (200, "text/event-stream")
    assert '"total_steps":3' in (await event(answer))["data"]
    now_is(reading, RunStatus.RUNNING, 5)
    assert '"total_steps":5' in (await event(answer))["data"]
    now_is(reading, RunStatus.COMPLETED, 5)
    assert '"is_over":true' in (await event(answer))["data"]
    assert await event(answer) == {}


async def test_whoever_comes_back_is_not_told_again_what_it_knows(
    client: TestClient, reading: MemoryReading
) -> None:
    now_is(reading, RunStatus.RUNNING, 3)
    told = await event(await client.get(EVENTS))
    again = await client.get(EVENTS, headers={"Last-Event-ID": told["id"]})
    now_is(reading, RunStatus.RUNNING, 4)
    assert '"total_steps":4' in (await event(again))["data"]


async def test_a_run_that_is_gone_says_so(client: TestClient, reading: MemoryReading) -> None:
    now_is(reading, RunStatus.RUNNING, 3)
    answer = await client.get(EVENTS)
    await event(answer)
    del reading.runs[0]
    assert (await event(answer))["event"] == "gone"


async def test_listeners_are_bounded_and_let_go_when_the_console_stops(
    client: TestClient, reading: MemoryReading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "MAX_LISTENERS", 1)
    now_is(reading, RunStatus.RUNNING, 3)
    answer = await client.get(EVENTS)
    await event(answer)
    assert (await client.get(EVENTS)).status == 503
    assert client.app is not None
    await client.app[live.LISTENERS].stop(client.app)
    assert await event(answer) == {}
    assert (await client.get(EVENTS)).status == 503, "nobody is let in again while it stops"
