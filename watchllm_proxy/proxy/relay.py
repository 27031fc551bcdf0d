"""One exchange under way: the request goes up, the answer comes down, both as they arrive; it ends exactly once.

Driven from three sides, all on the loop's thread, none of which waits for another: the handler's coroutine
(`run`), the upstream's connection (`response_*`), the client's connection (`client_*`); and `sweep`, which
enforces every deadline. Whoever is first to end the exchange calls `_finish`; the rest finds it ended.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from watchllm_proxy.errors import UpstreamError
from watchllm_proxy.proxy import answers
from watchllm_proxy.proxy.answers import Answer
from watchllm_proxy.proxy.client import ENDS, GOES_ON, ClientConnection, Written
from watchllm_proxy.proxy.headers import Field, RequestHead, encode_response
from watchllm_proxy.proxy.journal import report_bug
from watchllm_proxy.proxy.metrics import Counters
from watchllm_proxy.proxy.pool import OutOfDescriptors, Pool
from watchllm_proxy.proxy.tee import Tee
from watchllm_proxy.proxy.upstream import Framing, UpstreamConnection
from watchllm_proxy.records import ExchangeEnd

MAX_HELD_BYTES = 1024 * 1024
"""A request body up to this size is held until the upstream answers, so that it can be sent a second time."""

STALE_WINDOW_S = 1.0
"""A reused connection that closes within this time of our request was closing already: the request can go out
again. Later the upstream may have begun to work on it, and a second one could cost a second time."""

BODY_TOTAL_FACTOR = 20
"""The whole request body may take this many times the limit between two of its pieces."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The deadlines of an exchange, in seconds, and the size of its request body."""

    first_byte_s: float
    idle_s: float
    body_progress_s: float
    max_body_bytes: int


