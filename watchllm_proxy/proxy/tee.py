"""A copy of both bodies as they pass, within limits; at the end, one `Exchange` for the capture log.

Nothing here can fail a request: over a limit bytes are counted, not kept; over the memory budget the exchange
is shed, and counted.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import Counter
from collections.abc import Mapping
from typing import Protocol
from uuid import UUID

from watchllm_proxy.outcomes import ShedReason
from watchllm_proxy.proxy.headers import Field
from watchllm_proxy.proxy.stripping import strip_headers, strip_target
from watchllm_proxy.records import Body, Exchange, ExchangeEnd

_CHUNK_OVERHEAD_BYTES = 64  # what a bytes object and its place in a list take beside its bytes

_BINARY_TYPES = (b"image/", b"audio/", b"video/", b"font/", b"multipart/")
_BINARY_APPLICATIONS = frozenset(
    (b"application/octet-stream", b"application/pdf", b"application/zip", b"application/gzip")
)


class CaptureLog(Protocol):
    """What the proxy needs of the capture log (capture.writer.LogWriter)."""

    accepted: int
    recovered: int
    unprotected: int
    bytes_on_disk: int

    @property
    def shed(self) -> Mapping[ShedReason, int]: ...

    def append(self, exchange: Exchange) -> ShedReason | None:
        """Never blocks, never raises; counts what it sheds."""


class CaptureBudget:
    """Memory for captures under way in this process, and how many were shed for the lack of it."""

    __slots__ = ("limit_bytes", "shed", "used_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self.shed: Counter[ShedReason] = Counter()


class BodyTee:
    """What is kept of one body. Past the limit (or for binary bodies from the start): size and SHA-256 only."""

    __slots__ = ("_chunks", "_expected_bytes", "_hash", "_kept_bytes", "_limit_bytes", "_size_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._chunks: list[bytes] = []
        self._kept_bytes = 0
        self._size_bytes = 0
        self._expected_bytes: int | None = None
        self._hash: hashlib._Hash | None = None

    def expect(self, size_bytes: int | None, content_type: bytes | None) -> None:
        """Told by the head. A long body is hashed from the start: hashing 16 MiB at once would stall the loop."""
        self._expected_bytes = size_bytes
        if content_type is not None and is_binary(content_type):
            self._limit_bytes = 0
        if self._limit_bytes == 0 or (size_bytes is not None and size_bytes > self._limit_bytes):
            self._hash = hashlib.sha256()

    def add(self, chunk: bytes) -> int:
        """Take a piece of the body; how much memory that took."""
        size_bytes = len(chunk)
        self._size_bytes += size_bytes
        room = self._limit_bytes - self._kept_bytes
        if size_bytes <= room and self._hash is None:
            self._chunks.append(chunk)
            self._kept_bytes += size_bytes
            return size_bytes + _CHUNK_OVERHEAD_BYTES
        if self._hash is not None:
            self._hash.update(chunk)
        elif len(chunk) > room:
            self._hash = hashlib.sha256(b"".join(self._chunks))
            self._hash.update(chunk)
        if room <= 0:
            return 0
        kept = chunk if len(chunk) <= room else chunk[:room]
        self._chunks.append(kept)
        self._kept_bytes += len(kept)
        return len(kept) + _CHUNK_OVERHEAD_BYTES

    def drop(self) -> None:
        self._chunks = []
        self._limit_bytes = self._kept_bytes = 0

    def body(self, *, is_whole: bool = True) -> Body:
        content = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        if not is_whole:
            return Body(content, max(self._size_bytes, self._expected_bytes or 0), is_partial=True)
        if self._hash is None or self._size_bytes == len(content):
            return Body(content, len(content))
        return Body(content, self._size_bytes, self._hash.hexdigest())


class Tee:
    """The capture of one exchange, from its head to its end."""

    __slots__ = (
        "_answered_ns",
        "_budget",
        "_client_address",
        "_first_byte_ns",
        "_is_shed",
        "_log",
        "_method",
        "_project_id",
        "_request",
        "_request_fields",
        "_response",
        "_response_fields",
        "_started_at_us",
        "_started_ns",
        "_status",
        "_target",
        "_used_bytes",
        "exchange_id",
    )

    def __init__(
        self,
        log: CaptureLog,
        budget: CaptureBudget,
        *,
        exchange_id: UUID,
        project_id: str,
        method: str,
        target: str,
        fields: tuple[Field, ...],
        client_address: str,
        body_limit_bytes: int,
        content_length: int | None,
    ) -> None:
        self._log = log
        self._budget = budget
        self._used_bytes = 0
        self._is_shed = False
        self.exchange_id = exchange_id
        self._project_id = project_id
        self._method = method
        self._target = target
        self._request_fields = fields
        self._client_address = client_address
        self._request = BodyTee(body_limit_bytes)
        self._request.expect(content_length, _value(fields, b"content-type"))
        self._response = BodyTee(body_limit_bytes)
        self._response_fields: list[Field] = []
        self._status: int | None = None
        self._started_at_us = time.time_ns() // 1000
        self._started_ns = time.monotonic_ns()
        self._first_byte_ns: int | None = None
        self._answered_ns: int | None = None

    def request_body(self, chunk: bytes) -> None:
        if not self._is_shed:
            self._account(self._request.add(chunk))

    def response_head(self, status: int, fields: list[Field]) -> None:
        self._status = status
        self._response_fields = fields
        length = _value(fields, b"content-length")
        self._response.expect(int(length) if length else None, _value(fields, b"content-type"))

    def response_body(self, chunk: bytes) -> None:
        if self._first_byte_ns is None:
            self._first_byte_ns = time.monotonic_ns()
        if not self._is_shed:
            self._account(self._response.add(chunk))

    def answered(self) -> None:
        """The exchange has ended, though the rest of its request may still come."""
        self._answered_ns = time.monotonic_ns()

    def finish(self, end: ExchangeEnd, error_detail: str | None, *, is_request_whole: bool = True) -> None:
        """Hand the exchange to the log, once. The budget's share is given back: the log counts its own."""
        self._budget.used_bytes -= self._used_bytes
        self._used_bytes = 0
        if self._is_shed:
            self._budget.shed[ShedReason.BUFFER_FULL] += 1
            return
        self._log.append(self._exchange(end, error_detail, is_request_whole=is_request_whole))

    def _account(self, taken_bytes: int) -> None:
        budget = self._budget
        budget.used_bytes += taken_bytes
        self._used_bytes += taken_bytes
        if budget.used_bytes > budget.limit_bytes:
            self._is_shed = True
            self._request.drop()
            self._response.drop()
            budget.used_bytes -= self._used_bytes
            self._used_bytes = 0

    def _exchange(self, end: ExchangeEnd, error_detail: str | None, *, is_request_whole: bool) -> Exchange:
        ended_ns = self._answered_ns or time.monotonic_ns()
        first_byte_ns = self._first_byte_ns
        return Exchange(
            exchange_id=self.exchange_id,
            project_id=self._project_id,
            method=self._method,
            target=strip_target(self._target),
            request_headers=strip_headers(self._request_fields),
            request_body=self._request.body(is_whole=is_request_whole),
            status=self._status,
            response_headers=strip_headers(self._response_fields),
            response_body=self._response.body(),
            end=end,
            started_at_us=self._started_at_us,
            first_byte_us=None if first_byte_ns is None else (first_byte_ns - self._started_ns) // 1000,
            duration_us=(ended_ns - self._started_ns) // 1000,
            client_address=self._client_address,
            error_detail=error_detail,
        )


def is_binary(content_type: bytes) -> bool:
    """Bodies that hold no text to look at. Multipart forms carry audio and images."""
    kind = content_type.partition(b";")[0].strip().lower()
    return kind.startswith(_BINARY_TYPES) or kind in _BINARY_APPLICATIONS


def new_exchange_id() -> UUID:
    """A UUIDv7 (RFC 9562): ordered by time, to the millisecond."""
    stamp_ms = time.time_ns() // 1_000_000
    chance = secrets.randbits(74)
    return UUID(int=stamp_ms << 80 | 0x7 << 76 | (chance >> 62) << 64 | 0b10 << 62 | (chance & ((1 << 62) - 1)))


def _value(fields: tuple[Field, ...] | list[Field], lower_name: bytes) -> bytes | None:
    for name, value in fields:
        if name.lower() == lower_name:
            return value
    return None
