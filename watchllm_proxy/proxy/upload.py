"""The request of one exchange on its way up: in one write, or as it arrives; held to be sent again; copied."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from dataclasses import dataclass

from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from watchllm_proxy.proxy import answers
from watchllm_proxy.proxy.answers import Refusal
from watchllm_proxy.proxy.client import LINGER_S, ClientConnection
from watchllm_proxy.proxy.headers import RequestHead
from watchllm_proxy.proxy.metrics import Counters
from watchllm_proxy.proxy.tee import Tee
from watchllm_proxy.proxy.upstream import UpstreamConnection

MAX_HELD_BYTES = 1024 * 1024
"""A request body up to this size is held until the upstream answers, so that it can be sent a second time."""

STALE_WINDOW_S = 1.0
"""A reused connection that closes within this time of our request was closing already: the request can go out
again. Later the upstream may have begun to work on it, and a second one could cost a second time."""

BODY_TOTAL_FACTOR = 20
"""The whole request body may take this many times the limit between two of its pieces."""

REST_S = 30.0
"""How long the rest of a request is read that was answered before it was here: nginx' lingering_time. Between two
pieces of it `LINGER_S` at most, which is nginx' lingering_timeout."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The deadlines of an exchange, in seconds, and the size of its request body."""

    first_byte_s: float
    idle_s: float
    body_progress_s: float
    max_body_bytes: int


