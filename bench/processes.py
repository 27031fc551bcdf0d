"""Child processes of a measurement: started on a core, watched through /proc, ended by their own pids."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

STOP_TIMEOUT_S = 45.0


class Child:
    """A process of ours. `log` takes what it prints; it is told when the process ends unasked."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        core: int | None = None,
        environ: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> None:
        pinned = [] if core is None else ["taskset", "-c", str(core % (os.cpu_count() or 1))]
        self._log = log
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                [*pinned, *command],
                env=None if environ is None else dict(environ),
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def printed(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_until(self, condition: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
        """Raises `RuntimeError` with what the process printed when it ends or the time is over."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if self._process.poll() is not None:
                raise RuntimeError(f"ended with {self._process.returncode} before {what}:\n{self.printed()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{timeout_s:.0f} s without {what}:\n{self.printed()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """SIGTERM; SIGKILL for one that does not end."""
        if self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def running(child: Child) -> Iterator[Child]:
    try:
        yield child
    finally:
        child.stop()


@contextlib.contextmanager
def held_still(pid: int) -> Iterator[None]:
    """SIGSTOP, and SIGCONT at the end whatever happens."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def tree(pid: int) -> list[int]:
    """The process and all its descendants."""
    found = [pid]
    for parent in found:
        for task in _entries(f"/proc/{parent}/task"):
            with contextlib.suppress(OSError):
                children = Path(f"/proc/{parent}/task/{task}/children").read_text().split()
                found += [int(child) for child in children if int(child) not in found]
    return found


def find_child(pid: int, argument: str) -> int:
    """The descendant that has `argument` on its command line. Raises `LookupError`."""
    for candidate in tree(pid)[1:]:
        with contextlib.suppress(OSError):
            if argument.encode() in Path(f"/proc/{candidate}/cmdline").read_bytes().split(b"\0"):
                return candidate
    raise LookupError(f"process {pid} has no descendant with {argument!r} on its command line")


def cpu_ns(pids: Sequence[int]) -> int:
    """Nanoseconds on a CPU, user and system, of all threads that live."""
    total = 0
    for pid in pids:
        for task in _entries(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                total += int(Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0])
    return total


def memory_mb(pid: int) -> tuple[float, float]:
    """Resident and proportional set size (shared pages divided by their users) of one process."""
    sizes = {"Rss:": 0.0, "Pss:": 0.0}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, *rest = line.split()
        if name in sizes:
            sizes[name] = int(rest[0]) / 1024
    return sizes["Rss:"], sizes["Pss:"]


def _entries(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []
