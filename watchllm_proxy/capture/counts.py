"""How many captures a log took and gave up, since it exists: exact whatever dies.

    file    magic (8) | cells, each u64 | crc (u32)
    cells   segment | accepted before it, twice | accepted | recovered | unprotected |
            shed by the loop, by reason | shed by the thread, by reason

The cells stand in the crash buffer, in shared memory: to count waits for no disk, and outlives the process. The
writer's thread copies them to `LOG/counts` with each group commit, for other processes and for the next boot.

`accepted` is durable with its records or not at all: the number of those before the newest segment is noted before
that segment is begun, and who opens the log after a kill counts the records of the newest one. (Which of the two
notes holds stands in one cell with the segment's number: there is no moment at which they disagree.) What was shed
is counted right after that was decided; a kill between the two, some microseconds, loses that count.
"""

from __future__ import annotations

import logging
import os
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from watchllm_proxy.outcomes import CaptureCounts, ShedReason

logger = logging.getLogger(__name__)

FILE_NAME = "counts"

_MAGIC = b"WLCOUNT1"
_REASONS = tuple(ShedReason)
_ROOM = 16
"""For reasons; a new one goes to the end of `ShedReason`."""

_SEGMENT, _BEFORE, _ACCEPTED, _RECOVERED, _UNPROTECTED, _SHED = 0, 1, 3, 4, 5, 6
_SHED_BY_THREAD = _SHED + _ROOM
_CELLS = _SHED_BY_THREAD + _ROOM
_FILE = struct.Struct(f"<8s{_CELLS}Q")
_CRC = struct.Struct("<I")
_READ_ATTEMPTS = 5


def read_counts(root: Path) -> CaptureCounts:
    """The totals over all logs below `root` (`Settings.capture_dir`), be their writers alive or not.

    Those of a live writer may be a moment old: they are written with its group commits.
    """
    return sum((read_log_counts(path.parent) for path in sorted(root.glob(f"*/{FILE_NAME}"))), CaptureCounts())


def read_log_counts(directory: Path) -> CaptureCounts:
    """The totals of one log; zeros where it has none that can be read."""
    for _ in range(_READ_ATTEMPTS):  # a read may meet a write half way
        cells = _read(directory / FILE_NAME)
        if cells is not None:
            return _counts(cells)
    return CaptureCounts()


class LogCounts:
    """The counts of the log that this process writes. `cells` are zeros, or those of a killed predecessor.

    `refuse` and `unprotect` belong to the loop's thread, the others to the writer's.
    """

    def __init__(self, directory: Path, cells: memoryview, *, is_survivor: bool) -> None:
        self._path = directory / FILE_NAME
        self._cells = cells
        self._fd: int | None = None
        if not is_survivor:
            for index, value in enumerate(_read(self._path) or (0,) * _CELLS):
                cells[index] = value

    def take_over(self, records_from: Callable[[int], int]) -> None:
        """`records_from` counts the records of that segment and those after it."""
        noted = self._cells[_SEGMENT]
        if noted:
            self._cells[_ACCEPTED] = self._cells[_BEFORE + (noted & 1)] + records_from(noted >> 1)

    def begin_segment(self, number: int) -> None:
        """The segment is begun next; all records before it are durable and counted."""
        slot = ~self._cells[_SEGMENT] & 1
        self._cells[_BEFORE + slot] = self._cells[_ACCEPTED]
        self._cells[_SEGMENT] = number << 1 | slot
        self.save(is_durable=True)

    def refuse(self, reason: ShedReason) -> None:
        self._cells[_SHED + _REASONS.index(reason)] += 1

    def unprotect(self) -> None:
        self._cells[_UNPROTECTED] += 1

    def commit(self, outcomes: Sequence[ShedReason | None]) -> None:
        """To be told before the segment after theirs is begun."""
        for outcome, times in Counter(outcomes).items():
            cell = _ACCEPTED if outcome is None else _SHED_BY_THREAD + _REASONS.index(outcome)
            self._cells[cell] += times

    def recover(self, times: int) -> None:
        self._cells[_RECOVERED] += times

    def now(self) -> CaptureCounts:
        return _counts(tuple(self._cells[:_CELLS]))

    def save(self, *, is_durable: bool = False) -> None:
        """Write the file. Where that fails the counts go on in memory: captures matter more."""
        with suppress(OSError):
            if self._fd is None:
                self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            data = _FILE.pack(_MAGIC, *self._cells[:_CELLS])
            os.pwrite(self._fd, data + _CRC.pack(zlib.crc32(data)), 0)
            if is_durable:
                os.fdatasync(self._fd)

    def close(self) -> None:
        """All is written and counted: the next writer need not look."""
        self._cells[_SEGMENT] = 0
        self.save(is_durable=True)
        self.release()

    def release(self) -> None:
        self._cells.release()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _read(path: Path) -> tuple[int, ...] | None:
    try:
        data = path.read_bytes()
    except OSError:
        return None
    if len(data) != _FILE.size + _CRC.size:
        return None
    magic, *cells = _FILE.unpack_from(data)
    (crc,) = _CRC.unpack_from(data, _FILE.size)
    return tuple(cells) if magic == _MAGIC and crc == zlib.crc32(data[: _FILE.size]) else None


def _counts(cells: Sequence[int]) -> CaptureCounts:
    shed = {
        reason: count
        for index, reason in enumerate(_REASONS)
        if (count := cells[_SHED + index] + cells[_SHED_BY_THREAD + index])
    }
    return CaptureCounts(cells[_ACCEPTED], shed, cells[_RECOVERED], cells[_UNPROTECTED])
