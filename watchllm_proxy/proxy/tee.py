"""A copy of both bodies as they pass, within limits; at the end, one `Exchange` for the capture log.

Nothing here can fail a request: over a limit bytes are counted, not kept; over the memory budget the exchange
is shed, and counted. Long before that, what lasts or grows goes to the disk (docs/decisions/0116).
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol
from uuid import UUID

from watchllm_proxy.outcomes import CaptureCounts, ShedReason
from watchllm_proxy.proxy.headers import Field
from watchllm_proxy.proxy.stripping import strip_headers, strip_target
from watchllm_proxy.records import Body, Exchange, ExchangeEnd

_CHUNK_OVERHEAD_BYTES = 64  # what a bytes object and its place in a list take beside its bytes

CALM_BYTES = 8 * 1024 * 1024
"""While all captures under way take less memory than this, nothing goes to the disk before its time."""

SPILLED_BYTES = 16 * 1024
"""A body that holds this much goes there with the next sweep, about a second later at most..."""

SPILLED_AT_ONCE_BYTES = 256 * 1024
"""...and at once with this much."""

_BINARY_TYPES = (b"image/", b"audio/", b"video/", b"font/", b"multipart/")
_BINARY_APPLICATIONS = frozenset(
    (b"application/octet-stream", b"application/pdf", b"application/zip", b"application/gzip")
)


class Spill(Protocol):
    """The beginning of a body, on disk (capture.spill.Spill)."""

    @property
    def path(self) -> Path: ...
    @property
    def written_bytes(self) -> int: ...
    @property
    def failure(self) -> ShedReason | None: ...
    def add(self, chunks: list[bytes], memory_bytes: int) -> None: ...
    def seal(self) -> list[bytes]: ...
    def unwritten(self) -> list[bytes]: ...


class CaptureLog(Protocol):
    """What the proxy needs of the capture log (capture.writer.LogWriter)."""

    @property
    def bytes_on_disk(self) -> int: ...

    def counts_of_all(self) -> CaptureCounts:
        """What became of the captures of all workers, since their logs exist. Blocks: for a thread."""

    def append(self, exchange: Exchange, spills: tuple[Spill | None, Spill | None]) -> ShedReason | None:
        """Never blocks, never raises; counts what it sheds. `spills`: beginnings of request and response body."""

    def hold(self, exchange: Exchange, spills: tuple[Spill | None, Spill | None]) -> None:
        """What a kill of the process leaves of an exchange that `append` or `release` comes for."""

    def release(self, exchange_id: UUID) -> None: ...

    def spill(self, released: Callable[[int], None]) -> Spill:
        """For `append`, or `discard`. `released` hears of memory that is free again."""

    def discard(self, *spills: Spill) -> None: ...

    def give_up(self, reason: ShedReason) -> ShedReason:
        """Count an exchange that is shed before it gets to the log."""


class CaptureBudget:
    """Memory for captures under way in this process: past `calm_bytes` they go to the disk, past the limit they
    are shed."""

    __slots__ = ("calm_bytes", "limit_bytes", "used_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.calm_bytes = min(CALM_BYTES, limit_bytes // 2)
        self.used_bytes = 0


class BodyTee:
    """What is kept of one body. Past the limit (or for binary bodies from the start): size and SHA-256 only."""

    __slots__ = (
        "_chunks",
        "_expected_bytes",
        "_hash",
        "_kept_bytes",
        "_limit_bytes",
        "_size_bytes",
        "held_bytes",
        "spill",
    )

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._chunks: list[bytes] = []
        self._kept_bytes = 0
        self._size_bytes = 0
        self._expected_bytes: int | None = None
        self._hash: hashlib._Hash | None = None
        self.held_bytes = 0  # of memory, chunks' overhead included
        self.spill: Spill | None = None

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
            self.held_bytes += size_bytes + _CHUNK_OVERHEAD_BYTES
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
        self.held_bytes += len(kept) + _CHUNK_OVERHEAD_BYTES
        return len(kept) + _CHUNK_OVERHEAD_BYTES

    def drop(self) -> None:
        self._chunks = []
        self.spill = None
        self._limit_bytes = self._kept_bytes = self.held_bytes = 0

    def to_disk(self, spill: Spill) -> None:
        """Hand what is held over to `spill`, the same one each time. From now on the body is hashed as it comes:
        should it pass its limit, its beginning is not here any more."""
        self.spill = spill
        if self._hash is None:
            self._hash = hashlib.sha256()
            for chunk in self._chunks:
                self._hash.update(chunk)
        chunks, self._chunks = self._chunks, []
        held_bytes, self.held_bytes = self.held_bytes, 0
        spill.add(chunks, held_bytes)

    def body(self, *, is_whole: bool = True) -> Body:
        """The body, but for what `spill` has written: `content` is what comes behind that."""
        chunks = self._chunks if self.spill is None else self.spill.unwritten() + self._chunks
        content = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        if not is_whole:
            return Body(content, max(self._size_bytes, self._expected_bytes or 0), is_partial=True)
        if self._hash is None or self._size_bytes == self._kept_bytes:
            return Body(content, self._size_bytes)
        return Body(content, self._size_bytes, self._hash.hexdigest())


class Tee:
    """The capture of one exchange, from its head to its end."""

    __slots__ = (
        "_answered_ns",
        "_budget",
        "_client_address",
        "_first_byte_ns",
        "_log",
        "_method",
        "_request",
        "_request_fields",
        "_response",
        "_response_fields",
        "_shed",
        "_started_at_us",
        "_started_ns",
        "_status",
        "_target",
        "_used_bytes",
        "exchange_id",
        "project_id",
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
        self._shed: ShedReason | None = None
        self.exchange_id = exchange_id
        self.project_id = project_id
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
        if self._shed is None:
            self._account(self._request.add(chunk))

    def response_head(self, status: int, fields: list[Field]) -> None:
        self._status = status
        self._response_fields = fields
        length = _value(fields, b"content-length")
        self._response.expect(int(length) if length else None, _value(fields, b"content-type"))

    def response_body(self, chunk: bytes) -> None:
        if self._first_byte_ns is None:
            self._first_byte_ns = time.monotonic_ns()
        if self._shed is None:
            self._account(self._response.add(chunk))

    def answer_field(self, lower_name: bytes) -> bytes | None:
        """Of the answer's head; None while there is none."""
        return _value(self._response_fields, lower_name)

    def hold(self, end: ExchangeEnd, error_detail: str | None) -> None:
        """The exchange has ended, though the rest of its request may still come. `finish` follows."""
        self._answered_ns = time.monotonic_ns()
        if self._shed is None:
            self._log.hold(self._exchange(end, error_detail, is_request_whole=False), self._spills)

    def finish(self, end: ExchangeEnd, error_detail: str | None, *, is_request_whole: bool = True) -> None:
        """Hand the exchange to the log, once. The budget's share is given back: the log counts its own."""
        self._release(self._used_bytes)
        self._notice_failure()
        if self._shed is not None:
            if self._answered_ns is not None:
                self._log.release(self.exchange_id)
            self._log.give_up(self._shed)
            return
        exchange = self._exchange(end, error_detail, is_request_whole=is_request_whole)
        for spill in self._spills:
            if spill is not None:
                spill.seal()
        self._log.append(exchange, self._spills)

    def relieve_memory(self) -> None:
        """What has waited since the last sweep goes to the disk, unless there is memory to spare."""
        if self._budget.used_bytes > self._budget.calm_bytes:
            self._spill(SPILLED_BYTES)

    @property
    def _spills(self) -> tuple[Spill | None, Spill | None]:
        return self._request.spill, self._response.spill

    def _account(self, taken_bytes: int) -> None:
        budget = self._budget
        budget.used_bytes += taken_bytes
        self._used_bytes += taken_bytes
        if budget.used_bytes > budget.limit_bytes:
            self._give_up(ShedReason.BUFFER_FULL)
        elif budget.used_bytes > budget.calm_bytes:
            self._spill(SPILLED_AT_ONCE_BYTES)

    def _spill(self, least_bytes: int) -> None:
        for body in (self._request, self._response):
            if body.held_bytes >= least_bytes:
                body.to_disk(body.spill or self._log.spill(self._release))
        self._notice_failure()

    def _notice_failure(self) -> None:
        for body in (self._request, self._response):
            if body.spill is not None and body.spill.failure is not None:
                self._give_up(body.spill.failure)

    def _give_up(self, reason: ShedReason) -> None:
        """Counted when the exchange ends."""
        self._shed = reason
        for body in (self._request, self._response):
            if body.spill is not None:
                self._log.discard(body.spill)
            body.drop()
        self._release(self._used_bytes)

    def _release(self, memory_bytes: int) -> None:
        self._budget.used_bytes -= memory_bytes
        self._used_bytes -= memory_bytes

    def _exchange(self, end: ExchangeEnd, error_detail: str | None, *, is_request_whole: bool) -> Exchange:
        ended_ns = self._answered_ns or time.monotonic_ns()
        first_byte_ns = self._first_byte_ns
        return Exchange(
            exchange_id=self.exchange_id,
            project_id=self.project_id,
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
