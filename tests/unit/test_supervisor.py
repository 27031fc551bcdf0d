"""Children are started, started again when they die, and stopped group by group."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from watchllm_proxy import supervisor
from watchllm_proxy.supervisor import Child, Supervisor

PROGRAM = """
import os, signal, sys, time
name, folder = sys.argv[1:]
def note(word):
    with open(os.path.join(folder, "events"), "a") as file:
        file.write(f"{name} {word} {os.getpid()}\\n")
def stop(*_):
    time.sleep(0.1)
    note("stopped")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
note("started")
time.sleep(60)
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Child]:
    """A tiny child that notes when it starts and when it is told to stop."""
    file = tmp_path / "child.py"
    file.write_text(PROGRAM)
    monkeypatch.setattr(supervisor, "COMMAND", (sys.executable, str(file)))
    return lambda name: Child(name, (name, str(tmp_path)), stop_timeout_s=5)


async def events(tmp_path: Path, count: int) -> list[list[str]]:
    """Wait until that many events are noted."""
    file = tmp_path / "events"
    async with asyncio.timeout(20):
        while True:
            lines = file.read_text().splitlines() if file.exists() else []
            if len(lines) >= count:
                return [line.split() for line in lines]
            await asyncio.sleep(0.02)


async def test_groups_stop_one_after_the_other(tmp_path: Path, program: Callable[[str], Child]) -> None:
    stop = asyncio.Event()
    groups = [[program("proxy1"), program("proxy2")], [program("recorder")]]
    running = asyncio.ensure_future(Supervisor(groups, os.environ).run(stop))
    await events(tmp_path, 3)
    stop.set()
    await running
    stopped = [name for name, word, _ in await events(tmp_path, 6) if word == "stopped"]
    assert set(stopped[:2]) == {"proxy1", "proxy2"}
    assert stopped[2] == "recorder"


async def test_a_child_that_is_killed_again_and_again_is_back_at_once_each_time(
    tmp_path: Path, program: Callable[[str], Child]
) -> None:
    stop = asyncio.Event()
    running = asyncio.ensure_future(Supervisor([[program("proxy")]], os.environ).run(stop))
    began = time.monotonic()
    for kill in range(1, 7):
        *_, (_, _, pid) = await events(tmp_path, kill)
        os.kill(int(pid), signal.SIGKILL)
    await events(tmp_path, 7)
    assert time.monotonic() - began < 5.0  # with growing delays these were 6.3 s alone
    stop.set()
    await running


async def test_a_child_that_is_killed_is_started_again(tmp_path: Path, program: Callable[[str], Child]) -> None:
    stop = asyncio.Event()
    boss = Supervisor([[program("proxy")]], os.environ)
    running = asyncio.ensure_future(boss.run(stop))
    ((_, _, first_pid),) = await events(tmp_path, 1)
    os.kill(int(first_pid), signal.SIGKILL)
    noted = await events(tmp_path, 2)
    assert [word for _, word, _ in noted] == ["started", "started"]
    assert noted[1][2] != first_pid
    assert boss.restarts == 1
    stop.set()
    await running
