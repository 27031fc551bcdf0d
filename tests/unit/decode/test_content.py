from __future__ import annotations

import gzip
import os
import resource
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard

from watchllm_proxy.decode.content import MAX_UNPACKED_BYTES, unpack
from watchllm_proxy.records import Headers

TEXT = b'{"choices": [{"delta": {"content": "hello"}}]}\n' * 400


def _raw_deflate(data: bytes) -> bytes:
    encoder = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return encoder.compress(data) + encoder.flush()


ENCODERS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("x-gzip", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", _raw_deflate),
    ("br", lambda data: brotli.compress(data, quality=4)),
    ("zstd", zstandard.compress),
]
each_encoding = pytest.mark.parametrize(("coding", "encode"), ENCODERS)


def _encoded_as(coding: str) -> Headers:
    return (("content-type", "application/json"), ("Content-Encoding", coding))


@each_encoding
def test_a_body_comes_out_as_it_went_in(coding: str, encode: Callable[[bytes], bytes]) -> None:
    unpacked = unpack(encode(TEXT), _encoded_as(coding))
    assert (unpacked.data, unpacked.problem) == (TEXT, None)


@each_encoding
def test_a_body_cut_short_gives_what_it_holds(coding: str, encode: Callable[[bytes], bytes]) -> None:
    data = os.urandom(600_000)  # several blocks of every coding
    packed = encode(data)
    unpacked = unpack(packed[: len(packed) * 3 // 4], _encoded_as(coding))
    assert unpacked.problem is None
    assert data.startswith(unpacked.data)
    assert len(unpacked.data) > 200_000


@each_encoding
def test_a_small_bomb_is_not_unpacked(coding: str, encode: Callable[[bytes], bytes]) -> None:
    bomb = encode(bytes(MAX_UNPACKED_BYTES + 1))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unpacked = unpack(bomb, _encoded_as(coding))
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert unpacked.data == b""
    assert unpacked.problem is not None
    assert "unpacks to more than" in unpacked.problem
    assert grown_kb < 100 * 1024


def test_codings_are_undone_from_the_last_to_the_first() -> None:
    packed = brotli.compress(gzip.compress(TEXT))
    assert unpack(packed, _encoded_as("gzip, br")).data == TEXT
    repeated = (("Content-Encoding", "gzip"), ("content-encoding", "BR"))
    assert unpack(packed, repeated).data == TEXT


def test_members_and_frames_follow_each_other() -> None:
    halves = TEXT[:1000], TEXT[1000:]
    assert unpack(b"".join(gzip.compress(half) for half in halves) + bytes(8), _encoded_as("gzip")).data == TEXT
    assert unpack(b"".join(zstandard.compress(half) for half in halves), _encoded_as("zstd")).data == TEXT


def test_ten_thousand_tiny_members_take_no_quadratic_time() -> None:
    assert unpack(gzip.compress(b"x") * 10_000, _encoded_as("gzip")).data == b"x" * 10_000


@each_encoding
def test_wrong_bytes_are_told(coding: str, encode: Callable[[bytes], bytes]) -> None:
    unpacked = unpack(b"\xff\x00garbage", _encoded_as(coding))
    assert unpacked.problem is not None
    assert unpacked.problem.startswith(coding)


@each_encoding
def test_plain_text_under_a_stale_header_is_taken_as_it_is(coding: str, encode: Callable[[bytes], bytes]) -> None:
    assert unpack(TEXT, _encoded_as(coding)).data == TEXT


def test_an_unknown_coding_is_told() -> None:
    assert unpack(b"abc", _encoded_as("lzma")).problem == "unknown content-encoding 'lzma'"


def test_identity_and_no_header_change_nothing() -> None:
    assert unpack(b"abc", ()).data == b"abc"
    assert unpack(b"abc", _encoded_as("identity")).data == b"abc"
    assert unpack(b"", _encoded_as("gzip")).problem is None
