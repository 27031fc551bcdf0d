"""The client's side of the wire: aiohttp's connection (its C parser) with our deadlines and our error answers."""

from __future__ import annotations

import asyncio
import math
import socket
import struct
import time
from collections.abc import Callable
from typing import Any, Protocol, cast

from aiohttp import StreamReader, http_exceptions, web
from aiohttp.web_protocol import RequestHandler

from watchllm_proxy.proxy import answers
from watchllm_proxy.proxy.answers import Answer
from watchllm_proxy.proxy.journal import report_bug
from watchllm_proxy.proxy.tee import new_exchange_id

MAX_LINE_BYTES = 64 * 1024
MAX_HEADERS = 256
MAX_HEAD_BYTES = 256 * 1024
"""Limit of a whole request head: the two above would let anybody make us hold 16 MiB a connection."""

LINGER_S = 5.0
"""How long a closing connection may take to get our last bytes across, or to send us the rest of its own."""

REFUSED_LINGER_S = 0.5
MAX_REFUSED = 8
"""Refused connections that may linger at once."""

KEEP_ALIVE_S = 75.0

TCP_HUNG_UP = frozenset((7, 8))
"""States of a Linux socket (tcp_states.h): closed, for instance by a reset; and the other side's FIN is here."""


class Exchanging(Protocol):
    """What a connection tells the relay that is at work on it."""

    def client_gone(self) -> None: ...
    def client_paused(self) -> None: ...
    def client_resumed(self) -> None: ...
    def client_body_broken(self) -> None: ...


class Written(web.StreamResponse):
    """Tells aiohttp that the answer is on the wire already, and whether the connection goes on."""

    def __init__(self, *, keep_alive: bool) -> None:
        super().__init__()
        self._goes_on = keep_alive

    @property
    def prepared(self) -> bool:
        return True

    @property
    def keep_alive(self) -> bool:
        return self._goes_on

    async def prepare(self, request: web.BaseRequest) -> None:
        return None

    async def write_eof(self, data: bytes | bytearray | memoryview = b"") -> None:
        return None


GOES_ON = Written(keep_alive=True)
ENDS = Written(keep_alive=False)


