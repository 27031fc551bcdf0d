"""Reads a capture log in batches, beside the process that writes it, and releases what is done.

A position is a promise of the writer: offsets never change their meaning. A frame that is not whole yet at
the end of the newest segment is left for later; in any other segment it was cut by a crash and is stepped
over. `end` moves on to the next segment as soon as there is one, so that `release(end)` frees all that is done.
"""

from __future__ import annotations

import itertools
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from watchllm_proxy import crash_points
from watchllm_proxy.capture import frames
from watchllm_proxy.capture.scanner import Damage, Frame, Tail, scan_file
from watchllm_proxy.capture.segments import SegmentFile, list_segments, overwrite, sync_directory
from watchllm_proxy.errors import CaptureLogError
from watchllm_proxy.records import LogPosition

MIB = 1024 * 1024
_EMPTY_LOG = LogPosition(0, 0)


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One record, checksum verified. `position` is where its frame starts; `payload` is for `payload.unpack`."""

    record_id: UUID
    payload: bytes
    position: LogPosition


@dataclass(frozen=True, slots=True)
class LogBatch:
    """Records from a start to `end`, in order. `damage`: where damaged stretches stepped over between begin."""

    records: tuple[LogRecord, ...]
    end: LogPosition
    damage: tuple[LogPosition, ...] = ()

    @property
    def corrupt_frames(self) -> int:
        return len(self.damage)


class LogReader:
    """Reads one log directory. Holds nothing open between calls."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(
        self,
        start: LogPosition | None,
        *,
        until: LogPosition | None = None,
        max_records: int = 1000,
        max_bytes: int = 32 * MIB,
    ) -> LogBatch:
        """The records from `start` on (None: from the oldest) that are there now, within the limits.

        The first record comes whatever its size. A start in a segment that is gone, or beyond the end of one
        (a power loss took bytes that were not synced), goes on at the next segment.

        With `until`, the `end` of an earlier batch from the same start: exactly that batch again, whatever
        the limits. What it held and is not readable any more is lost and stepped over; `end` is `until`.

        Raises `CaptureLogError` when the log cannot be read, or was written by a newer version.
        """
        batch = _Batch(start or _EMPTY_LOG, until, max_records, max_bytes)
        try:
            # Listed before any is read: a segment that has a successor here is complete.
            segments = list_segments(self._directory)
            for file, successor in itertools.zip_longest(segments, segments[1:]):
                if file.number >= batch.end.segment and not self._read_segment(file, successor, batch):
                    break
        except OSError as exc:
            raise CaptureLogError(f"the capture log {self._directory} cannot be read: {exc.strerror}") from exc
        return batch.finish()

    def release(self, before: LogPosition) -> None:
        """Delete the segments that lie wholly before a position. The newest stays, whatever the position.

        Readers and the writer take the numbers of what is there as their measure: one must always be.
        """
        try:
            done = [file for file in list_segments(self._directory)[:-1] if file.number < before.segment]
            if not done:
                return
            sync_directory(self._directory)  # no deletion may outlive the creation of a newer segment
            for file in done:
                file.path.unlink(missing_ok=True)
                crash_points.reach("capture.segment_released")
            sync_directory(self._directory)
        except OSError as exc:
            raise CaptureLogError(f"the capture log {self._directory} cannot be trimmed: {exc.strerror}") from exc

    def blank(self, before: LogPosition) -> int:
        """Overwrite the payloads before a position that is stored, with zeros; how many bytes there were.

        The newest segment stays when all in it is stored, and the writer appends to it: so its bytes would stay,
        too, for as long as nothing is captured. The frames' headers stay: they tell what a log has taken, and
        which record was there. Who reads from the beginning again finds damage.
        """
        blanked_bytes = 0
        try:
            for file in list_segments(self._directory):
                if file.number <= before.segment:
                    end_bytes = before.offset_bytes if file.number == before.segment else None
                    with suppress(FileNotFoundError):  # released meanwhile
                        blanked_bytes += overwrite(file.path, _payloads(file, end_bytes))
        except OSError as exc:
            raise CaptureLogError(f"the capture log {self._directory} cannot be blanked: {exc.strerror}") from exc
        return blanked_bytes

    def depth_bytes(self, start: LogPosition | None) -> int:
        """Bytes of the log from `start` on: what is still to be read."""
        position = start or _EMPTY_LOG
        depth_bytes = 0
        for file in list_segments(self._directory):
            if file.number > position.segment:
                depth_bytes += file.size_bytes()
            elif file.number == position.segment:
                depth_bytes += max(0, file.size_bytes() - position.offset_bytes)
        return depth_bytes

    def _read_segment(self, file: SegmentFile, successor: SegmentFile | None, batch: _Batch) -> bool:
        """Add what `file` holds. False when the batch ends within it."""
        if batch.is_beyond(LogPosition(file.number, 0)):
            return False
        offset = batch.end.offset_bytes if file.number == batch.end.segment else 0
        with suppress(FileNotFoundError):  # released since it was listed
            for item in scan_file(file, offset):
                if not batch.add(file.number, item, is_live=successor is None):
                    return False
        if successor is None:
            return False
        batch.end = LogPosition(successor.number, 0)
        return True


def _payloads(file: SegmentFile, end_bytes: int | None) -> list[tuple[int, int]]:
    """Where the payloads stand that are not blank yet, up to an offset, and what is damaged."""
    found = []
    for item in scan_file(file, 0):
        if isinstance(item, Tail) or (end_bytes is not None and item.end_offset > end_bytes):
            break
        if isinstance(item, Frame) or item.blanked_id is None:
            found.append((min(item.offset + frames.FRAME_HEADER_BYTES, item.end_offset), item.end_offset))
    return found


class _Batch:
    """A batch being gathered."""

    def __init__(self, start: LogPosition, until: LogPosition | None, max_records: int, max_bytes: int) -> None:
        self.end = start
        self._until = until
        self._max_records = max_records
        self._bytes_left = max_bytes
        self._records: list[LogRecord] = []
        self._damage: list[LogPosition] = []

    def is_beyond(self, position: LogPosition) -> bool:
        return self._until is not None and position >= self._until

    def add(self, segment: int, item: Frame | Damage | Tail, *, is_live: bool) -> bool:
        """Take the next thing found in a segment. False when the batch ends before it."""
        if self.is_beyond(LogPosition(segment, item.offset)):
            return False
        match item:
            case Frame():
                if self._is_full(len(item.payload)):
                    return False
                self._bytes_left -= len(item.payload)
                position = LogPosition(segment, item.offset)
                self._records.append(LogRecord(item.record_id, item.payload, position))
                self.end = LogPosition(segment, item.end_offset)
            case Damage():
                self._damage.append(LogPosition(segment, item.offset))
                self.end = LogPosition(segment, item.end_offset)
            case Tail():
                if item.is_torn and (self._until is not None or not is_live):
                    self._damage.append(LogPosition(segment, item.offset))
                self.end = LogPosition(segment, item.offset)
        return True

    def finish(self) -> LogBatch:
        return LogBatch(tuple(self._records), self._until or self.end, tuple(self._damage))

    def _is_full(self, payload_bytes: int) -> bool:
        if self._until is not None or not self._records:
            return False
        return len(self._records) >= self._max_records or payload_bytes > self._bytes_left
