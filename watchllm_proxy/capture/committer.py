"""One group of records to disk: frame, write, sync. Runs in the writer's one thread, never on the loop.

Each record of a group is accepted (durable) or shed (with a reason), and the result says which. After an
error the rest of the group is shed and the segment is left; the next group starts afresh in a new one. So a
full disk that gets room again needs nobody.

What the crash buffer held when the last process died is written first. A record of it may be in the log already,
but then in the newest segment: it is settled there before the next one is begun, and readers leave the newest.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from watchllm_proxy import crash_points
from watchllm_proxy.capture import frames, spill
from watchllm_proxy.capture.counts import LogCounts
from watchllm_proxy.capture.crash_buffer import SHARED_MEMORY, CrashBuffer, Kept
from watchllm_proxy.capture.lock import DirectoryLock
from watchllm_proxy.capture.scanner import count_records, ids_of
from watchllm_proxy.capture.segments import ActiveSegment, list_segments, make_private_directory
from watchllm_proxy.capture.spill import FilePart, Part, shed_reason
from watchllm_proxy.errors import CaptureLogError
from watchllm_proxy.outcomes import ShedReason

logger = logging.getLogger(__name__)

RESCAN_INTERVAL_S = 1.0  # readers delete segments; how late the writer may notice


@dataclass(frozen=True, slots=True)
class Commit:
    """What became of a group, in its order: None for accepted."""

    outcomes: list[ShedReason | None]
    bytes_on_disk: int
    is_segment_blank: bool  # nothing in the active segment: no reader waits for its end


class Record(NamedTuple):
    """A packed exchange. `slot` is its place in the crash buffer; None: the death of the process would take it.

    `spilled` are files that belong to it alone, whether or not a part of the payload lies in them.
    """

    record_id: UUID
    payload: Sequence[Part]
    payload_bytes: int
    slot: int | None
    spilled: tuple[Path, ...] = ()

    @property
    def frame_bytes(self) -> int:
        return frames.FRAME_HEADER_BYTES + self.payload_bytes


class Committer:
    """`buffer` keeps what is not committed; `recovered` tells what became of what it held at the start."""

    def __init__(self, directory: Path, lock: DirectoryLock, buffer: CrashBuffer, *, segment_bytes: int) -> None:
        self.bytes_on_disk = 0
        self.buffer = buffer
        self.recovered: list[ShedReason | None] = []
        self.counts = LogCounts(directory, buffer.cells, is_survivor=buffer.has_survived)
        self._directory = directory
        self._lock = lock
        self._segment_bytes = segment_bytes
        self._active: ActiveSegment | None = None
        self._scanned_at_s = 0.0
        self._failing: ShedReason | None = None
        self._next_number = 0

    @classmethod
    def open(cls, directory: Path, *, segment_bytes: int, shared_memory: Path = SHARED_MEMORY) -> Committer:
        """Lock `directory`, made if need be, and start a new segment; older ones stay as they are.

        What a killed predecessor had not committed is committed before this returns. A full disk is no reason to
        refuse: captures are shed until there is room. Raises `AlreadyRunning`, or `CaptureLogError` where the
        directory cannot be used at all.
        """
        try:
            make_private_directory(directory)
            lock = DirectoryLock.acquire(directory)
        except OSError as exc:
            raise CaptureLogError(f"the capture log {directory} cannot be opened: {exc.strerror}") from exc
        buffer = CrashBuffer.open(directory, believed=lock.noted, shared_memory=shared_memory)
        committer = cls(directory, lock, buffer, segment_bytes=segment_bytes)
        try:
            committer._begin()
            lock.note(buffer.file_id)
        except BaseException:
            committer.counts.release()
            buffer.close(is_done=not buffer.survivors())
            lock.release()
            raise
        return committer

    def commit(self, records: Sequence[Record], *, seal: bool = False) -> Commit:
        """Make a group durable. `seal` first ends the active segment, so that readers can release it."""
        try:
            if seal:
                self._seal()
            outcomes = self._write(records)
        except Exception:
            self._abandon()  # a bug: what stands in the segment is not known
            raise
        finally:
            crash_points.reach("capture.settled")
            spill.remove(path for record in records for path in record.spilled)
            crash_points.reach("capture.unspilled")
        self.counts.save()
        if seal or time.monotonic() - self._scanned_at_s >= RESCAN_INTERVAL_S:
            self._scan()
        return Commit(outcomes, self.bytes_on_disk, self.is_segment_blank)

    @property
    def is_segment_blank(self) -> bool:
        return self._active is None or self._active.is_blank

    def close(self) -> None:
        if self._active is not None:
            self._active.close()
            self._active = None
        spill.clear(self._directory)
        self.counts.close()
        self.buffer.close(is_done=True)
        self._lock.release()

    def _begin(self) -> None:
        self._scan()
        self._next_number = self._first_number()
        self._take_over_counts()
        survivors = self._survivors()
        try:
            self._start_segment()
        except OSError as exc:
            if shed_reason(exc) is not ShedReason.DISK_FULL:
                raise CaptureLogError(
                    f"the capture log {self._directory} cannot be written: {exc.strerror}"
                ) from exc
            self._note(exc)
        self.recovered += self._write(survivors)
        self.counts.recover(len(self.recovered))
        self.counts.save()
        self.buffer.empty_all()
        spill.clear(self._directory)
        if self.recovered:
            logger.warning("%d captures of a killed process taken up: %s", len(self.recovered), self._directory)

    def _take_over_counts(self) -> None:
        def records_from(number: int) -> int:
            return count_records(file for file in list_segments(self._directory) if file.number >= number)

        try:
            self.counts.take_over(records_from)
        except (OSError, CaptureLogError) as exc:
            logger.error("the records of the last segment cannot be counted: %s", type(exc).__name__)

    def _survivors(self) -> list[Record]:
        """What the last process took and did not get into the log."""
        found = self.buffer.survivors()
        kept = list({record.record_id: record for record in found}.values())  # the last of each: `LogWriter.hold`
        slots = {record.slot for record in kept}
        self.buffer.settle(record.slot for record in found if record.slot not in slots)
        if not kept:
            return []
        try:
            in_log = ids_of(list_segments(self._directory)[-1:])
        except (OSError, CaptureLogError) as exc:
            # Writing them could double them, and each is to be counted exactly once.
            logger.error("%d captures of a killed process shed: %s", len(kept), type(exc).__name__)
            self.recovered += [ShedReason.IO_ERROR] * len(kept)
            self.counts.commit(self.recovered)
            return []
        self.buffer.settle(record.slot for record in kept if record.record_id in in_log)
        return [self._again(record) for record in kept if record.record_id not in in_log]

    def _again(self, kept: Kept) -> Record:
        payload: list[Part] = [kept.payload]
        if kept.manifest:
            payload = spill.rejoined(kept.manifest, kept.payload, self._directory)
        files = tuple(part.path for part in payload if isinstance(part, FilePart))
        return Record(kept.record_id, payload, sum(map(len, payload)), kept.slot, files)

    def _write(self, records: Sequence[Record]) -> list[ShedReason | None]:
        """What became of each. A record of which a part is gone costs itself only."""
        are_there = [_is_there(record) for record in records]
        if all(are_there):
            return self._write_in_order(records)
        logger.error("%d captures shed: parts of them are gone from %s", are_there.count(False), self._directory)
        written = iter(
            self._write_in_order([record for record, is_there in zip(records, are_there, strict=True) if is_there])
        )
        self.buffer.settle(record.slot for record in records)
        self.counts.commit([ShedReason.IO_ERROR] * are_there.count(False))
        return [next(written) if is_there else ShedReason.IO_ERROR for is_there in are_there]

    def _write_in_order(self, records: Sequence[Record]) -> list[ShedReason | None]:
        """A record is settled in the crash buffer, and counted, before another segment is begun."""
        outcomes: list[ShedReason | None] = []
        while len(outcomes) < len(records):
            todo = records[len(outcomes) :]
            synced, error = self._write_into_one_segment(todo)
            self.buffer.settle(record.slot for record in todo[:synced])
            settled: list[ShedReason | None] = [None] * synced
            self._note(error)
            if error is not None:
                self._abandon()
                self.buffer.settle(record.slot for record in todo[synced:])
                settled += [shed_reason(error)] * (len(todo) - synced)
            self.counts.commit(settled)
            outcomes += settled
        return outcomes

    def _write_into_one_segment(self, records: Sequence[Record]) -> tuple[int, OSError | None]:
        """How many of the first records became durable, and what kept the next from it."""
        try:
            segment = self._segment_with_room(records[0].frame_bytes)
        except OSError as exc:
            return 0, exc
        try:
            parts, frame_ends = _lay_out(segment, records, self._segment_bytes)
        except OSError as exc:  # of a spilled body
            return 0, exc
        before = segment.end_bytes
        appended = segment.append(parts, frame_ends)
        self.bytes_on_disk += segment.end_bytes - before
        return appended.synced, appended.error

    def _segment_with_room(self, frame_bytes: int) -> ActiveSegment:
        active = self._active
        if active is not None and (active.is_blank or active.end_bytes + frame_bytes <= self._segment_bytes):
            return active
        return self._start_segment()

    def _start_segment(self) -> ActiveSegment:
        if self._active is not None:
            self._active.close()
            self._active = None
        self.counts.begin_segment(self._next_number)
        crash_points.reach("capture.segment_noted")
        self._active = ActiveSegment.create(self._directory, self._next_number, self.counts.now().accepted)
        self._next_number += 1
        self.bytes_on_disk += self._active.end_bytes
        return self._active

    def _seal(self) -> None:
        if self._active is None or self._active.is_blank:
            return
        try:
            self._start_segment()
        except OSError as exc:
            self._note(exc)

    def _abandon(self) -> None:
        """Leave the active segment: no offset of it may be written twice."""
        active, self._active = self._active, None
        if active is None:
            return
        if active.is_blank:  # else a full disk would fill with empty segments
            active.discard()
            self._next_number = active.file.number
        else:
            active.close()

    def _first_number(self) -> int:
        """Above every number this directory ever had, also when it was lost and made anew.

        A recorder's offset outlives the directory (a fresh disk beside the old database). Were numbers to
        start at one again, all new records would lie before that offset and never be read. So they start
        from the clock: segments come slower than one a second.
        """
        newest = max((file.number for file in list_segments(self._directory)), default=0)
        return max(newest + 1, int(time.time()))

    def _scan(self) -> None:
        self.bytes_on_disk = sum(file.size_bytes() for file in list_segments(self._directory))
        self._scanned_at_s = time.monotonic()

    def _note(self, error: OSError | None) -> None:
        """Tell the operator when trouble starts, changes and ends; not once per record."""
        failing = None if error is None else shed_reason(error)
        if failing is self._failing:
            return
        self._failing = failing
        if error is None:
            logger.warning("capture log writable again: %s", self._directory)
        else:
            logger.error("captures are shed (%s), requests pass: %s: %s", failing, self._directory, error.strerror)


def _is_there(record: Record) -> bool:
    return not record.spilled or all(part.is_there() for part in record.payload if isinstance(part, FilePart))


def _lay_out(
    segment: ActiveSegment, records: Sequence[Record], segment_bytes: int
) -> tuple[list[Part], list[int]]:
    """Parts of as many frames as the segment has room for, at least one, and where each frame ends."""
    parts: list[Part] = []
    frame_ends: list[int] = []
    offset = segment.end_bytes
    for record in records:
        if frame_ends and offset + record.frame_bytes > segment_bytes:
            break
        payload = spill.pieces(record.payload)  # what lies in files is read twice: here for the checksum
        parts.append(frames.encode_frame_header(segment.marker, offset, record.record_id, payload))
        parts.extend(record.payload)
        offset += record.frame_bytes
        frame_ends.append(offset)
    return parts, frame_ends
