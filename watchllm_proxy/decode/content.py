"""Content encodings: from the bytes on the wire to the bytes that were meant.

Bodies come from strangers: a few kilobytes may unpack to gigabytes. Output is made in small steps and stopped
at a size cap, or at a ratio that no conversation reaches.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator

import brotli  # type: ignore[import-untyped]  # it ships no stubs
import zstandard

from watchllm_proxy.records import Headers, record

MAX_UNPACKED_BYTES = 64 * 1024 * 1024
MAX_RATIO = 400
"""Output over input, once the output is past 4 MiB. Event streams stay below 100; a bomb has 1,000 or more."""

_RATIO_COUNTS_FROM_BYTES = 4 * 1024 * 1024
_STEP_BYTES = 256 * 1024
_SLICE_BYTES = 16 * 1024
_BROTLI_SLICE_BYTES = 1024


@record
class Unpacked:
    """`problem` says why `data` is not, or not all of, what was meant; a cut at the end is no problem."""

    data: bytes
    problem: str | None = None


class _Unpackable(Exception):
    """This coding's bytes are wrong from some point on."""


def unpack(content: bytes, headers: Headers) -> Unpacked:
    """Undo the content codings that the headers name, the last one first.

    A body that ends early gives what it holds. A body in another form than its header says gives its bytes
    as they are when they look like text (some recorders and proxies leave a stale header behind).
    """
    for coding in reversed(_codings(headers)):
        opener = _OPENERS.get(coding)
        if opener is None:
            return Unpacked(b"", f"unknown content-encoding {coding[:40]!r}")
        if not content:
            return Unpacked(b"")
        unpacked = _collect(coding, opener(content), len(content))
        if unpacked.problem and not unpacked.data and content[:1] in b'{["dei:' + b" \r\n":
            return Unpacked(content)
        if unpacked.problem:
            return unpacked
        content = unpacked.data
    return Unpacked(content)


_LENGTH = len("content-encoding")  # told at once, and nearly all others are of another


def _codings(headers: Headers) -> list[str]:
    listed = ",".join(
        [value for name, value in headers if len(name) == _LENGTH and name.lower() == "content-encoding"]
    )
    if not listed:
        return []
    return [coding for item in listed.split(",") if (coding := item.strip().lower()) not in ("", "identity")]


def _collect(coding: str, pieces: Iterator[bytes], packed_bytes: int) -> Unpacked:
    held: list[bytes] = []
    size = 0
    try:
        for piece in pieces:
            size += len(piece)
            if size > MAX_UNPACKED_BYTES:
                return Unpacked(b"", f"{coding}: unpacks to more than {MAX_UNPACKED_BYTES >> 20} MiB")
            if size > _RATIO_COUNTS_FROM_BYTES and size > MAX_RATIO * packed_bytes:
                return Unpacked(b"", f"{coding}: unpacks to more than {MAX_RATIO} times its size")
            held.append(piece)
    except _Unpackable as error:
        return Unpacked(b"".join(held), f"{coding}: {error}")
    return Unpacked(b"".join(held))


def _gzip(content: bytes) -> Iterator[bytes]:
    """One or more gzip members; zero padding after a member is allowed."""
    return _inflate(content, zlib.MAX_WBITS | 16)


def _deflate(content: bytes) -> Iterator[bytes]:
    """RFC 9110 means zlib's format; some servers send raw deflate, and clients take both."""
    is_zlib = len(content) < 2 or (content[0] & 0x0F == 8 and int.from_bytes(content[:2], "big") % 31 == 0)
    return _inflate(content, zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)


def _inflate(content: bytes, window_bits: int) -> Iterator[bytes]:
    """In slices: zlib hands back what it has not used by copying it, which over a whole body is quadratic."""
    decoder = zlib.decompressobj(window_bits)
    try:
        for start in range(0, len(content), _SLICE_BYTES):
            rest = content[start : start + _SLICE_BYTES]
            while rest:
                if decoder.eof:
                    rest = rest.lstrip(b"\0")
                    decoder = zlib.decompressobj(window_bits)
                yield decoder.decompress(rest, _STEP_BYTES)
                rest = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
        if not decoder.eof:
            yield decoder.flush()
    except zlib.error as error:
        raise _Unpackable(str(error)) from None


def _brotli(content: bytes) -> Iterator[bytes]:
    """In small slices: the library gives the output of a cut stream only up to where a call's input began."""
    decoder = brotli.Decompressor()
    try:
        for start in range(0, len(content), _BROTLI_SLICE_BYTES):
            if decoder.is_finished():
                raise _Unpackable("bytes after the end")
            yield decoder.process(content[start : start + _BROTLI_SLICE_BYTES], output_buffer_limit=_STEP_BYTES)
            while not decoder.can_accept_more_data():
                yield decoder.process(b"", output_buffer_limit=_STEP_BYTES)
    except brotli.error as error:
        raise _Unpackable(str(error)) from None


def _zstd(content: bytes) -> Iterator[bytes]:
    reader = zstandard.ZstdDecompressor(max_window_size=MAX_UNPACKED_BYTES).stream_reader(
        io.BytesIO(content), read_across_frames=True
    )
    try:
        while piece := reader.read(_STEP_BYTES):
            yield piece
    except zstandard.ZstdError as error:
        raise _Unpackable(str(error)) from None


_OPENERS: dict[str, Callable[[bytes], Iterator[bytes]]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