class ClientConnection(RequestHandler):
    """One client connection. `relay` is the exchange under way that wants to hear of it."""

    __slots__ = (
        "_ends_soon",
        "_head_bytes",
        "_head_deadline_s",
        "_head_timeout_s",
        "_last_body",
        "address",
        "has_sent",
        "relay",
    )

    def __init__(self, manager: ClientServer, *, head_timeout_s: float, **kwargs: Any) -> None:
        super().__init__(manager, **kwargs)
        self._head_timeout_s = head_timeout_s
        self._head_deadline_s = math.inf
        self._head_bytes = 0
        self._last_body: StreamReader | None = None
        self._ends_soon = False
        self.relay: Exchanging | None = None
        self.address = ""
        self.has_sent = False

    # --- asyncio.Protocol --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer = transport.get_extra_info("peername")
        self.address = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else ""
        self._head_deadline_s = time.monotonic() + self._head_timeout_s
        super().connection_made(transport)
        manager = cast(ClientServer, self._manager)
        if manager.is_full():
            self._refuse_connection(cast(asyncio.Transport, transport))

    def connection_lost(self, exc: BaseException | None) -> None:
        if self.relay is not None:
            self.relay.client_gone()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        before = self._request_count
        # The last request is here whole: what comes now is the head of another, be its answer sent or not.
        is_head = self._last_body is None or self._last_body.is_eof()
        super().data_received(data)
        if self._request_count != before:
            self._head_deadline_s = math.inf
            self._head_bytes = 0
            self._last_body = self._messages[-1][1] if self._messages else None
            self.has_sent = False
            if self.relay is not None and _is_error(self._messages):
                # aiohttp's parser forgets the body it was in the middle of: a reader of it would wait for ever.
                self.relay.client_body_broken()
        elif self._current_request is None and not self._messages:
            self.has_sent = True  # the beginning of a head
            if self._head_deadline_s == math.inf:
                self._head_deadline_s = time.monotonic() + self._head_timeout_s
        if self._ends_soon and self._last_body is not None and self._last_body.is_eof():
            self.close()
        if is_head and self._request_count == before:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self._close:
                self._refuse_head()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.relay is not None:
            self.relay.client_paused()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.relay is not None:
            self.relay.client_resumed()

    # --- ours --------------------------------------------------------------------------------------

    def send(self, parts: list[bytes]) -> None:
        """Write to the client; nothing happens once it is gone (the relay is told by `client_gone`)."""
        if self.transport is not None:
            self.transport.write(b"".join(parts))

    def cut(self, *, reset: bool = False) -> None:
        """End the connection in the middle of an answer, so that the client sees it broken.

        What is written already still goes out; a client that does not take it is reset by `sweep`. `reset` is
        for answers whose end is the end of the connection: a plain close would look clean.
        """
        transport = self.transport
        if transport is None:
            return
        if reset:
            _close_by_reset(transport)
        self.force_close()
        self._watch_closing(transport)

    def sweep(self, now_s: float) -> None:
        """Close a connection whose request head is late. Called about once a second."""
        if now_s < self._head_deadline_s or self.transport is None:
            return
        self._head_deadline_s = math.inf
        if self.has_sent:
            self.send([answers.HEAD_TIMEOUT.encode(str(new_exchange_id()))])
        self.cut()

    @property
    def is_ending(self) -> bool:
        """There will be no further request on this connection."""
        return self._ends_soon or self._close or self._force_close

    def has_left_unseen(self) -> bool:
        """The client hung up while we do not read from it, so that only the kernel knows."""
        if self.transport is None or not (self._reading_paused or self._buffer_paused):
            return False
        raw = self.transport.get_extra_info("socket")
        return raw is not None and raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] in TCP_HUNG_UP

    def end_soon(self) -> None:
        """No further request: an idle connection closes now, a busy one after its answer.

        (aiohttp's own `close` would leave an idle one open until the whole server shuts down; and from then on no
        byte is read: it has to wait for the body of the last request.)
        """
        self._ends_soon = True
        if self._current_request is None and not self._messages:
            self.force_close()
        elif self._last_body is None or self._last_body.is_eof():
            self.close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """aiohttp's parser refused the bytes, or our handler raised (a bug): our own words, never theirs."""
        if status == 500:
            if exc is not None:
                report_bug(exc)
            self.send_answer(answers.INTERNAL)
        elif isinstance(exc, http_exceptions.LineTooLong) or (exc is not None and "Too many headers" in str(exc)):
            self.send_answer(answers.HEAD_TOO_LARGE)
        else:
            self.send_answer(answers.BAD_SYNTAX)
        return ENDS

    def send_answer(self, answer: Answer) -> None:
        self.send([answer.encode(str(new_exchange_id()), is_last=True)])

    def _refuse_head(self) -> None:
        """What the parser holds of it is let go with the connection; an answer that is under way is cut."""
        if self._current_request is None:
            self.send_answer(answers.HEAD_TOO_LARGE)
        self.cut()

    def _refuse_connection(self, transport: asyncio.Transport) -> None:
        """One too many: told so, and given a moment to read it; a flood of them is not."""
        self._close = True  # no byte of it is parsed
        self.send_answer(answers.BUSY)
        if cast(ClientServer, self._manager).has_too_many_refused():
            transport.close()
        else:
            self._loop.call_later(REFUSED_LINGER_S, transport.close)
        self._watch_closing(transport)

    def _watch_closing(self, transport: asyncio.Transport) -> None:
        """A client that does not read keeps a closing transport alive: give it a while, then reset it."""
        self._loop.call_later(LINGER_S, transport.abort)


class ClientServer(web.Server):
    """aiohttp's low-level server with our connections."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Any],
        *,
        head_timeout_s: float,
        max_connections: int,
    ) -> None:
        # The connections are cancelled with their clients: a handler waits for nobody who left.
        super().__init__(handler, handler_cancellation=True)
        self._head_timeout_s = head_timeout_s
        self._max_connections = max_connections

    def __call__(self) -> ClientConnection:
        return ClientConnection(
            self,
            loop=self._loop,
            head_timeout_s=self._head_timeout_s,
            keepalive_timeout=KEEP_ALIVE_S,
            access_log=None,
            auto_decompress=False,
            lingering_time=LINGER_S,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_LINE_BYTES,
            max_headers=MAX_HEADERS,
            read_bufsize=256 * 1024,
        )

    @property
    def connection_count(self) -> int:
        return len(self._connections)

    def is_full(self) -> bool:
        return len(self._connections) > self._max_connections

    def has_too_many_refused(self) -> bool:
        """So many wait to read their 503 that they use up the descriptors left for other things."""
        return len(self._connections) > self._max_connections + MAX_REFUSED

    def end_soon(self) -> None:
        for connection in self.connections:
            cast(ClientConnection, connection).end_soon()

    def sweep(self, now_s: float) -> None:
        for connection in self.connections:
            cast(ClientConnection, connection).sweep(now_s)


def _close_by_reset(transport: asyncio.Transport) -> None:
    """`abort` alone closes the socket, which looks like a clean end; what the kernel has not sent yet is lost."""
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _is_error(messages: Any) -> bool:
    """The last thing parsed was refused by the parser (it then holds aiohttp's private error record)."""
    return bool(messages) and not hasattr(messages[-1][0], "raw_headers")