class Upload:
    """See the module. What arrives is taken once, whichever way it is read: copied, counted, held.

    `is_late` and `is_stalled` tell `Relay.sweep` which side keeps the other waiting.
    """

    __slots__ = (
        "_body_deadline_s",
        "_client",
        "_content",
        "_counters",
        "_head",
        "_held",
        "_holds",
        "_is_asked_for",
        "_limits",
        "_received_bytes",
        "_request_bytes",
        "_stall_deadline_s",
        "_started_s",
        "_total_deadline_s",
        "tee",
    )

    def __init__(
        self,
        request: web.BaseRequest,
        client: ClientConnection,
        head: RequestHead,
        request_bytes: bytes,
        *,
        limits: Limits,
        counters: Counters,
        tee: Tee | None,
        started_s: float,
    ) -> None:
        self._content = request.content
        self._client = client
        self._head = head
        self._request_bytes = request_bytes
        self._limits = limits
        self._counters = counters
        self.tee = tee
        self._started_s = started_s
        self._held: list[bytes] = []
        self._holds = True  # all that was received
        self._received_bytes = 0
        self._is_asked_for = not head.expects_continue
        self._body_deadline_s = math.inf
        self._total_deadline_s = math.inf
        self._stall_deadline_s = math.inf

    @property
    def is_here(self) -> bool:
        """All of the request has arrived, read or not."""
        return self._content.is_eof()

    @property
    def can_go_at_once(self) -> bool:
        return self._content.is_eof() and not self._held

    @property
    def is_taken(self) -> bool:
        """All of the request has arrived and was read."""
        return self._content.at_eof() and self._content.exception() is None

    @property
    def is_long(self) -> bool:
        """Too long to be held, so it must not meet a connection that is about to close."""
        return (self._head.content_length or 0) > MAX_HELD_BYTES

    @property
    def is_coming(self) -> bool:
        """More of the body is to be expected. Not so from a client that waits to be asked for it."""
        return not self.is_here and self._is_asked_for and self._content.exception() is None

    def may_be_repeated(self, upstream: UpstreamConnection) -> bool:
        """The request may go out again, since `upstream` cannot have begun to work on it."""
        is_fresh_failure = time.monotonic() - upstream.last_read_s < STALE_WINDOW_S
        return upstream.uses > 1 and not upstream.has_answered and self._holds and is_fresh_failure

    def is_late(self, now_s: float) -> bool:
        """The client keeps us waiting for the body."""
        return now_s > self._body_deadline_s or now_s > self._total_deadline_s

    def is_stalled(self, now_s: float) -> bool:
        """The upstream takes no more of it."""
        return now_s > self._stall_deadline_s

    def let_go(self) -> None:
        """It will not be sent a second time."""
        self._holds = False
        self._held = []

    # --- up ------------------------------------------------------------------------------------------

    def send_whole(self, upstream: UpstreamConnection) -> None:
        """All of the request is here, as nearly always: head and body go out in one write. Raises `Refusal`."""
        body = self._content.read_nowait()
        if not body:
            parts = [self._request_bytes, b"0\r\n\r\n"] if self._head.is_chunked else [self._request_bytes]
        elif self._head.is_chunked:
            parts = [self._request_bytes, b"%x\r\n" % len(body), body, b"\r\n0\r\n\r\n"]
        else:
            parts = [self._request_bytes, body]
        if body:
            self._take(body)
        upstream.is_request_sent = True
        upstream.write(parts)
        self._counters.observe_overhead(time.monotonic() - self._started_s)

    async def send_as_it_arrives(self, upstream: UpstreamConnection) -> None:
        """At the pace of the slower side. Raises `Refusal`, or the `ConnectionError` of a client that is gone."""
        self._total_deadline_s = time.monotonic() + BODY_TOTAL_FACTOR * self._limits.body_progress_s
        if not self._is_asked_for:
            self._is_asked_for = True
            self._client.send([answers.CONTINUE])
        upstream.write([self._request_bytes])
        for chunk in self._held:
            await self._write(upstream, chunk)
        while chunk := await self._read():
            self._take(chunk)
            await self._write(upstream, chunk)
        self._total_deadline_s = math.inf
        upstream.is_request_sent = True
        upstream.last_read_s = time.monotonic()  # the upstream's time for its answer begins now
        if self._head.is_chunked:
            upstream.write([b"0\r\n\r\n"])

    async def _read(self) -> bytes:
        self._body_deadline_s = time.monotonic() + self._limits.body_progress_s
        chunk = await self._content.readany()
        self._body_deadline_s = math.inf
        return chunk

    async def _write(self, upstream: UpstreamConnection, chunk: bytes) -> None:
        upstream.write([b"%x\r\n" % len(chunk), chunk, b"\r\n"] if self._head.is_chunked else [chunk])
        self._stall_deadline_s = time.monotonic() + self._limits.idle_s
        await upstream.drain()
        self._stall_deadline_s = math.inf

    def _take(self, chunk: bytes) -> None:
        """Copy, count and hold a piece of the body. Raises `Refusal` once it is over the limit."""
        self._received_bytes += len(chunk)
        self._counters.request_bytes += len(chunk)
        if self.tee is not None:
            self.tee.request_body(chunk)
        if self._received_bytes > self._limits.max_body_bytes:
            raise Refusal(answers.body_too_large(self._limits.max_body_bytes))
        if not self._holds:
            return
        if self._received_bytes <= MAX_HELD_BYTES:
            self._held.append(chunk)
        else:
            self.let_go()

    # --- into the capture alone ------------------------------------------------------------------------

    def take_what_came(self) -> None:
        """The exchange ends: what is here of the body and was not asked for is captured all the same."""
        if self._content.exception() is not None:
            return
        with contextlib.suppress(Refusal, RuntimeError):  # aiohttp's for: somebody waits here, so nothing came
            if chunk := self._content.read_nowait():
                self._take(chunk)

    async def take_rest(self) -> None:
        """Read on after the answer: the capture wants to know what was asked.

        And a connection that is closed on unread bytes is reset: the client would lose the answer it is about to
        read. Ends with the body, with its client, or at a limit of size or time.
        """
        until_s = time.monotonic() + REST_S
        with contextlib.suppress(TimeoutError, Refusal, OSError, RequestPayloadError):
            while (left_s := until_s - time.monotonic()) > 0:
                async with asyncio.timeout(min(left_s, LINGER_S)):
                    chunk = await self._content.readany()
                if not chunk:
                    break
                self._take(chunk)
