"""Bodies of exchanges that last, on disk before their exchange has ended: what passes must not fill memory.

    LOG/spill/<id>      the beginning of one body, as it was captured

The loop hands over pieces (`Spill.add`), the writer's thread writes them (`write_all`), many files at a time and
each opened for that moment only: ten thousand streams hold no descriptor here. What is not written yet when the
exchange ends is still in memory and goes into its record behind the file's part (`Spill.seal`): nobody waits.

A file goes when its record is in the log, or shed. No file is synced: of an exchange under way nothing is
promised over a power cut. What a killed process left is deleted at the next start, once the records of the crash
buffer that name such files are in the log: both outlive the process, and so does the exchange.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import orjson

from watchllm_proxy.outcomes import ShedReason

DIRECTORY = "spill"

_READ_BYTES = 1 << 20
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def shed_reason(error: OSError) -> ShedReason:
    return ShedReason.DISK_FULL if error.errno in _NO_ROOM else ShedReason.IO_ERROR


# --- parts of a payload -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FilePart:
    """The first bytes of a file, in place of the bytes themselves."""

    path: Path
    size_bytes: int

    def __len__(self) -> int:
        return self.size_bytes

    def is_there(self) -> bool:
        try:
            return self.path.stat().st_size >= self.size_bytes
        except OSError:
            return False

    def read(self) -> Iterator[bytes]:
        """The bytes, a piece at a time. Raises `OSError`, also where there are fewer."""
        fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            at = 0
            while at < self.size_bytes:
                piece = os.pread(fd, min(_READ_BYTES, self.size_bytes - at), at)
                if not piece:
                    raise OSError(errno.EIO, "a spilled body is shorter than it was")
                yield piece
                at += len(piece)
        finally:
            os.close(fd)


Results = list[OSError | None]

Part = bytes | FilePart
"""A piece of a record's payload: in memory, or in a file."""


def in_memory(parts: Iterable[Part]) -> list[bytes]:
    return [part for part in parts if isinstance(part, bytes)]


def pieces(parts: Iterable[Part]) -> Iterator[bytes]:
    """All bytes of `parts`, never much at once."""
    for part in parts:
        if isinstance(part, bytes):
            yield part
        else:
            yield from part.read()


def manifest(parts: Sequence[Part]) -> bytes:
    """What puts the parts together again, given the bytes of those in memory one behind the other."""
    return orjson.dumps(
        [[part.path.name, len(part)] if isinstance(part, FilePart) else len(part) for part in parts]
    )


def rejoined(described: bytes, kept: bytes, directory: Path) -> list[Part]:
    """The parts that `manifest` described."""
    parts: list[Part] = []
    at = 0
    for part in orjson.loads(described):
        if isinstance(part, int):
            parts.append(kept[at : at + part])
            at += part
        else:
            name, size_bytes = part
            parts.append(FilePart(directory / DIRECTORY / name, size_bytes))
    return parts


# --- a body under way ---------------------------------------------------------------------------------


class Spilled(Protocol):
    """A body's beginning, sealed."""

    @property
    def path(self) -> Path: ...
    @property
    def written_bytes(self) -> int: ...
    def seal(self) -> list[bytes]: ...


class Spill:
    """The beginning of one body. All methods belong to the loop's thread.

    failure   why no more could be written: the capture is to be given up
    """

    __slots__ = ("_queue", "_released", "_sealed", "_unwritten", "failure", "path", "written_bytes")

    def __init__(
        self, path: Path, queue: Callable[[Spill], ShedReason | None], released: Callable[[int], None]
    ) -> None:
        """`queue` sees to it that `batch` is written soon, or says why not; `released` hears of memory let go."""
        self.path = path
        self.written_bytes = 0
        self.failure: ShedReason | None = None
        self._queue = queue
        self._released = released
        self._sealed = False
        self._unwritten: list[tuple[list[bytes], int]] = []  # pieces, and the memory they take

    def add(self, chunks: list[bytes], memory_bytes: int) -> None:
        """Take the next pieces of the body. The memory they take is told as released once they are written."""
        self._unwritten.append((chunks, memory_bytes))
        self.failure = self.failure or self._queue(self)

    def seal(self) -> list[bytes]:
        """The body has ended: what of it is not in the file, whose part stays as it is from now on."""
        self._sealed = True
        return self.unwritten()

    def unwritten(self) -> list[bytes]:
        """What of the body is not in the file so far."""
        return [chunk for chunks, _ in self._unwritten for chunk in chunks]

    @property
    def unwritten_bytes(self) -> int:
        return sum(map(len, self.unwritten()))

    def batch(self) -> Batch | None:
        """What there is to write."""
        if self._sealed or self.failure is not None or not self._unwritten:
            return None
        return Batch(self, self.unwritten(), len(self._unwritten))

    def written(self, batch: Batch, error: OSError | None) -> int:
        """A batch was written, or was not; how much of the file counts now that did not before."""
        if self._sealed:
            return 0
        done, self._unwritten = self._unwritten[: batch.adds], self._unwritten[batch.adds :]
        self._released(sum(memory_bytes for _, memory_bytes in done))
        if error is not None:
            self.failure = shed_reason(error)
            return 0
        self.written_bytes += batch.size_bytes
        return batch.size_bytes


