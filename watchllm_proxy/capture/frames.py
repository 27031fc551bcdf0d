"""The bytes of a segment: one header, then frames back to back.

    segment header  magic (8) | format version (u16) | records before (u48) | salt (16) | crc (u32)
    frame           frame header | payload
    frame header    marker (8) | payload length (u32) | record id (16) | payload crc (u32) | header crc (u32)

All integers are little endian, all checksums CRC-32. After damage a reader searches the marker. It is derived
from the segment's random salt, so no captured content can look like a frame; and the header's checksum is
seeded with the frame's own offset, so that a frame counts only where it was written (a captured copy of a
segment, or a stale disk block, does not). The salt stands in the segment's file name as well: a damaged
segment header loses nothing.

`records before` counts the records of all earlier segments of the log, released ones too: what a log has taken in
all its life can be told from its newest segment.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from watchllm_proxy.errors import CaptureLogError

FORMAT_VERSION = 1
SALT_BYTES = 16
MARKER_BYTES = 8
MAX_PAYLOAD_BYTES = 1 << 30  # one record; the length field could say 4 GiB, no machine should have to hold that

_MAGIC = b"WATCHLLM"
_CRC = struct.Struct("<I")
_SEGMENT_HEADER = struct.Struct("<8sH6s16s")
_FRAME_HEADER = struct.Struct("<8sI16sI")

SEGMENT_HEADER_BYTES = _SEGMENT_HEADER.size + _CRC.size
FRAME_HEADER_BYTES = _FRAME_HEADER.size + _CRC.size


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    salt: bytes
    records_before: int


@dataclass(frozen=True, slots=True)
class FrameHeader:
    record_id: UUID
    payload_bytes: int
    payload_crc: int


def encode_segment_header(salt: bytes, records_before: int = 0) -> bytes:
    header = _SEGMENT_HEADER.pack(_MAGIC, FORMAT_VERSION, records_before.to_bytes(6, "little"), salt)
    return header + _CRC.pack(zlib.crc32(header))


def decode_segment_header(data: bytes) -> SegmentHeader | None:
    """What a segment begins with; None when that is damaged or not there yet.

    Raises `CaptureLogError` for an intact header of another version: stepping over records that a newer
    program wrote would lose them without a word.
    """
    if len(data) < SEGMENT_HEADER_BYTES:
        return None
    magic, version, records_before, salt = _SEGMENT_HEADER.unpack_from(data)
    (crc,) = _CRC.unpack_from(data, _SEGMENT_HEADER.size)
    if magic != _MAGIC or crc != zlib.crc32(data[: _SEGMENT_HEADER.size]):
        return None
    if version != FORMAT_VERSION:
        raise CaptureLogError(
            f"capture log segment of format {version}; this watchllm reads format {FORMAT_VERSION}: "
            "run the version that wrote it until the log is empty"
        )
    return SegmentHeader(salt, int.from_bytes(records_before, "little"))


def marker_of(salt: bytes) -> bytes:
    """What each frame of the segment begins with."""
    return hashlib.blake2b(salt, digest_size=MARKER_BYTES, person=b"wl frame 1").digest()


def encode_frame_header(marker: bytes, offset: int, record_id: UUID, payload: Iterable[bytes]) -> bytes:
    """The header of a frame that will stand at `offset` of its segment, before the buffers of `payload`."""
    length = crc = 0
    for buffer in payload:
        length += len(buffer)
        crc = zlib.crc32(buffer, crc)
    header = _FRAME_HEADER.pack(marker, length, record_id.bytes, crc)
    return header + _CRC.pack(_header_crc(header, offset))


def decode_frame_header(data: bytes, offset: int, marker: bytes) -> FrameHeader | None:
    """The header found at `offset`, or None when there is none that can be trusted."""
    if len(data) < FRAME_HEADER_BYTES or not data.startswith(marker):
        return None
    _, length, record_id, payload_crc = _FRAME_HEADER.unpack_from(data)
    (crc,) = _CRC.unpack_from(data, _FRAME_HEADER.size)
    if crc != _header_crc(data[: _FRAME_HEADER.size], offset):
        return None
    return FrameHeader(UUID(bytes=record_id), length, payload_crc)


def is_intact(header: FrameHeader, payload: bytes) -> bool:
    return len(payload) == header.payload_bytes and zlib.crc32(payload) == header.payload_crc


def _header_crc(header: bytes, offset: int) -> int:
    return zlib.crc32(header, offset & 0xFFFFFFFF)
