"""Keeps the processes of `watchllm up` running on one machine: start, restart, stop in order.

Children run in sessions of their own, so that Ctrl-C reaches only the supervisor: it stops them in order, or
passes on that somebody is in a hurry. A child whose supervisor is gone notices by its parent's pid and drains as
if told to.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

log = structlog.get_logger(__name__)

COMMAND = (sys.executable, "-P", "-m", "watchllm_proxy.child")
"""`-P`: with `-m` alone Python would take modules of any name from the directory that `up` was typed in first."""

FIRST_RESTART_DELAY_S = 0.01
MAX_RESTART_DELAY_S = 5.0
STEADY_S = 10.0
"""A child that ran this long is healthy: its next restart is immediate again. So is that of one that somebody
else killed; only a child that keeps ending by itself is held back."""

PARENT_POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class Child:
    """One process to keep running: what `watchllm_proxy.child` does with these arguments."""

    name: str
    arguments: tuple[str, ...]
    stop_timeout_s: float


class Supervisor:
    """Runs children side by side. They end with it, however it ends."""

    def __init__(self, children: Sequence[Child], environ: Mapping[str, str]) -> None:
        self._children = children
        self._environ = environ
        self.restarts = 0

    async def run(self, stop: asyncio.Event, cut: asyncio.Event | None = None) -> None:
        """Start everything; return when `stop` is set and every child has ended. `cut` makes them hurry."""
        async with asyncio.TaskGroup() as task_group:
            for child in self._children:
                task_group.create_task(self._keep_running(child, stop, cut or asyncio.Event()))

    async def _keep_running(self, child: Child, stop: asyncio.Event, cut: asyncio.Event) -> None:
        delay = FIRST_RESTART_DELAY_S
        while not stop.is_set():
            started = time.monotonic()
            process = await asyncio.create_subprocess_exec(
                *COMMAND, *child.arguments,
                env=self._environ, stdin=asyncio.subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
            try:
                await _first_of(process.wait(), stop.wait())
            finally:
                if process.returncode is None:
                    await _end(process, child, cut)
            if stop.is_set():
                return
            self.restarts += 1
            log.error("supervisor.child_ended", child=child.name, status=process.returncode)
            was_healthy = process.returncode == -signal.SIGKILL or time.monotonic() - started > STEADY_S
            delay = FIRST_RESTART_DELAY_S if was_healthy else delay
            await _first_of(asyncio.sleep(delay), stop.wait())
            delay = min(delay * 2, MAX_RESTART_DELAY_S)


async def _end(process: asyncio.subprocess.Process, child: Child, cut: asyncio.Event) -> None:
    """Ask the child to stop; after its time is up, kill it: its log is safe on disk either way."""
    process.terminate()
    try:
        async with asyncio.timeout(child.stop_timeout_s):
            await _first_of(process.wait(), cut.wait())
            if process.returncode is None:
                process.terminate()  # the second time means: at once
                await process.wait()
    except TimeoutError:
        log.error("supervisor.child_killed", child=child.name, after_s=child.stop_timeout_s)
        process.kill()
        await process.wait()


async def _first_of(*waits: object) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]  # type: ignore[call-overload]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def watch_parent(stop: asyncio.Event) -> None:
    """In a child: set `stop` when the supervisor is gone, however it went."""
    parent = os.getppid()
    while not stop.is_set():
        if os.getppid() != parent:
            log.warning("supervisor.gone", pid=parent)
            stop.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), PARENT_POLL_S)
