"""Segment files: `000000001795-<salt>.log`, numbers growing, in a directory that only its owner may read.

An offset of a segment never changes its meaning: bytes are appended, a failed write is cut off at its end and
the segment is then left for good. So a position that a reader has noted stays right whatever happens.
"""

from __future__ import annotations

import errno
import itertools
import os
import re
import secrets
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from watchllm_proxy import crash_points
from watchllm_proxy.capture import frames
from watchllm_proxy.capture.spill import FilePart, Part, in_memory, pieces
from watchllm_proxy.errors import CaptureLogError

_NAME = re.compile(r"(\d{12,})-([0-9a-f]{32})\.log")
_MAX_BUFFERS = 1024  # IOV_MAX of Linux
_BLANK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class SegmentFile:
    """One file of the log. `salt` is that of its name."""

    number: int
    salt: bytes
    path: Path

    def size_bytes(self) -> int:
        """Zero when it has been released meanwhile."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0


def list_segments(directory: Path) -> list[SegmentFile]:
    """All segments, oldest first. A directory that is not there holds none."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    found = [
        SegmentFile(int(match[1]), bytes.fromhex(match[2]), directory / name)
        for name in names
        if (match := _NAME.fullmatch(name))
    ]
    found.sort(key=lambda file: file.number)
    for one, other in itertools.pairwise(found):
        if one.number == other.number:
            raise CaptureLogError(f"two capture log segments share a number: {one.path} and {other.path.name}")
    return found


def make_private_directory(path: Path) -> None:
    """Create `path`, and what of its parents is missing, readable by the owner only; durably."""
    if path.is_dir():
        return
    make_private_directory(path.parent)
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make creations and deletions in `path` survive a power loss."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def overwrite(path: Path, stretches: Iterable[tuple[int, int]]) -> int:
    """Zeros in these `[start, end)` of a file, on the disk when it returns; how many. The file keeps its size."""
    zeros = bytes(_BLANK_BYTES)
    blanked_bytes = 0
    fd = os.open(path, os.O_WRONLY)
    try:
        for start, end in stretches:
            for offset in range(start, end, _BLANK_BYTES):
                os.pwrite(fd, zeros[: end - offset], offset)
            blanked_bytes += end - start
        if blanked_bytes:
            os.fdatasync(fd)
    finally:
        os.close(fd)
    return blanked_bytes


@dataclass(frozen=True, slots=True)
class Appended:
    """How an append went: the first `synced` frames are durable; with `error`, the others are not there."""

    synced: int
    error: OSError | None = None


class ActiveSegment:
    """The segment that is being written. Used from one thread."""

    def __init__(self, file: SegmentFile, fd: int) -> None:
        self.file = file
        self.marker = frames.marker_of(file.salt)
        self.end_bytes = frames.SEGMENT_HEADER_BYTES
        self.is_blank = True  # no frame was ever visible to a reader
        self._fd = fd

    @classmethod
    def create(cls, directory: Path, number: int, records_before: int = 0) -> ActiveSegment:
        """A new, durable, empty segment. Raises `OSError`, leaving nothing behind."""
        salt = secrets.token_bytes(frames.SALT_BYTES)
        file = SegmentFile(number, salt, directory / f"{number:012d}-{salt.hex()}.log")
        fd = os.open(file.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            _, error = _write(fd, [frames.encode_segment_header(salt, records_before)], 0)
            if error is not None:
                raise error
            os.fdatasync(fd)
            sync_directory(directory)
        except OSError:
            os.close(fd)
            file.path.unlink(missing_ok=True)
            raise
        crash_points.reach("capture.segment_created")
        return cls(file, fd)

    def append(self, parts: Sequence[Part], frame_ends: Sequence[int]) -> Appended:
        """Write frames that end at the offsets `frame_ends`, and sync them.

        After an error the segment holds whole, durable frames only and must be closed: a failed sync leaves
        pages that the kernel calls clean and no second sync would write.
        """
        start = self.end_bytes
        written_bytes, error = _write(self._fd, parts, start)
        whole = bisect_right(frame_ends, start + written_bytes)
        if error is not None:
            self._cut(frame_ends[whole - 1] if whole else start)
        if whole:
            self.is_blank = False
            crash_points.reach("capture.written")
            try:
                os.fdatasync(self._fd)
            except OSError as exc:
                self._cut(start)
                return Appended(0, exc)
            self.end_bytes = frame_ends[whole - 1]
            crash_points.reach("capture.synced")
        return Appended(whole, error)

    def close(self) -> None:
        os.close(self._fd)

    def discard(self) -> None:
        """Close and delete a segment that is blank."""
        os.close(self._fd)
        with suppress(OSError):
            self.file.path.unlink()

    def _cut(self, end_bytes: int) -> None:
        # Where even this fails (a file system gone read-only), a torn tail stays, which readers step over.
        with suppress(OSError):
            os.ftruncate(self._fd, end_bytes)


def _write(fd: int, parts: Sequence[Part], offset: int) -> tuple[int, OSError | None]:
    """Write all of `parts` at `offset`; how many bytes went, and what stopped it."""
    written_bytes = 0
    try:
        for buffers in _in_memory_at_once(parts):
            count, error = _write_buffers(fd, buffers, offset + written_bytes)
            written_bytes += count
            if error is not None:
                return written_bytes, error
    except OSError as exc:  # of a file that is read
        return written_bytes, exc
    return written_bytes, None


def _in_memory_at_once(parts: Sequence[Part]) -> Iterator[list[bytes]]:
    """What lies in memory, together; what lies in files, a piece at a time."""
    if not any(isinstance(part, FilePart) for part in parts):
        yield in_memory(parts)
        return
    for is_bytes, run in itertools.groupby(parts, lambda part: isinstance(part, bytes)):
        if is_bytes:
            yield in_memory(run)
        else:
            yield from ([piece] for piece in pieces(run))


def _write_buffers(fd: int, buffers: Sequence[bytes], offset: int) -> tuple[int, OSError | None]:
    todo = [memoryview(buffer) for buffer in buffers if buffer]
    first = written_bytes = 0
    while first < len(todo):
        try:
            count = os.pwritev(fd, todo[first : first + _MAX_BUFFERS], offset + written_bytes)
        except OSError as exc:
            return written_bytes, exc
        if count == 0:
            return written_bytes, OSError(errno.EIO, "the file system takes no more bytes and says no reason")
        written_bytes += count
        while first < len(todo) and count >= len(todo[first]):
            count -= len(todo[first])
            first += 1
        if count:
            todo[first] = todo[first][count:]
    return written_bytes, None
