"""Requests by project and day, as one worker counts them for one month: in a file that it has in its memory.

    file      header | record | record | …, each of sixteen u64 cells, of this machine's byte order
    header    magic | id (2 cells) | month | how many records there are
    record    project (8 cells, UTF-8, zeros behind) | day of the month | passed in the month before it | counts

One process writes, any number look in. A record is of one project and one day, and the last one of a project tells
its month: what passed before plus what passed since. Counts only grow, each is one aligned cell, and a record is
written before it is counted in the header, so a reader never meets half of anything.

The pages are the kernel's: the end of the process, however sudden, loses none of them. A power cut may take the
last half minute of counts, in the projects' favour. Space is had before it is written to; where there is none the
counts go on in memory, and are lost with the process: no request fails for want of a count.
"""

from __future__ import annotations

import mmap
import os
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from enum import IntEnum
from pathlib import Path

import structlog

from watchllm_proxy.proxy.limits.months import DAY_S, Month

log = structlog.get_logger(__name__)

_MAGIC = int.from_bytes(b"WLUSAGE1", sys.byteorder)
_CELLS = 16
_RECORD_BYTES = _CELLS * 8
_FIRST_RECORDS = 255
"""With the header these are eight pages."""

_AT_MAGIC, _AT_ID, _AT_MONTH, _AT_RECORDS = 0, 1, 3, 4
_NAME_CELLS, _AT_DAY, _AT_BEFORE, _AT_COUNTS = 8, 8, 9, 10
_NAME_BYTES = _NAME_CELLS * 8

PREPARED_S = 60
"""Before a month begins its file is there: no request waits for that."""


class Counted(IntEnum):
    """What became of a request; its place in a record. `PASSED_OVER_QUOTA` is counted as `PASSED` too."""

    PASSED = 0
    PASSED_OVER_QUOTA = 1
    REFUSED_QUOTA = 2
    REFUSED_RATE = 3
    REFUSED_CAP = 4
    REFUSED_SHARE = 5


@dataclass(frozen=True, slots=True)
class DayCounts:
    """One record. `counts` in the order of `Counted`."""

    project_id: str
    day: date
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class UsageSnapshot:
    """What a file holds. `source` is its id: a file that is made anew, under the same name, has other counts."""

    source: str
    days: tuple[DayCounts, ...]


class WorkerCounts:
    """The file that this worker writes. For the loop's thread alone."""

    def __init__(self, path: Path, month: Month) -> None:
        self._month = month
        self._path: Path | None = path
        self._latest: dict[str, int] = {}
        try:
            self._map(_taken_over(path, month) or _begun(path, month))
        except OSError as exc:
            self._go_on_in_memory(exc)
        self._latest.update(_records(self._cells, 0, self._cells[_AT_RECORDS]))

    def count(self, project_id: str, day: int, *what: Counted) -> None:
        """`day` of the month, from 1."""
        at = self._latest.get(project_id)
        if at is None or self._cells[at + _AT_DAY] != day:
            at = self._new_record(project_id, day)
        for each in what:
            self._cells[at + _AT_COUNTS + each] += 1

    def passed(self, project_id: str) -> int:
        """Requests of the project that this worker passed on in the month."""
        return _passed(self._cells, self._latest.get(project_id))

    def close(self) -> None:
        self._cells.release()
        self._mapping.close()

    def _new_record(self, project_id: str, day: int) -> int:
        records = self._cells[_AT_RECORDS]
        if (records + 2) * _RECORD_BYTES > len(self._mapping):
            self._grow(2 * len(self._mapping))
        at = (records + 1) * _CELLS
        name = project_id.encode()[:_NAME_BYTES].ljust(_NAME_BYTES, b"\0")
        for index, cell in enumerate(memoryview(name).cast("Q")):
            self._cells[at + index] = cell
        self._cells[at + _AT_DAY] = day
        self._cells[at + _AT_BEFORE] = self.passed(project_id)
        self._cells[_AT_RECORDS] = records + 1
        self._latest[project_id] = at
        return at

    def _grow(self, size_bytes: int) -> None:
        before = bytes(self._mapping)
        try:
            if self._path is None:
                raise OSError("in memory")
            descriptor = _open(self._path, os.O_RDWR)
            try:
                os.posix_fallocate(descriptor, 0, size_bytes)
            except OSError:
                os.close(descriptor)
                raise
            self.close()
            self._map(descriptor)
        except OSError as exc:
            self._go_on_in_memory(exc, before, size_bytes)

    def _map(self, descriptor: int) -> None:
        try:
            self._mapping = mmap.mmap(descriptor, 0)
        finally:
            os.close(descriptor)
        self._cells = memoryview(self._mapping).cast("Q")

    def _go_on_in_memory(self, exc: OSError, before: bytes = b"", size_bytes: int = 0) -> None:
        if self._path is not None:
            log.error("usage.not_kept", error=type(exc).__name__, detail=exc.strerror)
        self._path = None
        self._mapping = mmap.mmap(-1, max(size_bytes, (_FIRST_RECORDS + 1) * _RECORD_BYTES))
        self._mapping[: len(before)] = before
        self._cells = memoryview(self._mapping).cast("Q")


