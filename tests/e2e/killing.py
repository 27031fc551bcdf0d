"""For tests that kill processes of a running product: the load, the kill, and what was stored in the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import psutil

from tests.e2e.stack import PROJECT, Stack
from tests.fake_openai import FakeOpenAI

CLIENTS = 4
CALLS_PER_RUN = 40
REFUSED_PAUSE_S = 0.05
"""A port that is closed is not knocked at so often that the one who is to open it has no CPU."""
REQUEST_TIMEOUT_S = 30.0
DEADLINE_S = 60.0
REQUEST_ID = "X-WatchLLM-Request-Id"
WORTH_EXPLAINING_S = 2.5
"""Of a restart that took longer, what `/readyz` waited for is printed, and from when."""


class Load:
    """Clients that ask the same proxy again and again, every other time for a stream, while this is entered.
    Between two questions each pauses, and longer where nobody answers.

    answered    ids of the exchanges whose answer came to its end
    refused     nobody was there to connect to
    broken      requests that broke off under way
    """

    def __init__(self, base_url: str, *, clients: int = CLIENTS, pause_s: float = 0.04) -> None:
        self.answered: list[str] = []
        self.refused = 0
        self.broken = 0
        self._base_url = base_url
        self._count = clients
        self._pause_s = pause_s
        self._asked = 0
        self._stopping = asyncio.Event()
        self._clients: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._clients = [asyncio.ensure_future(self._ask_on()) for _ in range(self._count)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        await asyncio.gather(*self._clients)

    async def _ask_on(self) -> None:
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while not self._stopping.is_set():
                self._asked += 1
                try:
                    self.answered.append(await self._ask(session, self._asked))
                except aiohttp.ClientConnectorError:
                    self.refused += 1
                    await asyncio.sleep(REFUSED_PAUSE_S)
                except (aiohttp.ClientError, TimeoutError):
                    self.broken += 1
                await asyncio.sleep(self._pause_s)

    async def _ask(self, session: aiohttp.ClientSession, number: int) -> str:
        message = {"role": "user", "content": f"Question {number} of this load."}
        body = {"model": "gpt-4o-mini", "messages": [message], "stream": number % 2 == 0}
        headers = {"X-Run-Id": f"run-{number // CALLS_PER_RUN}"}
        async with session.post(f"{self._base_url}/chat/completions", json=body, headers=headers) as answer:
            await answer.read()  # raises unless the end of the body came
            assert answer.status == 200, await answer.text()
            return answer.headers[REQUEST_ID]


class Victim:
    """One kind of child of the running stack, `proxy` or `core`, to be killed again and again.

    `down_s` holds, for each kill that was waited for, the time from it until the product was all right again, and
    `cpu_s` the CPU time that the successor had used by then. `long` tells what those waited for that took long.
    """

    def __init__(self, stack: Stack, command: str) -> None:
        self.kills = 0
        self.down_s: list[float] = []
        self.cpu_s: list[float] = []
        self.long: list[str] = []
        self._stack = stack
        self._command = command
        self._dead_pid = 0
        self._killed_at = 0.0

    async def kill(self) -> None:
        await self.strike()
        await self.until_back()

    async def strike(self) -> None:
        """Kill the one that stands there, as soon as one does, whatever it has come to."""
        deadline = time.monotonic() + DEADLINE_S
        while (process := self._successor()) is None:
            assert time.monotonic() < deadline, f"no {self._command} for {DEADLINE_S} s"
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        self.kills += 1
        self._dead_pid = process.pid
        self._killed_at = time.monotonic()

    async def until_back(self) -> None:
        """Another process stands in the place of the dead, and everything is well."""
        waited: list[tuple[float, str]] = []
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
            while awaited := await self._awaited(session):
                down_s = time.monotonic() - self._killed_at
                assert down_s < DEADLINE_S, f"no {self._command} for {DEADLINE_S} s: {in_order(waited)}"
                if not waited or waited[-1][1] != awaited:
                    waited.append((down_s, awaited))
                await asyncio.sleep(0.02)
        self.down_s.append(time.monotonic() - self._killed_at)
        if self.down_s[-1] > WORTH_EXPLAINING_S:
            self.long.append(f"{self.down_s[-1]:.2f} s: {in_order(waited)}")
        if (successor := self._successor()) is not None:
            used = successor.cpu_times()
            self.cpu_s.append(used.user + used.system)

    def died_by_itself(self) -> None:
        """The successor of the last dead was armed, and went off just now."""
        self.kills += 1
        self._killed_at = time.monotonic()

    async def _awaited(self, session: aiohttp.ClientSession) -> str:
        """What is not well, in words; nothing where all is."""
        if self._successor() is None:
            return f"no {self._command}"
        try:
            async with session.get(f"{self._stack.origin}/readyz", timeout=aiohttp.ClientTimeout(2)) as answer:
                found = await answer.json()
        except (aiohttp.ClientError, TimeoutError):
            return "no answer"
        if found["status"] == "ok":
            return ""
        ill = {name: check["detail"] for name, check in found["checks"].items() if check["status"] != "ok"}
        return (
            ", ".join(f"{name} {str(detail).partition(':')[0]}" for name, detail in sorted(ill.items()))
            or "not ok"
        )

    def _successor(self) -> psutil.Process | None:
        for child in psutil.Process(self._stack.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if child.pid == self._dead_pid or child.status() == psutil.STATUS_ZOMBIE:
                    continue
                if self._command in child.cmdline():
                    return child
        return None


def in_order(waited: Sequence[tuple[float, str]]) -> str:
    return " | ".join(f"from {since_s:.2f} s {what}" for since_s, what in waited)


@dataclass(frozen=True, slots=True)
class Stored:
    """What both stores hold: rows of `events` by call, links by call, how many calls the runs say they have."""

    events: dict[str, int]
    placed: dict[str, int]
    calls_of_runs: int
    dead_letters: int
    absent_messages: int  # of calls
    books: dict[str, Any]  # what the product itself says became of every capture

    @classmethod
    def of(cls, data_dir: Path, servers: Sequence[str] = (), *, filled: int = 0) -> Stored:
        """Of a stack that is stopped. Whatever was done to it, its own sum must add up, to the record.

        `filled` calls were put into the stores by hand: no log ever held them.
        `servers` are the addresses of Postgres, as its owner, and ClickHouse, where it did not use its own.
        """
        command = [sys.executable, "-m", "tests.e2e.programs.count_stored", str(data_dir), *servers]
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        stored = cls(**json.loads(done.stdout))
        assert (stored.books["missing"], stored.books["in_log"]) == (0, 0), stored.books["said"]
        held = f"{len(stored.events)} in ClickHouse, {len(stored.placed)} in Postgres, {filled} of before"
        assert stored.books["stored"] == len(stored.events) - filled, f"{stored.books['said']}; {held}"
        return stored

    def lost_of(self, answered: list[str]) -> int:
        """Answered and not in both stores."""
        return sum(id_ not in self.events or id_ not in self.placed for id_ in answered)

    @property
    def doubled(self) -> int:
        return sum(rows != 1 for rows in (*self.events.values(), *self.placed.values()))

    def assert_each_once(self, answered: list[str]) -> None:
        assert (self.lost_of(answered), self.doubled, self.dead_letters) == (0, 0, 0)
        assert self.absent_messages == 0
        assert len(set(answered)) == len(answered)
        assert self.events.keys() == self.placed.keys()
        assert self.calls_of_runs == len(self.events)  # a call thought about twice would count twice in its run


@contextlib.asynccontextmanager
async def running(*, filled: int = 0, **options: Any) -> AsyncIterator[Stack]:
    """A stack of one's own, whose stores hold `filled` calls of before. `stored_in` stops it."""
    with tempfile.TemporaryDirectory(prefix="watchllm-e2e-") as directory, FakeOpenAI() as fake:
        stack = Stack(Path(directory) / "data", fake, **options)
        try:
            if filled:
                await asyncio.to_thread(_fill, stack.data_dir, filled)
            await asyncio.to_thread(stack.start)
            yield stack
        finally:
            await asyncio.to_thread(stack.stop)  # once more does no harm


