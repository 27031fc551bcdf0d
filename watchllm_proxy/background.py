"""CONDUCTOR of `watchllm up -d` and `watchllm down`: an `up` without a terminal, found again by the lock it holds.

The lock file of a data directory names who holds it (pid and address). The kernel drops the lock with its process,
so a note is believed only while the lock is held: no pid of a process that is gone is ever signalled.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from watchllm_proxy.app import AFTER_DRAIN_S, CORE_STOP_TIMEOUT_S, LOCK_FILE
from watchllm_proxy.errors import WatchLLMError
from watchllm_proxy.lifecycle import make_data_dir
from watchllm_proxy.settings import Settings, child_environment

POLL_S = 0.05
HURRY_S = 0.1
"""Two signals at once may be one to the kernel."""

START_TIMEOUT_S = 60.0
LAST_WORDS_CHARS = 2_000

_COMMAND = (sys.executable, "-P", "-m", "watchllm_proxy", "up")
_NOTE = re.compile(r"watchllm up \(pid (\d+), (http://\S+)\)")


class NotStarted(WatchLLMError):
    """It ended while it started, or did not serve in time: `str()` has its last words."""


@dataclass(frozen=True, slots=True)
class Running:
    pid: int
    url: str


def running(data_dir: Path) -> Running | None:
    """The `up` on this data directory; None: nobody holds it, or who does has not said yet what it is.

    Not for polling: for the moment that it looks, one that starts just then would find the lock taken.
    """
    with contextlib.suppress(FileNotFoundError), (data_dir / LOCK_FILE).open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _noted(lock.read())
    return None


def _noted(note: str) -> Running | None:
    found = _NOTE.match(note)
    return Running(int(found[1]), found[2]) if found else None


def start(chosen: Settings) -> Running:
    """Start `up` with these settings in a session of its own; return once requests pass. Raises `NotStarted`.

    What it says goes to a file beside the logs: nobody reads it otherwise.
    """
    make_data_dir(chosen.data_dir)
    said = chosen.data_dir / "logs" / "up.out"
    said.parent.mkdir(mode=0o700, exist_ok=True)
    with said.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and program
            _COMMAND,
            env=child_environment(chosen),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    until = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until:
        if process.poll() is not None:
            raise NotStarted(_last_words(said) or f"it ended with status {process.returncode}; {said} tells more")
        found = _noted(_text(chosen.data_dir / LOCK_FILE))
        if found is not None and found.pid == process.pid and _serves(found.url):
            return found
        time.sleep(POLL_S)
    process.terminate()
    raise NotStarted(f"it did not serve within {START_TIMEOUT_S:.0f} s; {said} tells more")


def stop(found: Running, chosen: Settings, *, now: bool = False) -> bool:
    """Stop it and wait; `now` cuts open answers. False: it has not ended in the time that it may take."""
    try:
        handle = os.pidfd_open(found.pid)
    except ProcessLookupError:
        return True
    try:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGTERM)
            if now:
                time.sleep(HURRY_S)
                signal.pidfd_send_signal(handle, signal.SIGTERM)
        patience_s = chosen.drain_timeout_s + AFTER_DRAIN_S + CORE_STOP_TIMEOUT_S
        ended, _, _ = select.select([handle], [], [], patience_s)
        return bool(ended)
    finally:
        os.close(handle)


def _text(path: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        return path.read_text("utf-8", "replace")
    return ""


def _serves(url: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/healthz", timeout=2):  # noqa: S310 - http
        return True
    return False


def _last_words(said: Path) -> str:
    return _text(said).strip()[-LAST_WORDS_CHARS:].removeprefix("watchllm: ")