class SiblingCounts:
    """A look into another worker's file. Raises OSError or ValueError for one that cannot be read."""

    def __init__(self, path: Path, month: Month) -> None:
        self._records = 0
        self._latest: dict[str, int] = {}
        descriptor = _open(path, os.O_RDONLY)
        try:
            mapping = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        finally:
            os.close(descriptor)
        self._room = len(mapping) // _RECORD_BYTES - 1
        self._cells = memoryview(mapping)[: (self._room + 1) * _RECORD_BYTES].cast("Q")
        if not _is_usage(self._cells, month):
            raise ValueError("no counts of this month")

    @property
    def is_outgrown(self) -> bool:
        """The file has become longer than what is seen of it."""
        return self._cells[_AT_RECORDS] > self._room

    def passed(self, project_id: str) -> int:
        """As of this moment."""
        records = min(self._cells[_AT_RECORDS], self._room)
        if records != self._records:
            self._latest.update(_records(self._cells, self._records, records))
            self._records = records
        return _passed(self._cells, self._latest.get(project_id))


class _MonthHere:
    """One month of this machine: this worker's file, and a look at those of the others."""

    def __init__(self, directory: Path, worker: str, month: Month) -> None:
        self.month = month
        self._directory = directory / month.name
        self._worker = worker
        self.own = WorkerCounts(self._directory / worker, month)
        self.siblings: dict[str, SiblingCounts] = {}

    def look_around(self) -> None:
        found = {name: each for name, each in self.siblings.items() if not each.is_outgrown}
        with suppress(OSError):
            for path in self._directory.iterdir():
                if path.name not in {self._worker, *found} and not path.name.startswith("."):
                    with suppress(OSError, ValueError):
                        found[path.name] = SiblingCounts(path, self.month)
            self.siblings = found  # at once: the loop may be going through the old ones