def _fill(data_dir: Path, calls: int) -> None:
    data_dir.mkdir()
    command = [sys.executable, "-m", "tests.e2e.programs.fill_stores", str(data_dir), str(calls)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr


async def stored_in(stack: Stack, *, filled: int = 0) -> Stored:
    """What it stored by the time it has stopped by itself, which it must: then that is everything captured."""
    status = await asyncio.to_thread(stack.stop)
    assert status == 0, f"watchllm up ended with {status}"
    return await asyncio.to_thread(partial(Stored.of, stack.data_dir, stack.servers, filled=filled))


def report(what: str, seed: int, victim: Victim, load: Load, stored: Stored) -> None:
    """One line that holds all that is asked of such a run; before anything of it is asserted."""
    down_s, cpu_s = sorted(victim.down_s), sorted(victim.cpu_s)
    print(
        f"\n{what}: {len(load.answered)} exchanges answered, {victim.kills} kills: "
        f"{stored.lost_of(load.answered)} lost, {stored.doubled} doubled; "
        f"restart p50 {statistics.median(down_s):.2f} s, max {down_s[-1]:.2f} s ({len(down_s)} timed), "
        f"CPU p50 {statistics.median(cpu_s):.2f} s, max {cpu_s[-1]:.2f} s; "
        f"{load.broken} broken off, {load.refused} refused, {len(stored.events)} in the stores, seed {seed}"
    )
    for told in victim.long:
        print(f"    a restart of {told}")


def new_seed() -> int:
    return int.from_bytes(os.urandom(4))
