"""The frames of one segment, in order, with damage stepped over.

Works on a file that may grow at its end, or be cut there, meanwhile: takes it as it is at one moment, reads
with `pread` (a mapping would die of SIGBUS) and hands out independent bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from uuid import UUID

from watchllm_proxy.capture import frames
from watchllm_proxy.capture.segments import SegmentFile

_SEARCH_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Frame:
    """An intact record, from `offset` to `end_offset`."""

    record_id: UUID
    payload: bytes
    offset: int
    end_offset: int


@dataclass(frozen=True, slots=True)
class Damage:
    """A stretch that holds no readable frame. `blanked_id`: of a record that was stored, then zeroed."""

    offset: int
    end_offset: int
    blanked_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Tail:
    """Where the whole frames end; always last. `is_torn`: more bytes follow that are not a whole frame.

    In a segment that is being written that is a frame on its way; in any other, one that a crash cut.
    """

    offset: int
    is_torn: bool


def scan(fd: int, salt: bytes, offset: int) -> Iterator[Frame | Damage | Tail]:
    """What stands in a segment from `offset` on, where a frame began once. `salt` is that of the file's name.

    Raises `CaptureLogError` for a segment of another format version, `OSError` where it cannot be read.
    """
    marker = _marker(fd, salt)
    offset = max(offset, frames.SEGMENT_HEADER_BYTES)
    # What comes after this moment is not looked at: else a header that was half there when read and the frame
    # behind it, there a moment later, would look like damage between two frames.
    size_bytes = os.fstat(fd).st_size
    while offset + frames.FRAME_HEADER_BYTES <= size_bytes:
        header = _header_at(fd, offset, marker)
        if header is None:
            found = _find_frame(fd, offset + 1, size_bytes, marker)
            if found is None:
                break
            yield Damage(offset, found)
            offset = found
            continue
        end_offset = offset + frames.FRAME_HEADER_BYTES + header.payload_bytes
        if end_offset > size_bytes:
            break
        payload = os.pread(fd, header.payload_bytes, offset + frames.FRAME_HEADER_BYTES)
        if len(payload) < header.payload_bytes:
            break  # cut meanwhile
        if frames.is_intact(header, payload):
            yield Frame(header.record_id, payload, offset, end_offset)
        else:
            yield Damage(offset, end_offset, None if payload.strip(b"\0") else header.record_id)
        offset = end_offset
    yield Tail(offset, is_torn=size_bytes > offset)


def scan_file(file: SegmentFile, offset: int) -> Iterator[Frame | Damage | Tail]:
    """The same for a segment file. Raises `FileNotFoundError` when it has been released."""
    fd = os.open(file.path, os.O_RDONLY)
    try:
        yield from scan(fd, file.salt, offset)
    finally:
        os.close(fd)


def ids_of(files: Iterable[SegmentFile]) -> set[UUID]:
    """The ids of all records that these segments hold, or held until they were blanked."""
    return set(_record_ids(files))


def count_records(files: Iterable[SegmentFile]) -> int:
    """How many records these segments hold, or held until they were blanked."""
    return sum(1 for _ in _record_ids(files))


def _record_ids(files: Iterable[SegmentFile]) -> Iterator[UUID]:
    for file in files:
        for item in scan_file(file, 0):
            if isinstance(item, Frame):
                yield item.record_id
            elif isinstance(item, Damage) and item.blanked_id is not None:
                yield item.blanked_id


def count_headers(file: SegmentFile, until: int | None = None) -> int:
    """How many records were written to a segment before an offset, by their headers; a damaged stretch is one.

    Raises `FileNotFoundError` when the segment has been released.
    """
    fd = os.open(file.path, os.O_RDONLY)
    try:
        marker = _marker(fd, file.salt)
        size_bytes = os.fstat(fd).st_size
        limit = size_bytes if until is None else min(until, size_bytes)
        count, offset = 0, frames.SEGMENT_HEADER_BYTES
        while offset < limit:
            header = _header_at(fd, offset, marker)
            if header is None:
                found = _find_frame(fd, offset + 1, size_bytes, marker)
            else:
                found = offset + frames.FRAME_HEADER_BYTES + header.payload_bytes
            if found is None or found > size_bytes:
                break  # a torn tail
            count, offset = count + 1, found
        return count
    finally:
        os.close(fd)


def records_before(file: SegmentFile) -> int | None:
    """As its header tells; None where that is damaged."""
    fd = os.open(file.path, os.O_RDONLY)
    try:
        header = frames.decode_segment_header(os.pread(fd, frames.SEGMENT_HEADER_BYTES, 0))
    finally:
        os.close(fd)
    return None if header is None else header.records_before


def _marker(fd: int, salt: bytes) -> bytes:
    """Raises `CaptureLogError` for a segment of another format version."""
    header = frames.decode_segment_header(os.pread(fd, frames.SEGMENT_HEADER_BYTES, 0))
    return frames.marker_of(salt if header is None else header.salt)


def _header_at(fd: int, offset: int, marker: bytes) -> frames.FrameHeader | None:
    return frames.decode_frame_header(os.pread(fd, frames.FRAME_HEADER_BYTES, offset), offset, marker)


def _find_frame(fd: int, offset: int, size_bytes: int, marker: bytes) -> int | None:
    """The first offset in `[offset, size_bytes)` where a frame header stands."""
    while offset + frames.FRAME_HEADER_BYTES <= size_bytes:
        window = os.pread(fd, min(_SEARCH_BYTES, size_bytes - offset), offset)
        at = window.find(marker)
        while at >= 0:
            if _header_at(fd, offset + at, marker) is not None:
                return offset + at
            at = window.find(marker, at + 1)
        if len(window) < frames.MARKER_BYTES:
            return None  # cut meanwhile
        offset += len(window) - frames.MARKER_BYTES + 1
    return None
