"""One exchange under way: the request goes up, the answer comes down, both as they arrive; it ends exactly once.

Driven from three sides, all on the loop's thread, none of which waits for another: the handler's coroutine
(`run`), the upstream's connection (`response_*`), the client's connection (`client_*`); and `sweep`, which
enforces every deadline. Whoever is first to end the exchange calls `_finish`; the rest finds it ended.

An upstream may answer before the request is here (401, 413, 429). Its answer goes out at once and ends the
exchange; the capture waits for the rest of the request, within limits (docs/decisions/0115).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

from aiohttp import web

from watchllm_proxy.errors import UpstreamError
from watchllm_proxy.proxy import answers
from watchllm_proxy.proxy.answers import Answer, Refusal
from watchllm_proxy.proxy.client import ENDS, GOES_ON, ClientConnection, Written
from watchllm_proxy.proxy.headers import Field, RequestHead, encode_response, is_event_stream
from watchllm_proxy.proxy.journal import report_bug
from watchllm_proxy.proxy.metrics import Counters
from watchllm_proxy.proxy.pool import OutOfDescriptors, Pool
from watchllm_proxy.proxy.tee import Tee
from watchllm_proxy.proxy.upload import STALE_WINDOW_S, Limits, Upload
from watchllm_proxy.proxy.upstream import Framing, UpstreamConnection
from watchllm_proxy.records import ExchangeEnd


class Relay:
    """See the module. `end` is None while the exchange is under way."""

    __slots__ = (
        "_broke",
        "_client",
        "_client_stall_s",
        "_counters",
        "_failure",
        "_framing",
        "_has_answer_begun",
        "_head",
        "_is_chunked_out",
        "_is_endless",
        "_is_head_request",
        "_is_http_10",
        "_is_last",
        "_limits",
        "_out",
        "_over",
        "_pool",
        "_reading",
        "_tee",
        "_upload",
        "_upstream",
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
        broke: Callable[[Tee, RequestHead], None] | None = None,
    ) -> None:
        """`broke` hears of an exchange that ended before its answer did; it must not raise."""
        self._broke = broke
        self._client = client
        self._head = head
        self._pool = pool
        self._failure = failure
        self._limits = limits
        self._counters = counters
        self.request_id = request_id
        self._tee = tee
        self._upload = Upload(
            request, client, head, request_bytes, limits=limits, counters=counters, tee=tee, started_s=started_s
        )
        self._reading: asyncio.Task[None] | None = None  # of the rest of a request, after its answer
        self._is_last = is_last
        self._is_head_request = request.method == "HEAD"
        self._is_http_10 = request.version < (1, 1)
        self._upstream: UpstreamConnection | None = None
        self._over: asyncio.Future[None] | None = None
        self._out: list[bytes] = []
        self._framing = Framing.NONE
        self._is_chunked_out = False
        self._is_endless = False  # the console tells what happens, for as long as somebody listens
        self._has_answer_begun = False
        self._client_stall_s = math.inf
        self.end: ExchangeEnd | None = None
        self.detail: str | None = None

    # --- the handler's coroutine -----------------------------------------------------------------------

    async def run(self) -> Written:
        """Carry the exchange to its end. Cancelled with the client's connection."""
        self._client.relay = self
        try:
            await self._carry()
            if self._is_capture_open:
                await self._take_rest()
        except asyncio.CancelledError:
            self.client_gone()
            raise
        finally:
            if self.end is None:
                self._finish(ExchangeEnd.CLIENT_ABORTED, "the proxy failed")
            self._end_capture()
        return ENDS if self._is_last else GOES_ON

    async def _carry(self) -> None:
        upstream = None if self._upload.is_long else self._pool.take()
        try:
            while self.end is None:
                if upstream is None:
                    upstream = await self._pool.connect()
                await self._attempt(upstream)
                upstream = None  # a second attempt takes a fresh connection, and is the last
        except UpstreamError as error:
            self._finish_failed(error)

    async def _attempt(self, upstream: UpstreamConnection) -> None:
        """Send the request on one connection and wait until that has led to an end, or to another attempt."""
        loop = asyncio.get_running_loop()
        self._upstream = upstream
        self._over = loop.create_future()
        upstream.begin(self, is_head_request=self._is_head_request)
        if self._upload.can_go_at_once:
            try:
                self._upload.send_whole(upstream)
            except Refusal as refusal:
                self._refuse(refusal.answer, "the request body is over the limit")
            await self._over
            return
        sending = loop.create_task(self._send_as_it_arrives(upstream))
        try:
            await self._over
        finally:
            sending.cancel()
            await asyncio.wait([sending])

    async def _send_as_it_arrives(self, upstream: UpstreamConnection) -> None:
        """Raises nothing: what fails here ends the exchange."""
        try:
            await self._upload.send_as_it_arrives(upstream)
        except Refusal as refusal:
            self._refuse(refusal.answer, "the request body is over the limit")
        except ConnectionError:
            self.client_gone()
        except Exception as exc:
            report_bug(exc, exchange_id=self.request_id)
            self._refuse(answers.INTERNAL, "the proxy failed")

    async def _take_rest(self) -> None:
        """The answer is out, and the request still comes. Ends when it has, or when `_end_capture` says so."""
        self._reading = asyncio.get_running_loop().create_task(self._upload.take_rest())
        try:
            await asyncio.wait([self._reading])
        finally:
            self._reading.cancel()
            await asyncio.wait([self._reading])

    # --- the answer's way down (upstream.Receiver) ------------------------------------------------------

    def response_interim(self, status: int, reason: bytes, fields: list[Field]) -> None:
        """A 1xx. 100 is ours to send (RFC 9110 section 15.2); the others are for the client."""
        if status != 100 and not self._is_http_10:
            self._out.append(encode_response(status, reason, fields))

    def response_head(self, status: int, reason: bytes, fields: list[Field], framing: Framing) -> None:
        self._has_answer_begun = True
        self._upload.let_go()
        self._framing = framing
        # A body without a length gets chunks, so that a cut can be seen; HTTP/1.0 knows none.
        self._is_chunked_out = framing in _CHUNKED_OUT and not self._is_http_10
        self._counters.count_response(status)
        if self._tee is not None:
            self._tee.response_head(status, fields)
        else:
            self._is_endless = is_event_stream(fields)
        if not self._upload.is_here:
            self._is_last = True  # answered before the request was whole
        own, from_console = self._own_fields(), self._tee is None
        self._out.append(encode_response(status, reason, fields, own=own, from_console=from_console))

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
        if self._upstream is not None and self._upload.may_be_repeated(self._upstream):
            self._upstream = None
            self._counters.stale_retries += 1
            self._wake()
        else:
            self._finish_failed(error)

    def _own_fields(self) -> list[Field]:
        fields = [(answers.REQUEST_ID_HEADER, self.request_id.encode())]
        if self._head.run_id is not None and self._tee is not None:
            fields.append((answers.RUN_ID_HEADER, self._head.run_id))
        if self._head.is_for_page and self._tee is not None:
            fields += _NO_PAGE_OF_OURS
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
        self._end_capture()

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
        self._end_capture()

    # --- deadlines -------------------------------------------------------------------------------------

    def sweep(self, now_s: float) -> None:
        """End the exchange if one of its waits is over its limit. Called about once a second."""
        upstream = self._upstream
        if self._tee is not None:
            self._tee.relieve_memory()
        if self._client.has_left_unseen():
            self.client_gone()
        elif now_s > self._client_stall_s:
            self._finish(ExchangeEnd.CLIENT_ABORTED, "the client stopped reading")
        elif self._upload.is_late(now_s):
            self._refuse(answers.BODY_TIMEOUT, "the request body stopped arriving")
        elif self._upload.is_stalled(now_s):
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
        elif not upstream.is_request_sent:
            return
        elif silent_s > self._limits.first_byte_s:
            self._finish_failed(UpstreamError(ExchangeEnd.UPSTREAM_TIMEOUT, "no answer within the time limit"))
        elif silent_s > STALE_WINDOW_S:
            self._upload.let_go()

    def cut(self, detail: str) -> None:
        """The proxy stops and waits no longer."""
        self._is_last = True
        if self.end is None and not self._has_answer_begun:
            self._answer(answers.STOPPING)
        self._finish(ExchangeEnd.CLIENT_ABORTED, detail)
        self._end_capture()

    def end_endless(self) -> None:
        """The proxy stops: what has no end of its own is not waited for, and breaks off where it may."""
        if self._is_endless and self.end is None:
            self._is_last = True
            if self._is_chunked_out:
                self._out.append(b"0\r\n\r\n")
            self._finish(ExchangeEnd.COMPLETE, None)

    # --- the end ---------------------------------------------------------------------------------------

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
        self._is_last = self._is_last or self._is_http_10 or not self._upload.is_here
        self._counters.count_response(answer.status)
        self._out = [answer.encode(self.request_id, is_head=self._is_head_request, is_last=self._is_last)]

    def _finish(self, end: ExchangeEnd, detail: str | None) -> None:
        """The one end: frees the upstream, closes the capture, sends the last bytes, wakes the handler.

        In this order: a client that has its answer to the end has an exchange that is captured, whatever happens
        to this process then (docs/decisions/0023).
        """
        if self.end is not None:
            return
        self.end = end
        self.detail = detail
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.abort()
        is_cut = end is not ExchangeEnd.COMPLETE and self._framing is not Framing.NONE
        if is_cut and self._broke is not None and self._tee is not None:
            self._broke(self._tee, self._head)
        if is_cut or end is ExchangeEnd.CLIENT_ABORTED or not self._upload.is_coming:
            self._end_capture()
        else:
            self._hold_capture(end, detail)
        self.response_flush()  # also what came before a failure is the client's
        if is_cut:
            self._is_last = True
            self._client.cut(reset=self._is_http_10 and self._framing in _CHUNKED_OUT)
        self._counters.count_end(end)
        self._wake()

    def _hold_capture(self, end: ExchangeEnd, detail: str | None) -> None:
        """The rest of the request is waited for; a kill meanwhile leaves what is here now."""
        if self._tee is None:
            return
        try:
            self._upload.take_what_came()
            self._tee.hold(end, detail)
        except Exception as exc:
            report_bug(exc, exchange_id=self.request_id)

    @property
    def _is_capture_open(self) -> bool:
        return self._tee is not None

    def _end_capture(self) -> None:
        """Hand over what was captured of an exchange that has ended, once. Nobody waits for more of it."""
        self._client.relay = None
        if self._reading is not None:
            self._reading.cancel()
        tee = self._tee
        if tee is None or self.end is None:
            return
        try:
            self._upload.take_what_came()
            self._tee = self._upload.tee = None
            tee.finish(self.end, self.detail, is_request_whole=self._upload.is_taken)
        except Exception as exc:  # a bug of ours must not keep the last bytes back
            report_bug(exc, exchange_id=self.request_id)

    def _wake(self) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_result(None)


_NO_PAGE_OF_OURS = ((b"Content-Security-Policy", b"sandbox"), (b"X-Content-Type-Options", b"nosniff"))
"""The dashboard is of the same origin: a script in what an upstream answers would read and change it
(docs/decisions/0285)."""

_CHUNKED_OUT = frozenset((Framing.CHUNKED, Framing.CLOSE))
