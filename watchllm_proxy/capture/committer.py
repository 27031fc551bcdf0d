"""One group of exchanges to disk: pack, frame, write, sync. Runs in the writer's one thread, never on the loop.

Each exchange of a group is accepted (durable) or shed (with a reason), and the result says which. After an
error the rest of the group is shed and the segment is left; the next group starts afresh in a new one. So a
full disk that gets room again needs nobody.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from watchllm_proxy.capture import frames
from watchllm_proxy.capture.lock import DirectoryLock
from watchllm_proxy.capture.payload import pack
from watchllm_proxy.capture.segments import ActiveSegment, list_segments, make_private_directory
from watchllm_proxy.errors import CaptureLogError
from watchllm_proxy.outcomes import ShedReason
from watchllm_proxy.records import Exchange

logger = logging.getLogger(__name__)

RESCAN_INTERVAL_S = 1.0  # readers delete segments; how late the writer may notice

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True, slots=True)
class Commit:
    """What became of a group, in its order: None for accepted."""

    outcomes: list[ShedReason | None]
    bytes_on_disk: int
    is_segment_blank: bool  # nothing in the active segment: no reader waits for its end


@dataclass(frozen=True, slots=True)
class _Record:
    index: int
    record_id: UUID
    payload: list[bytes]
    frame_bytes: int


class Committer:
    def __init__(self, directory: Path, lock: DirectoryLock, *, segment_bytes: int) -> None:
        self.bytes_on_disk = 0
        self._directory = directory
        self._lock = lock
        self._segment_bytes = segment_bytes
        self._active: ActiveSegment | None = None
        self._scanned_at_s = 0.0
        self._failing: ShedReason | None = None
        self._next_number = 0

    @classmethod
    def open(cls, directory: Path, *, segment_bytes: int) -> Committer:
        """Lock `directory`, made if need be, and start a new segment; older ones stay as they are.

        A full disk is no reason to refuse: captures are shed until there is room. Raises `AlreadyRunning`,
        or `CaptureLogError` where the directory cannot be used at all.
        """
        try:
            make_private_directory(directory)
            lock = DirectoryLock.acquire(directory)
        except OSError as exc:
            raise CaptureLogError(f"the capture log {directory} cannot be opened: {exc.strerror}") from exc
        committer = cls(directory, lock, segment_bytes=segment_bytes)
        try:
            committer._begin()
        except BaseException:
            lock.release()
            raise
        return committer

    def commit(self, exchanges: Sequence[Exchange], *, seal: bool = False) -> Commit:
        """Make a group durable. `seal` first ends the active segment, so that readers can release it."""
        outcomes: list[ShedReason | None] = [None] * len(exchanges)
        try:
            if seal:
                self._seal()
            self._write(_packed(exchanges, outcomes), outcomes)
        except Exception:
            self._abandon()  # a bug: what stands in the segment is not known
            raise
        if seal or time.monotonic() - self._scanned_at_s >= RESCAN_INTERVAL_S:
            self._scan()
        return Commit(outcomes, self.bytes_on_disk, self._active is None or self._active.is_blank)

    def close(self) -> None:
        if self._active is not None:
            self._active.close()
            self._active = None
        self._lock.release()

    def _begin(self) -> None:
        self._scan()
        self._next_number = self._first_number()
        try:
            self._start_segment()
        except OSError as exc:
            if _reason(exc) is not ShedReason.DISK_FULL:
                raise CaptureLogError(
                    f"the capture log {self._directory} cannot be written: {exc.strerror}"
                ) from exc
            self._note(exc)

    def _write(self, records: list[_Record], outcomes: list[ShedReason | None]) -> None:
        while records:
            try:
                segment = self._segment_with_room(records[0].frame_bytes)
            except OSError as exc:
                error: OSError | None = exc
            else:
                buffers, frame_ends = _lay_out(segment, records, self._segment_bytes)
                before = segment.end_bytes
                appended = segment.append(buffers, frame_ends)
                self.bytes_on_disk += segment.end_bytes - before
                records = records[appended.synced :]
                error = appended.error
            self._note(error)
            if error is not None:
                self._abandon()
                for record in records:
                    outcomes[record.index] = _reason(error)
                return

    def _segment_with_room(self, frame_bytes: int) -> ActiveSegment:
        active = self._active
        if active is not None and (active.is_blank or active.end_bytes + frame_bytes <= self._segment_bytes):
            return active
        return self._start_segment()

    def _start_segment(self) -> ActiveSegment:
        if self._active is not None:
            self._active.close()
            self._active = None
        self._active = ActiveSegment.create(self._directory, self._next_number)
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
        failing = None if error is None else _reason(error)
        if failing is self._failing:
            return
        self._failing = failing
        if error is None:
            logger.warning("capture log writable again: %s", self._directory)
        else:
            logger.error("captures are shed (%s), requests pass: %s: %s", failing, self._directory, error.strerror)


def _packed(exchanges: Sequence[Exchange], outcomes: list[ShedReason | None]) -> list[_Record]:
    """The records of those that can be written; the outcome of the others is set."""
    records = []
    for index, exchange in enumerate(exchanges):
        try:
            payload = pack(exchange)
        except CaptureLogError as exc:
            logger.error("capture shed: %s", exc)  # a sentence of ours; never content
            outcomes[index] = ShedReason.INVALID
            continue
        payload_bytes = sum(map(len, payload))
        if payload_bytes > frames.MAX_PAYLOAD_BYTES:
            outcomes[index] = ShedReason.TOO_LARGE
            continue
        frame_bytes = frames.FRAME_HEADER_BYTES + payload_bytes
        records.append(_Record(index, exchange.exchange_id, payload, frame_bytes))
    return records


def _lay_out(
    segment: ActiveSegment, records: Sequence[_Record], segment_bytes: int
) -> tuple[list[bytes], list[int]]:
    """Buffers of as many frames as the segment has room for, at least one, and where each frame ends."""
    buffers: list[bytes] = []
    frame_ends: list[int] = []
    offset = segment.end_bytes
    for record in records:
        if frame_ends and offset + record.frame_bytes > segment_bytes:
            break
        buffers.append(frames.encode_frame_header(segment.marker, offset, record.record_id, record.payload))
        buffers.extend(record.payload)
        offset += record.frame_bytes
        frame_ends.append(offset)
    return buffers, frame_ends


def _reason(error: OSError) -> ShedReason:
    return ShedReason.DISK_FULL if error.errno in _NO_ROOM else ShedReason.IO_ERROR