class Usage:
    """This month's requests: what this worker counts, and what it sees of the others of this machine.

    `directory` holds a directory for each month, and that a file for each worker, be it alive or not. `open` and
    `look_around` wait for the disk; the other two do not, or once: a worker that did not look around in the last
    minute of a month opens the next one's file with its first request.
    """

    def __init__(self, directory: Path, worker: str) -> None:
        self._directory = directory
        self._worker = worker
        self._next: _MonthHere | None = None
        self._day_starts_s = self._day_ends_s = 0  # no day yet

    def open(self, now_s: float) -> None:
        """Before anything else."""
        self._now = self._month_here(Month.of(now_s))
        self._note_day(now_s)

    @property
    def month(self) -> Month:
        return self._now.month

    def count(self, now_s: float, project_id: str, *what: Counted) -> None:
        if not self._day_starts_s <= now_s < self._day_ends_s:
            self._turn(now_s)
        self._now.own.count(project_id, self._day, *what)

    def passed(self, now_s: float, project_id: str) -> int:
        """Requests of the project that this machine passed on this month."""
        if not self._day_starts_s <= now_s < self._day_ends_s:
            self._turn(now_s)
        others = sum(sibling.passed(project_id) for sibling in self._now.siblings.values())
        return self._now.own.passed(project_id) + others

    def look_around(self, now_s: float) -> None:
        """Find other workers' files, and see to the next month's. To be told about once a second."""
        self._now.look_around()
        soon = Month.of(now_s + PREPARED_S)
        if soon == self._now.month:
            return
        if self._next is None or self._next.month != soon:
            self._next = self._month_here(soon)
        self._next.look_around()

    def _turn(self, now_s: float) -> None:
        """Another day, or another month."""
        month, prepared = Month.of(now_s), self._next
        if month != self._now.month:
            is_prepared = prepared is not None and prepared.month == month
            self._now = prepared if prepared is not None and is_prepared else self._month_here(month)
        self._note_day(now_s)

    def _month_here(self, month: Month) -> _MonthHere:
        here = _MonthHere(self._directory, self._worker, month)
        here.look_around()
        return here

    def _note_day(self, now_s: float) -> None:
        self._day_starts_s = int(now_s) // DAY_S * DAY_S
        self._day_ends_s = self._day_starts_s + DAY_S
        self._day = (self._day_starts_s - self.month.starts_s) // DAY_S + 1


def read_snapshot(path: Path, month: Month) -> UsageSnapshot | None:
    """What the file of a worker holds, be it alive or not; None: it holds no counts of the month."""
    data = path.read_bytes()
    cells = memoryview(data[: len(data) // _RECORD_BYTES * _RECORD_BYTES]).cast("Q")
    if not _is_usage(cells, month):
        return None
    days = [
        DayCounts(
            name,
            month.first_day + timedelta(days=cells[at + _AT_DAY] - 1),
            tuple(cells[at + _AT_COUNTS : at + _AT_COUNTS + len(Counted)]),
        )
        for name, at in _records(cells, 0, min(cells[_AT_RECORDS], len(cells) // _CELLS - 1))
    ]
    return UsageSnapshot(f"{cells[_AT_ID]:016x}{cells[_AT_ID + 1]:016x}", tuple(days))


def _taken_over(path: Path, month: Month) -> int | None:
    """The file that a former life of this worker left; None: there is none that is any good."""
    try:
        descriptor = _open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    data = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    cells = memoryview(data[: len(data) // _RECORD_BYTES * _RECORD_BYTES]).cast("Q")
    if len(data) % _RECORD_BYTES == 0 and _is_usage(cells, month) and cells[_AT_RECORDS] < len(cells) // _CELLS:
        return descriptor
    os.close(descriptor)
    path.unlink()
    return None


def _begun(path: Path, month: Month) -> int:
    """A new file, whole before it bears its name."""
    for directory in (path.parent.parent, path.parent):  # one after the other: `parents` would make them for all
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    descriptor = _open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        os.posix_fallocate(descriptor, 0, (_FIRST_RECORDS + 1) * _RECORD_BYTES)
        header = (_MAGIC, secrets.randbits(64), secrets.randbits(64), month.number, 0)
        os.pwrite(descriptor, b"".join(cell.to_bytes(8, sys.byteorder) for cell in header), 0)
        fresh.replace(path)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _open(path: Path, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _is_usage(cells: Sequence[int], month: Month) -> bool:
    return len(cells) >= _CELLS and cells[_AT_MAGIC] == _MAGIC and cells[_AT_MONTH] == month.number


def _passed(cells: Sequence[int], at: int | None) -> int:
    return 0 if at is None else cells[at + _AT_BEFORE] + cells[at + _AT_COUNTS + Counted.PASSED]


def _records(cells: memoryview[int], start: int, stop: int) -> Iterator[tuple[str, int]]:
    for index in range(start, stop):
        at = (index + 1) * _CELLS
        yield bytes(cells[at : at + _NAME_CELLS]).rstrip(b"\0").decode("utf-8", "replace"), at