class Relay:
    """See the module. `end` is None while the exchange is under way."""

    __slots__ = (
        "_body_deadline_s",
        "_body_total_deadline_s",
        "_client",
        "_client_stall_s",
        "_counters",
        "_failure",
        "_framing",
        "_has_answer_begun",
        "_head",
        "_held",
        "_held_bytes",
        "_is_chunked_out",
        "_is_head_request",
        "_is_http_10",
        "_is_last",
        "_limits",
        "_out",
        "_over",
        "_pool",
        "_received_bytes",
        "_request",
        "_request_bytes",
        "_started_s",
        "_tee",
        "_upstream",
        "_upstream_stall_s",
        "detail",
        "end",
        "request_id",
    )

    def __init__(
        self,
        request: web.BaseRequest,
        client: ClientConnection,
        head: RequestHead,
        request_bytes: bytes,
        *,
        pool: Pool,
        failure: Callable[[ExchangeEnd], Answer],
        limits: Limits,
        counters: Counters,
        request_id: str,
        tee: Tee | None,
        started_s: float,
        is_last: bool,
    ) -> None:
        self._request = request
        self._client = client
        self._head = head
        self._request_bytes = request_bytes
        self._pool = pool
        self._failure = failure
        self._limits = limits
        self._counters = counters
        self.request_id = request_id
        self._tee = tee
        self._started_s = started_s
        self._is_last = is_last
        self._is_head_request = request.method == "HEAD"
        self._is_http_10 = request.version < (1, 1)
        self._upstream: UpstreamConnection | None = None
        self._over: asyncio.Future[None] | None = None
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._received_bytes = 0
        self._out: list[bytes] = []
        self._framing = Framing.NONE
        self._is_chunked_out = False
        self._has_answer_begun = False
        self._body_deadline_s = math.inf
        self._body_total_deadline_s = math.inf
        self._upstream_stall_s = math.inf
        self._client_stall_s = math.inf
        self.end: ExchangeEnd | None = None
        self.detail: str | None = None

    # --- the request's way up ------------------------------------------------------------------------

    async def run(self) -> Written:
        """Carry the exchange to its end. Cancelled with the client's connection."""
        self._client.relay = self
        try:
            upstream = None if self._is_long else self._pool.take()
            while self.end is None:
                if upstream is None:
                    upstream = await self._pool.connect()
                await self._attempt(upstream)
                upstream = None  # a second attempt takes a fresh connection, and is the last
        except UpstreamError as error:
            self._take_what_came()
            self._finish_failed(error)
        except asyncio.CancelledError:
            self.client_gone()
            raise
        finally:
            self._client.relay = None
            if self.end is None:
                self._finish(ExchangeEnd.CLIENT_ABORTED, "the proxy failed")
        return ENDS if self._is_last else GOES_ON

    @property
    def _is_long(self) -> bool:
        """Too long to be held, so it must not meet a connection that is about to close."""
        return (self._head.content_length or 0) > MAX_HELD_BYTES

    async def _attempt(self, upstream: UpstreamConnection) -> None:
        """Send the request on one connection and wait until that has led to an end, or to another attempt."""
        loop = asyncio.get_running_loop()
        self._upstream = upstream
        self._over = loop.create_future()
        upstream.begin(self, is_head_request=self._is_head_request)
        if self._request.content.is_eof() and not self._held:
            self._send_whole(upstream)
            await self._over
            return
        upload = loop.create_task(self._upload(upstream))
        try:
            await self._over
        finally:
            upload.cancel()
            await asyncio.wait([upload])

    def _send_whole(self, upstream: UpstreamConnection) -> None:
        """All of the request is here, as nearly always: head and body go out in one write."""
        body = self._request.content.read_nowait()
        if not body:
            parts = [self._request_bytes, b"0\r\n\r\n"] if self._head.is_chunked else [self._request_bytes]
        elif self._head.is_chunked:
            parts = [self._request_bytes, b"%x\r\n" % len(body), body, b"\r\n0\r\n\r\n"]
        else:
            parts = [self._request_bytes, body]
        if body and not self._take_body(body):
            return
        upstream.is_request_sent = True
        upstream.write(parts)
        self._counters.observe_overhead(time.monotonic() - self._started_s)

    async def _upload(self, upstream: UpstreamConnection) -> None:
        """Send a request whose body is still arriving. Raises nothing: its failures end the exchange."""
        try:
            await self._send_as_it_arrives(upstream)
        except ConnectionError:
            self.client_gone()
        except Exception as exc:
            report_bug(exc, exchange_id=self.request_id)
            self._refuse(answers.INTERNAL, "the proxy failed")

    async def _send_as_it_arrives(self, upstream: UpstreamConnection) -> None:
        """At the pace of the slower side."""
        now_s = time.monotonic()
        self._body_total_deadline_s = now_s + BODY_TOTAL_FACTOR * self._limits.body_progress_s
        if self._head.expects_continue and not self._received_bytes:
            self._client.send([answers.CONTINUE])
        upstream.write([self._request_bytes])
        for chunk in self._held:
            await self._write_body(upstream, chunk)
        content = self._request.content
        while True:
            self._body_deadline_s = time.monotonic() + self._limits.body_progress_s
            chunk = await content.readany()
            self._body_deadline_s = math.inf
            if not chunk:
                break
            if not self._take_body(chunk):
                return
            await self._write_body(upstream, chunk)
        self._body_total_deadline_s = math.inf
        upstream.is_request_sent = True
        upstream.last_read_s = time.monotonic()  # the upstream's time for its answer begins now
        if self._head.is_chunked:
            upstream.write([b"0\r\n\r\n"])

    async def _write_body(self, upstream: UpstreamConnection, chunk: bytes) -> None:
        upstream.write([b"%x\r\n" % len(chunk), chunk, b"\r\n"] if self._head.is_chunked else [chunk])
        self._upstream_stall_s = time.monotonic() + self._limits.idle_s
        await upstream.drain()
        self._upstream_stall_s = math.inf

    def _take_body(self, chunk: bytes) -> bool:
        """Count, copy and hold a piece of the request body; False once it is over the limit, and refused."""
        self._received_bytes += len(chunk)
        self._counters.request_bytes += len(chunk)
        if self._received_bytes > self._limits.max_body_bytes:
            self._refuse(answers.body_too_large(self._limits.max_body_bytes), "the request body is over the limit")
            return False
        if self._tee is not None:
            self._tee.request_body(chunk)
        if self._received_bytes <= MAX_HELD_BYTES:
            self._held.append(chunk)
            self._held_bytes += len(chunk)
        else:
            self._held = []
        return True

    def _take_what_came(self) -> None:
        """No connection, so nobody asked for the body: what is here of it is captured all the same."""
        content = self._request.content
        if not self._received_bytes and content.exception() is None and (chunk := content.read_nowait()):
            self._take_body(chunk)

    # --- the answer's way down (upstream.Receiver) ------------------------------------------------------

    def response_interim(self, status: int, reason: bytes, fields: list[Field]) -> None:
        """A 1xx. 100 is ours to send (RFC 9110 section 15.2); the others are for the client."""
        if status != 100 and not self._is_http_10:
            self._out.append(encode_response(status, reason, fields))

    def response_head(self, status: int, reason: bytes, fields: list[Field], framing: Framing) -> None:
        self._has_answer_begun = True
        self._held = []
        self._framing = framing
        # A body without a length gets chunks, so that a cut can be seen; HTTP/1.0 knows none.
        self._is_chunked_out = framing in _CHUNKED_OUT and not self._is_http_10
        self._counters.count_response(status)
        if self._tee is not None:
            self._tee.response_head(status, fields)
        if not self._request.content.is_eof():
            self._is_last = True  # answered before the request was whole
        self._out.append(encode_response(status, reason, fields, own=self._own_fields()))

    def response_body(self, chunk: bytes) -> None:
        self._counters.response_bytes += len(chunk)
        if self._tee is not None:
            self._tee.response_body(chunk)
        if self._is_chunked_out:
            self._out += (b"%x\r\n" % len(chunk), chunk, b"\r\n")
        else:
            self._out.append(chunk)

    def response_flush(self) -> None:
        out = self._out
        if out:
            self._out = []
            self._client.send(out)

    def response_end(self, trailers: list[Field]) -> None:
        if self._is_chunked_out:
            self._out.append(b"0\r\n" + b"".join(b"%s: %s\r\n" % field for field in trailers) + b"\r\n")
        self._upstream = None
        self._finish(ExchangeEnd.COMPLETE, None)

    def response_failed(self, error: UpstreamError) -> None:
        if self._can_retry():
            self._upstream = None
            self._counters.stale_retries += 1
            self._wake()
        else:
            self._finish_failed(error)

    def _own_fields(self) -> list[Field]:
        fields = [(answers.REQUEST_ID_HEADER, self.request_id.encode())]
        if self._head.run_id is not None and self._tee is not None:
            fields.append((answers.RUN_ID_HEADER, self._head.run_id))
        if self._is_chunked_out:
            fields.append((b"Transfer-Encoding", b"chunked"))
        self._is_last = self._is_last or self._is_http_10 or self._client.is_ending
        if self._is_last:
            fields.append((b"Connection", b"close"))
        return fields

    # --- the client's connection (client.Exchanging) ----------------------------------------------------

    def client_gone(self) -> None:
        self._is_last = True
        self._finish(ExchangeEnd.CLIENT_ABORTED, "the client closed its connection")

    def client_paused(self) -> None:
        """The client reads slower than the upstream sends: stop reading there until it has caught up."""
        self._client_stall_s = time.monotonic() + self._limits.idle_s
        if self._upstream is not None:
            self._upstream.pause_reading()

    def client_resumed(self) -> None:
        self._client_stall_s = math.inf
        if self._upstream is not None:
            self._upstream.resume_reading()

    def client_body_broken(self) -> None:
        self._refuse(answers.BAD_BODY, "the framing of the request body is broken")

    # --- deadlines -------------------------------------------------------------------------------------

    def sweep(self, now_s: float) -> None:
        """End the exchange if one of its waits is over its limit. Called about once a second."""
        upstream = self._upstream
        if self._client.has_left_unseen():
            self.client_gone()
        elif now_s > self._client_stall_s:
            self._finish(ExchangeEnd.CLIENT_ABORTED, "the client stopped reading")
        elif now_s > self._body_deadline_s or now_s > self._body_total_deadline_s:
            self._refuse(answers.BODY_TIMEOUT, "the request body stopped arriving")
        elif now_s > self._upstream_stall_s:
            self._finish_failed(UpstreamError(ExchangeEnd.UPSTREAM_STALLED, "the upstream stopped reading"))
        elif upstream is not None and self._client_stall_s == math.inf:
            self._sweep_upstream(upstream, now_s)

    def _sweep_upstream(self, upstream: UpstreamConnection, now_s: float) -> None:
        silent_s = now_s - upstream.last_read_s
        if self._has_answer_begun:
            if silent_s > self._limits.idle_s:
                self._finish_failed(
                    UpstreamError(ExchangeEnd.UPSTREAM_STALLED, "silent in the middle of an answer")
                )
        elif upstream.is_request_sent and silent_s > self._limits.first_byte_s:
            self._finish_failed(UpstreamError(ExchangeEnd.UPSTREAM_TIMEOUT, "no answer within the time limit"))

    def cut(self, detail: str) -> None:
        """The proxy stops and waits no longer."""
        self._is_last = True
        if self.end is None and not self._has_answer_begun:
            self._answer(answers.STOPPING)
        self._finish(ExchangeEnd.CLIENT_ABORTED, detail)

    # --- the end ---------------------------------------------------------------------------------------

    def _can_retry(self) -> bool:
        upstream = self._upstream
        if upstream is None:
            return False
        is_held = self._held_bytes == self._received_bytes and self._received_bytes <= MAX_HELD_BYTES
        is_fresh_failure = time.monotonic() - upstream.last_read_s < STALE_WINDOW_S
        return upstream.uses > 1 and not upstream.has_answered and is_held and is_fresh_failure

    def _finish_failed(self, error: UpstreamError) -> None:
        if self.end is not None:
            return
        if not self._has_answer_begun:
            self._answer(answers.BUSY if isinstance(error, OutOfDescriptors) else self._failure(error.end))
        self._finish(error.end, error.detail)

    def _refuse(self, answer: Answer, detail: str) -> None:
        """The request turned out to be bad on its way."""
        if self.end is not None:
            return
        self._is_last = True
        if not self._has_answer_begun:
            self._answer(answer)
        self._finish(ExchangeEnd.CLIENT_ABORTED, detail)

    def _answer(self, answer: Answer) -> None:
        """Answer in the upstream's place, with `_finish`. `_framing` stays NONE: there is nothing to cut."""
        self._has_answer_begun = True
        self._is_last = self._is_last or self._is_http_10 or not self._request.content.is_eof()
        self._counters.count_response(answer.status)
        self._out = [answer.encode(self.request_id, is_head=self._is_head_request, is_last=self._is_last)]

    def _finish(self, end: ExchangeEnd, detail: str | None) -> None:
        """The one end: frees the upstream, closes the capture, sends the last bytes, wakes the handler.

        In this order: a client that has its answer to the end has an exchange that is captured, whatever
        happens to this process then (docs/decisions/0023).
        """
        if self.end is not None:
            return
        self.end = end
        self.detail = detail
        self._client.relay = None
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.abort()
        self._capture(end, detail)
        self.response_flush()  # also what came before a failure is the client's
        if end is not ExchangeEnd.COMPLETE and self._framing is not Framing.NONE:
            self._is_last = True
            self._client.cut(reset=self._is_http_10 and self._framing in _CHUNKED_OUT)
        self._counters.count_end(end)
        self._wake()

    def _capture(self, end: ExchangeEnd, detail: str | None) -> None:
        if self._tee is None:
            return
        try:
            self._tee.finish(end, detail)
        except Exception as exc:  # a bug of ours must not keep the last bytes back
            report_bug(exc, exchange_id=self.request_id)

    def _wake(self) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_result(None)


_CHUNKED_OUT = frozenset((Framing.CHUNKED, Framing.CLOSE))
