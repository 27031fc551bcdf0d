"""Children are started, started again when they die, and stopped with their supervisor."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from watchllm_proxy import settings, supervisor
from watchllm_proxy.settings import child_environment
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


async def test_all_children_are_stopped_before_it_returns(tmp_path: Path, program: Callable[[str], Child]) -> None:
    stop = asyncio.Event()
    children = [program("proxy1"), program("proxy2")]
    running = asyncio.ensure_future(Supervisor(children, os.environ).run(stop))
    await events(tmp_path, 2)
    stop.set()
    await running
    stopped = [name for name, word, _ in await events(tmp_path, 4) if word == "stopped"]
    assert set(stopped) == {"proxy1", "proxy2"}


async def test_children_are_stopped_when_it_is_cancelled(tmp_path: Path, program: Callable[[str], Child]) -> None:
    running = asyncio.ensure_future(Supervisor([program("proxy")], os.environ).run(asyncio.Event()))
    await events(tmp_path, 1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [word for _, word, _ in await events(tmp_path, 2)] == ["started", "stopped"]


async def test_who_is_in_a_hurry_is_heard_by_children_that_drain(
    tmp_path: Path, program: Callable[[str], Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    drains = (
        PROGRAM.replace("    time.sleep(0.1)\n", "")
        .replace("def stop(*_):", "asked = []\ndef stop(*_):\n    asked.append(1)\n    if len(asked) < 2: return")
        .replace("time.sleep(60)", "while True: time.sleep(60)")
    )
    (tmp_path / "child.py").write_text(drains)
    stop, cut = asyncio.Event(), asyncio.Event()
    running = asyncio.ensure_future(Supervisor([program("proxy")], os.environ).run(stop, cut))
    await events(tmp_path, 1)
    stop.set()
    done, _ = await asyncio.wait([running], timeout=0.3)
    assert not done, "it drains"
    cut.set()
    await asyncio.wait_for(running, 3)
    assert [word for _, word, _ in await events(tmp_path, 2)] == ["started", "stopped"]


async def test_a_child_that_is_killed_again_and_again_is_back_at_once_each_time(
    tmp_path: Path, program: Callable[[str], Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, slept, sleep = asyncio.Event(), list[float](), asyncio.sleep

    async def noting(delay: float) -> None:
        slept.append(delay)
        await sleep(delay)

    monkeypatch.setattr(asyncio, "sleep", noting)
    running = asyncio.ensure_future(Supervisor([program("proxy")], os.environ).run(stop))
    for kill in range(1, 7):
        *_, (_, _, pid) = await events(tmp_path, kill)
        os.kill(int(pid), signal.SIGKILL)
    await events(tmp_path, 7)
    between_two_looks = 0.02
    assert [delay for delay in slept if delay != between_two_looks] == [supervisor.FIRST_RESTART_DELAY_S] * 6
    stop.set()
    await running


async def test_a_child_that_is_killed_is_started_again(tmp_path: Path, program: Callable[[str], Child]) -> None:
    stop = asyncio.Event()
    boss = Supervisor([program("proxy")], os.environ)
    running = asyncio.ensure_future(boss.run(stop))
    ((_, _, first_pid),) = await events(tmp_path, 1)
    os.kill(int(first_pid), signal.SIGKILL)
    noted = await events(tmp_path, 2)
    assert [word for _, word, _ in noted] == ["started", "started"]
    assert noted[1][2] != first_pid
    assert boss.restarts == 1
    stop.set()
    await running


def test_children_take_no_code_from_the_directory_that_up_was_typed_in(tmp_path: Path) -> None:
    marker = tmp_path / "taken"
    for name in ("uvloop", "typer", "watchllm_proxy"):
        (tmp_path / f"{name}.py").write_text(f"open({str(marker)!r}, 'w')")
    environ = {**child_environment(settings.load({})), "WATCHLLM_PORT": "none"}
    done = subprocess.run(
        [*supervisor.COMMAND, "core"], cwd=tmp_path, env=environ, capture_output=True, check=False
    )
    assert (done.returncode, b"  WATCHLLM_PORT" in done.stderr) == (1, True), done.stderr
    assert not marker.exists()
