"""Several capture logs read as one: batches in order of time, cut so that the same bounds give the same batch.

Each proxy worker writes its own log. An agent's requests may pass through different workers, so records
are merged by the time their exchange ended. Within a log the order of the log is kept whatever its clock
says (a step back in time must not reorder a conversation): the sort key is the running maximum.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import UUID

from watchllm_proxy.capture import payload
from watchllm_proxy.capture.reader import LogBatch, LogReader
from watchllm_proxy.errors import CaptureLogError
from watchllm_proxy.records import BatchBounds, Exchange, LogPosition, Report

MERGE_HOLDBACK_US = 250_000
"""With several logs, younger records wait this long: another log may still bring one that ended before."""


@dataclass(frozen=True, slots=True)
class MergedRecord:
    """One record of one log: an `exchange`, or a `report`, or neither: then it cannot be unpacked, and `problem`
    says why."""

    log_name: str
    record_id: UUID
    end: LogPosition  # where the next record of this log begins; of one that is tried again, nowhere
    order_us: int
    payload: bytes
    exchange: Exchange | None
    problem: str | None
    report: Report | None = None

    @property
    def project_id(self) -> str | None:
        """Whose it is; None where it cannot be unpacked."""
        found = self.exchange or self.report
        return None if found is None else found.project_id


@dataclass(frozen=True, slots=True)
class Batch:
    """Records in the order to think about them, and the bounds that bring exactly them again.

    `damage` counts, for each log, the damaged stretches stepped over between its bounds.
    """

    bounds: BatchBounds
    records: tuple[MergedRecord, ...]
    damage: Counter[str] = field(default_factory=Counter)

    def halves(self) -> tuple[BatchBounds, BatchBounds]:
        """Bounds for bisection: any prefix of the merged order is a prefix of every log, so they exist.

        Read them again: clocks that stepped back may order the second half otherwise when it stands alone.
        """
        middle = len(self.records) // 2
        if self.bounds.retried:
            ids = tuple(record.record_id for record in self.records)
            return replace(self.bounds, retried=ids[:middle]), replace(self.bounds, retried=ids[middle:])
        ends = dict(self.bounds.starts)
        ends.update({record.log_name: record.end for record in self.records[:middle]})
        return (
            BatchBounds(self.bounds.starts, ends, self.bounds.now_us),
            BatchBounds(ends, self.bounds.ends, self.bounds.now_us),
        )


class LogSet:
    """All logs below one directory. Logs may appear at any time (another worker starts)."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._readers: dict[str, LogReader] = {}

    def choose(self, starts: dict[str, LogPosition], now_us: int, *, max_records: int, max_bytes: int) -> Batch:
        """The next batch after `starts`; empty when nothing is ready. Unknown logs start at their beginning."""
        readers = self._current_readers()
        read = {
            name: reader.read(starts.get(name), max_records=max_records, max_bytes=max_bytes)
            for name, reader in readers.items()
        }
        merged = {name: _unpack(name, batch) for name, batch in read.items()}
        limit_us = self._limit_us(merged, read, now_us)
        ends: dict[str, LogPosition] = {}
        taken: list[MergedRecord] = []
        for name, records in merged.items():
            ready = _ready(records, limit_us, now_us)
            taken.extend(ready)
            if len(ready) == len(records):
                ends[name] = read[name].end
            else:
                ends[name] = ready[-1].end if ready else _start(starts, name)
        taken.sort(key=_merged_order)
        known_starts = {name: _start(starts, name) for name in ends}
        return Batch(
            BatchBounds(known_starts, ends, now_us),
            tuple(taken),
            Counter({name: sum(at < ends[name] for at in batch.damage) for name, batch in read.items()}),
        )

    def read_again(self, bounds: BatchBounds) -> Batch:
        """The batch of these bounds once more, after a crash: the same records in the same order."""
        readers = self._current_readers()
        taken: list[MergedRecord] = []
        damage: Counter[str] = Counter()
        for name, end in bounds.ends.items():
            if name in readers:
                batch = readers[name].read(bounds.starts.get(name), until=end)
                taken.extend(_unpack(name, batch))
                damage[name] = len(batch.damage)
        taken.sort(key=_merged_order)
        return Batch(bounds, tuple(taken), damage)

    def release(self, ends: dict[str, LogPosition]) -> None:
        """Delete the segments that lie whole before `ends`."""
        for name, reader in self._current_readers().items():
            if name in ends:
                reader.release(ends[name])

    def blank(self, ends: dict[str, LogPosition]) -> int:
        """Overwrite what lies before `ends` and is on the disk still; how many bytes. It cannot be read again."""
        readers = self._current_readers()
        return sum(readers[name].blank(end) for name, end in ends.items() if name in readers)

    def depth_bytes(self, starts: dict[str, LogPosition]) -> int:
        """Bytes not yet thought about, over all logs."""
        return sum(reader.depth_bytes(starts.get(name)) for name, reader in self._current_readers().items())

    def _current_readers(self) -> dict[str, LogReader]:
        if self._root.is_dir():
            for directory in sorted(self._root.iterdir()):
                if directory.is_dir() and directory.name not in self._readers:
                    self._readers[directory.name] = LogReader(directory)
        return self._readers

    def _limit_us(self, merged: dict[str, list[MergedRecord]], read: dict[str, LogBatch], now_us: int) -> int:
        """Records that ended after this must wait, since another log may still bring an earlier one."""
        if len(merged) < 2:
            return now_us
        limit_us = now_us - MERGE_HOLDBACK_US
        for name, records in merged.items():
            if records and self._readers[name].depth_bytes(read[name].end):
                limit_us = min(limit_us, records[-1].order_us)
        return limit_us