class Batch:
    """Pieces of one body on their way to the disk. `adds`: how many calls of `add` they came in."""

    __slots__ = ("adds", "chunks", "offset", "path", "size_bytes", "spill")

    def __init__(self, spill: Spill, chunks: list[bytes], adds: int) -> None:
        self.spill = spill
        self.path = spill.path
        self.offset = spill.written_bytes
        self.chunks = chunks
        self.size_bytes = sum(map(len, chunks))
        self.adds = adds


class Spooler:
    """Writes what spills take: one job of the thread at a time, for all that wait. Belongs to the loop's thread.

    disk_bytes   what stands in the spill directory
    """

    def __init__(
        self,
        directory: Path,
        has_room: Callable[[int], bool],
        run: Callable[[Sequence[Batch]], asyncio.Future[Results]],
    ) -> None:
        """`has_room` for so many bytes on the disk; `run` calls `write_all` in the thread."""
        self.disk_bytes = 0
        self._directory = directory
        self._has_room = has_room
        self._run = run
        self._waiting: list[Spill] = []
        self._is_busy = False

    def new(self, released: Callable[[int], None]) -> Spill:
        return Spill(self._directory / DIRECTORY / secrets.token_hex(16), self._queue, released)

    def removed(self, spills: Iterable[Spilled]) -> None:
        """Their files are gone."""
        self.disk_bytes -= sum(spill.written_bytes for spill in spills)

    def _queue(self, spill: Spill) -> ShedReason | None:
        if not self._has_room(spill.unwritten_bytes):
            return ShedReason.LOG_FULL
        self._waiting.append(spill)
        if not self._is_busy:
            self._start()
        return None

    def _start(self) -> None:
        waiting, self._waiting = dict.fromkeys(self._waiting), []
        batches = [batch for spill in waiting if (batch := spill.batch()) is not None]
        if batches:
            self._is_busy = True
            self._run(batches).add_done_callback(functools.partial(self._done, batches))

    def _done(self, batches: Sequence[Batch], done: asyncio.Future[Results]) -> None:
        self._is_busy = False
        for batch, error in zip(batches, done.result(), strict=True):
            self.disk_bytes += batch.spill.written(batch, error)
        self._start()


# --- the directory, in the writer's thread -----------------------------------------------------------


def write_all(batches: Sequence[Batch]) -> Results:
    """What became of each."""
    return [_write(batch) for batch in batches]


def remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink()


def clear(directory: Path) -> None:
    """Nothing is under way in the log of `directory`: delete what stands in its spill directory."""
    with suppress(OSError):
        remove((directory / DIRECTORY).iterdir())


def _write(batch: Batch) -> OSError | None:
    try:
        batch.path.parent.mkdir(mode=0o700, exist_ok=True)
        fd = os.open(batch.path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            _write_at(fd, b"".join(batch.chunks), batch.offset)
        finally:
            os.close(fd)
    except OSError as exc:
        return exc
    return None


def _write_at(fd: int, data: bytes, offset: int) -> None:
    left = memoryview(data)
    while left:
        count = os.pwrite(fd, left, offset)
        if count == 0:
            raise OSError(errno.EIO, "the file system takes no more bytes and says no reason")
        left, offset = left[count:], offset + count
