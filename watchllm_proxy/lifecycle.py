"""What every process of ours does alike: stop on a signal, rest until told to stop, wait for a store."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import os
import signal
import stat
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import structlog

from watchllm_proxy.errors import AlreadyRunning, SettingsError, StoreError

log = structlog.get_logger(__name__)

STORE_RETRY_S = 1.0

T = TypeVar("T")


class Stopped(Exception):
    """A wait was given up because the process is to stop."""


def settle_memory() -> None:
    """Everything imported stays for ever: keep the collector from walking it again and again.

    What comes later goes when nothing refers to it any more; cycles are few, and may wait until there are many.
    What was garbage before stays, too: looking for it would take longer than it is large.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    gc.enable()


def on_signals(stop: asyncio.Event, cut: asyncio.Event | None = None) -> None:
    """The first SIGTERM or SIGINT sets `stop`, a second one `cut`: stop faster.

    A closed terminal (SIGHUP, which comes twice: from the kernel and from its shell) stops, and cuts nothing;
    under `nohup` it does nothing.
    """

    def received() -> None:
        if stop.is_set() and cut is not None:
            cut.set()
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, received)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGHUP, stop.set)


def make_data_dir(path: Path) -> None:
    """Create the data directory for our user alone: prompts and answers lie in it.

    Raises `SettingsError` where it cannot be used. One that exists keeps the mode its owner gave it.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise SettingsError([f"WATCHLLM_DATA_DIR: {path} cannot be used: {exc.strerror}"]) from exc
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise SettingsError([f"WATCHLLM_DATA_DIR: {path} cannot be written by this user"])


def make_run_dir(path: Path) -> None:
    """Create the directory of our sockets, or check that it is ours: it may stand in a directory for everyone.

    Raises `SettingsError` where somebody else was there first: whoever owns it could answer in our place.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise SettingsError([f"WATCHLLM_DATA_DIR: {path} is not a directory of this user alone; remove it"])


async def rest(stop: asyncio.Event, seconds: float) -> None:
    """Wait that long, or until `stop` is set."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


async def patiently(
    operation: Callable[[], Awaitable[T]], stop: asyncio.Event, *, waiting: Callable[[StoreError], None]
) -> T:
    """Do it as soon as the store lets us, telling `waiting` why not yet; `Stopped` when told to stop.

    Who is told so before it began still tries once: a process that is stopped while it starts has captures to
    store, too. What a store refuses is waited for: a person can put right what is no matter of rows.
    """
    told = False
    while True:
        try:
            return await operation()
        except StoreError as exc:
            waiting(exc)
            if not told:
                log.warning("store.away", error=str(exc))
            told = True
            if stop.is_set():
                raise Stopped from exc
        await rest(stop, STORE_RETRY_S)


@contextlib.contextmanager
def held(path: Path, what: str, hint: str = "") -> Iterator[Callable[[str], None]]:
    """Hold a lock file; gives a function that notes who we are for whoever comes second.

    Raises `AlreadyRunning`, which names the holder. The kernel drops the lock with its process; the file stays.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            holder = lock.read().strip() or "another process"
            raise AlreadyRunning(f"{what} is in use by {holder}. {hint}".rstrip()) from exc

        def note(holder: str) -> None:
            lock.seek(0)
            lock.truncate()
            lock.write(f"{holder}\n")
            lock.flush()

        note(f"watchllm (pid {os.getpid()})")
        yield note
