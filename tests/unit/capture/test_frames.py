"""Frames and segment headers as bytes."""

from __future__ import annotations

import struct
import zlib
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchllm_proxy.capture import frames
from watchllm_proxy.errors import CaptureLogError

SALT = bytes(range(16))
MARKER = frames.marker_of(SALT)


@given(st.lists(st.binary(max_size=50), max_size=4), st.integers(0, 2**40))
def test_a_frame_header_comes_back_where_it_was_written(payload: list[bytes], offset: int) -> None:
    record_id = uuid4()
    encoded = frames.encode_frame_header(MARKER, offset, record_id, payload)
    header = frames.decode_frame_header(encoded + b"more", offset, MARKER)
    assert header is not None
    assert (header.record_id, header.payload_bytes) == (record_id, len(b"".join(payload)))
    assert frames.is_intact(header, b"".join(payload))


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_a_frame_header_counts_only_at_its_own_offset(offset: int, elsewhere: int) -> None:
    encoded = frames.encode_frame_header(MARKER, offset, uuid4(), [b"x"])
    assert (frames.decode_frame_header(encoded, elsewhere, MARKER) is not None) == (offset == elsewhere)


def test_a_frame_header_counts_only_in_its_own_segment() -> None:
    encoded = frames.encode_frame_header(MARKER, 32, uuid4(), [b"x"])
    assert frames.decode_frame_header(encoded, 32, frames.marker_of(bytes(16))) is None


def test_every_bit_of_a_frame_header_is_covered_by_its_checksum() -> None:
    encoded = frames.encode_frame_header(MARKER, 32, uuid4(), [b"payload"])
    for at in range(len(encoded)):
        for bit in range(8):
            flipped = bytearray(encoded)
            flipped[at] ^= 1 << bit
            assert frames.decode_frame_header(bytes(flipped), 32, MARKER) is None


def test_every_bit_of_a_segment_header_is_covered_by_its_checksum() -> None:
    encoded = frames.encode_segment_header(SALT, 2**40 + 7)
    assert frames.decode_segment_header(encoded) == frames.SegmentHeader(SALT, 2**40 + 7)
    for at in range(len(encoded)):
        for bit in range(8):
            flipped = bytearray(encoded)
            flipped[at] ^= 1 << bit
            assert frames.decode_segment_header(bytes(flipped)) is None


def test_a_segment_of_another_format_is_refused_by_its_number() -> None:
    header = struct.pack("<8sH6x16s", b"WATCHLLM", 9, SALT)
    with pytest.raises(CaptureLogError, match="format 9"):
        frames.decode_segment_header(header + struct.pack("<I", zlib.crc32(header)))