def tried_again(letters: Iterable[tuple[str, UUID, bytes]], now_us: int) -> Batch:
    """A batch of records that were set aside, (log, id, payload) each: in order of time, whatever their logs."""
    records = [_record(name, record_id, LogPosition(0, 0), content, 0) for name, record_id, content in letters]
    records.sort(key=lambda record: (record.order_us, record.record_id))
    return Batch(BatchBounds({}, {}, now_us, tuple(record.record_id for record in records)), tuple(records))


def _start(starts: dict[str, LogPosition], name: str) -> LogPosition:
    return starts.get(name) or LogPosition(0, 0)


def _unpack(name: str, batch: LogBatch) -> list[MergedRecord]:
    records: list[MergedRecord] = []
    floor_us = 0
    ends = [*(record.position for record in batch.records[1:]), batch.end]  # of no records: one end too many
    for record, end in zip(batch.records, ends, strict=False):
        records.append(_record(name, record.record_id, end, record.payload, floor_us))
        floor_us = records[-1].order_us
    return records


def _record(name: str, record_id: UUID, end: LogPosition, content: bytes, floor_us: int) -> MergedRecord:
    """`floor_us`: its place in time is not before this one."""
    try:
        found = payload.unpack_any(content)
    except CaptureLogError as exc:
        return MergedRecord(name, record_id, end, floor_us, content, None, str(exc))
    order_us = max(floor_us, found.ended_at_us)
    if isinstance(found, Report):
        return MergedRecord(name, record_id, end, order_us, content, None, None, found)
    return MergedRecord(name, record_id, end, order_us, content, found, None)


def _ready(records: list[MergedRecord], limit_us: int, now_us: int) -> list[MergedRecord]:
    """The prefix that need not wait. A record from the future (the clock stepped back) does not wait either."""
    for index, record in enumerate(records):
        if limit_us < record.order_us <= now_us:
            return records[:index]
    return records


def _merged_order(record: MergedRecord) -> tuple[int, str]:
    """By time, then by log: with a stable sort a log's own order stays, and the bounds' order does not matter."""
    return record.order_us, record.log_name
