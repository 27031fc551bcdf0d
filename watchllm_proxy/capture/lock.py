"""One writer per directory: an flock, gone with the process that holds it, that names its holder."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from watchllm_proxy.errors import AlreadyRunning

_PID_DIGITS = 20


class DirectoryLock:
    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def acquire(cls, directory: Path) -> DirectoryLock:
        """Raises `AlreadyRunning` naming the holder, `OSError` where no lock file can be had."""
        fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, _PID_DIGITS, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            raise AlreadyRunning(
                f"the capture log {directory} is being written by process {holder}: "
                "stop that one, or choose another WATCHLLM_DATA_DIR"
            ) from None
        except BaseException:
            os.close(fd)
            raise
        # The pid is for people; a full disk must not keep the proxy from starting.
        with suppress(OSError):
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode("ascii"), 0)
        return cls(fd)

    def release(self) -> None:
        os.close(self._fd)
