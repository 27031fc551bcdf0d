"""One connection to the upstream: HTTP/1.1 over our own Protocol, parsed by llhttp (httptools).

Own, because aiohttp's client hangs for ever on a chunk that is invalid and costs four times the
CPU. One request at a time. Bytes go to the receiver in the read they came in; nothing is queued here. After
anything out of the ordinary a connection is closed, never used again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol, cast

import httptools

from watchllm_proxy.errors import UpstreamError
from watchllm_proxy.proxy.headers import MAX_LENGTH_DIGITS, Field
from watchllm_proxy.proxy.journal import report_bug
from watchllm_proxy.records import ExchangeEnd

MAX_HEAD_BYTES = 128 * 1024
"""Limit of one response head; the promise is 64 KiB."""


class Framing(Enum):
    """How the end of a response body is told."""

    NONE = auto()  # there is no body: HEAD, 204, 304
    LENGTH = auto()
    CHUNKED = auto()
    CLOSE = auto()  # the body ends when the connection does


class Receiver(Protocol):
    """Who is told of an answer. Ends with exactly one of `response_end` and `response_failed`."""

    def response_interim(self, status: int, reason: bytes, fields: list[Field]) -> None: ...
    def response_head(self, status: int, reason: bytes, fields: list[Field], framing: Framing) -> None: ...
    def response_body(self, chunk: bytes) -> None: ...
    def response_flush(self) -> None:
        """The bytes of one read are through: time to pass on what was gathered."""

    def response_end(self, trailers: list[Field]) -> None: ...
    def response_failed(self, error: UpstreamError) -> None: ...


class _Phase(Enum):
    IDLE = auto()
    HEAD = auto()
    INTERIM = auto()  # inside a 1xx
    BODY = auto()
    DONE = auto()


class _Surplus(Exception):
    """The upstream sent more than its answer, or something we did not ask for."""


class UpstreamConnection(asyncio.Protocol):
    """A connection and the one exchange on it.

    `closed` is called once when the connection is gone; `idle` when an answer is through and the connection is
    fit for another.
    """

    __slots__ = (
        "_closed",
        "_fields",
        "_framing",
        "_head_bytes",
        "_idle",
        "_is_head_request",
        "_is_reading_paused",
        "_is_reusable",
        "_parser",
        "_phase",
        "_reason",
        "_receiver",
        "_status",
        "_trailers",
        "_transport",
        "_writable",
        "idle_since_s",
        "is_request_sent",
        "last_read_s",
        "uses",
    )

    def __init__(
        self, *, idle: Callable[[UpstreamConnection], None], closed: Callable[[UpstreamConnection], None]
    ) -> None:
        self._idle = idle
        self._closed = closed
        self._transport: asyncio.Transport | None = None
        self._receiver: Receiver | None = None
        self._writable: asyncio.Future[None] | None = None
        self._is_reading_paused = False
        self._phase = _Phase.IDLE
        self.uses = 0
        self.idle_since_s = 0.0
        self.last_read_s = 0.0
        self._parser = httptools.HttpResponseParser(self)
        self._expect_head()

    # --- what a relay does -------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def has_answered(self) -> bool:
        """Any byte of an answer to the present request was read."""
        return self._head_bytes > 0 or self._phase is not _Phase.HEAD

    def begin(self, receiver: Receiver, *, is_head_request: bool) -> None:
        """Start an exchange. Set `is_request_sent` once all of the request is written."""
        self.uses += 1
        self._receiver = receiver
        self._is_head_request = is_head_request
        self.is_request_sent = False
        self.last_read_s = time.monotonic()
        self._expect_head()
        self._phase = _Phase.HEAD

    def write(self, parts: list[bytes]) -> None:
        if self._transport is not None:
            self._transport.write(b"".join(parts))

    async def drain(self) -> None:
        """Wait until the upstream takes more. A lost connection ends the wait; its receiver was told."""
        if self._writable is not None:
            await self._writable

    def pause_reading(self) -> None:
        if self._transport is not None and not self._is_reading_paused:
            self._is_reading_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._transport is not None and self._is_reading_paused:
            self._is_reading_paused = False
            self.last_read_s = time.monotonic()
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close at once; the receiver is told nothing more."""
        self._receiver = None
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio.Protocol --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def pause_writing(self) -> None:
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    def data_received(self, data: bytes) -> None:
        receiver = self._receiver
        if receiver is None:
            self.abort()  # bytes that nobody asked for
            return
        self.last_read_s = time.monotonic()
        if self._phase is _Phase.HEAD:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
            self._parser_gave_up(exc)
            return
        if self._phase is _Phase.DONE:
            self._complete()
        elif self._phase is _Phase.HEAD and self._head_bytes > MAX_HEAD_BYTES:
            self._fail(ExchangeEnd.UPSTREAM_INVALID, "the response head is too large")
        else:
            receiver.response_flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.resume_writing()
        if self._receiver is not None:
            if self._phase is _Phase.BODY and self._framing is Framing.CLOSE and exc is None:
                self._complete()
            elif self._phase is _Phase.BODY:
                self._fail(ExchangeEnd.UPSTREAM_BROKEN, "the connection was lost in the middle of the answer")
            else:
                self._fail(ExchangeEnd.UPSTREAM_INVALID, "the connection was closed without an answer")
        self._closed(self)

    # --- llhttp's callbacks; what they raise comes out of feed_data ----------------------------------

    def on_message_begin(self) -> None:
        if self._phase is _Phase.DONE:
            raise _Surplus

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        fields = self._trailers if self._phase is _Phase.BODY else self._fields
        fields.append((name, value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        status = self._status = self._parser.get_status_code()
        if 100 <= status < 200:
            self._phase = _Phase.INTERIM
            return
        if status < 100 or self._parser.get_http_version() not in {"1.1", "1.0"}:
            raise _Surplus
        self._framing = self._read_framing(status)
        # Until-close answers and HTTP/1.0 without keep-alive are told by llhttp; a HEAD's answer with a length
        # leaves it waiting for a body, so that connection is not used again.
        self._is_reusable = self._parser.should_keep_alive() and not self._is_head_request
        self._phase = _Phase.BODY
        self._told().response_head(status, self._reason, self._fields, self._framing)
        if self._is_head_request:
            self._phase = _Phase.DONE

    def on_body(self, chunk: bytes) -> None:
        if self._phase is not _Phase.BODY:
            raise _Surplus
        self._told().response_body(chunk)

    def on_message_complete(self) -> None:
        if self._phase is _Phase.INTERIM:
            self._interim_complete()
        else:
            self._phase = _Phase.DONE

    # --- inside ------------------------------------------------------------------------------------

    def _expect_head(self) -> None:
        self._status = 0
        self._reason = b""
        self._fields: list[Field] = []
        self._trailers: list[Field] = []
        self._framing = Framing.NONE
        self._head_bytes = 0
        self._is_reusable = False

    def _told(self) -> Receiver:
        """The receiver; within one read it can have given up already."""
        if self._receiver is None:
            raise _Surplus
        return self._receiver

    def _interim_complete(self) -> None:
        if self._status == 101:
            raise _Surplus  # we never ask for an upgrade
        self._told().response_interim(self._status, self._reason, self._fields)
        head_bytes = self._head_bytes
        self._expect_head()
        self._head_bytes = head_bytes  # the limit is for all heads of one answer
        self._phase = _Phase.HEAD

    def _read_framing(self, status: int) -> Framing:
        """RFC 9112 section 6.3. llhttp has refused repeated lengths, and a length beside a transfer coding."""
        framing = Framing.CLOSE
        for name, value in self._fields:
            lower = name.lower()
            if lower == b"content-length":
                if len(value) > MAX_LENGTH_DIGITS:
                    raise _Surplus  # zeros before it, which nobody sends who means well
                framing = Framing.LENGTH
            elif lower == b"transfer-encoding":
                if value.lower() != b"chunked":
                    raise _Surplus  # we could not undo it, and the client would not know
                framing = Framing.CHUNKED
        if self._is_head_request or status in {204, 304}:
            return Framing.NONE
        return framing

    def _complete(self) -> None:
        receiver, self._receiver = self._told(), None
        trailers = self._trailers
        if self._is_reusable and self.is_request_sent and self.is_open:
            self.resume_reading()
            self._phase = _Phase.IDLE
            self._idle(self)
        else:
            self.abort()
        receiver.response_end(trailers)

    def _parser_gave_up(self, exc: Exception) -> None:
        if exc.__context__ is not None and not isinstance(exc.__context__, _Surplus):
            report_bug(exc.__context__)  # a callback of ours raised
        if self._phase is _Phase.DONE:  # the answer was whole; what came behind it is not ours to judge
            self._is_reusable = False
            self._complete()
        elif self._phase is _Phase.BODY:
            self._fail(ExchangeEnd.UPSTREAM_BROKEN, f"bad framing in the answer: {_reason(exc)}")
        else:
            self._fail(ExchangeEnd.UPSTREAM_INVALID, f"not an HTTP/1.1 response head: {_reason(exc)}")

    def _fail(self, end: ExchangeEnd, detail: str) -> None:
        receiver = self._receiver
        self.abort()
        if receiver is not None:
            receiver.response_failed(UpstreamError(end, detail))


def _reason(exc: Exception) -> str:
    """llhttp's fixed words; never bytes of the upstream."""
    if isinstance(exc.__context__, _Surplus):
        return "more or other than was asked for"
    return str(exc) if isinstance(exc, httptools.HttpParserError) else "unasked-for upgrade"
