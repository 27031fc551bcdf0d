"""One owner for a directory: a lock that the kernel drops with its process, naming who holds it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from watchllm_proxy.errors import AlreadyRunning, StoreUnavailable


class DirectoryLock:
    """Holds `directory` from construction to `release`. Raises `AlreadyRunning`, which names the holder's pid.

    The file stays when the lock is released: unlinking it would let two processes lock two files of one name.
    """

    def __init__(self, directory: Path, what: str) -> None:
        path = directory / "owner.lock"
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise StoreUnavailable(f"{path} cannot be opened: {exc.strerror}") from exc
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._fd)
            raise AlreadyRunning(f"{what} in {directory} is in use by process {holder}") from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
