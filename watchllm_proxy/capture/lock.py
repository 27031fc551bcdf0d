"""One writer per directory: an flock, gone with the process that holds it, that names its holder.

The file also carries one line from each holder to the next: `noted`.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from watchllm_proxy.errors import AlreadyRunning

_PID_BYTES = 20
_NOTE_BYTES = 80


class DirectoryLock:
    """`noted` is what the last holder left with `note`; it stays until it is replaced."""

    def __init__(self, fd: int, noted: str) -> None:
        self.noted = noted
        self._fd = fd

    @classmethod
    def acquire(cls, directory: Path) -> DirectoryLock:
        """Raises `AlreadyRunning` naming the holder, `OSError` where no lock file can be had."""
        fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _read(fd, _PID_BYTES, 0) or "unknown"
            os.close(fd)
            raise AlreadyRunning(
                f"the capture log {directory} is being written by process {holder}: "
                "stop that one, or choose another WATCHLLM_DATA_DIR"
            ) from None
        except BaseException:
            os.close(fd)
            raise
        lock = cls(fd, _read(fd, _NOTE_BYTES, _PID_BYTES))
        lock._write(str(os.getpid()), _PID_BYTES, 0)
        return lock

    def note(self, text: str) -> None:
        """Leave one line to whoever comes next; not across a power cut."""
        self.noted = text
        self._write(text, _NOTE_BYTES, _PID_BYTES)

    def release(self) -> None:
        os.close(self._fd)

    def _write(self, text: str, size_bytes: int, offset: int) -> None:
        # Over what stands there already, so that it mostly works on a full disk, too; and where it does not,
        # that must not keep the proxy from starting.
        with suppress(OSError):
            os.pwrite(self._fd, f"{text:<{size_bytes - 1}}\n".encode("ascii"), offset)


def _read(fd: int, size_bytes: int, offset: int) -> str:
    return os.pread(fd, size_bytes, offset).decode("ascii", "replace").strip()
