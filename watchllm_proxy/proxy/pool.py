"""Connections to one origin, kept alive between exchanges. No limit of their number: admission has one."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import time
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

import aiohappyeyeballs

from watchllm_proxy.errors import UpstreamError
from watchllm_proxy.proxy.upstream import UpstreamConnection
from watchllm_proxy.records import ExchangeEnd

MAX_IDLE = 512
IDLE_LIMIT_S = 55.0  # below the 60 s and 75 s after which many servers hang up
SECOND_ADDRESS_DELAY_S = 0.25  # RFC 8305: a broken IPv6 costs this, not the whole connect timeout


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a pool connects to: a host and port, with TLS or not, or a unix socket."""

    host: str
    port: int = 0
    is_tls: bool = False
    socket_path: Path | None = None

    @classmethod
    def from_url(cls, url: str) -> Origin:
        parts = urllib.parse.urlsplit(url)
        is_tls = parts.scheme == "https"
        return cls(parts.hostname or "", parts.port or (443 if is_tls else 80), is_tls)

    @property
    def host_header(self) -> bytes:
        """The `Host` value: the port is left out where it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        is_usual = self.port == (443 if self.is_tls else 80)
        return (host if is_usual else f"{host}:{self.port}").encode("idna" if not host.isascii() else "ascii")

    def __str__(self) -> str:
        return str(self.socket_path or f"{self.host}:{self.port}")


class OutOfDescriptors(UpstreamError):
    """This process can open no more sockets: the fault is ours, not the upstream's."""


class Pool:
    """Idle connections, the one used last first, and how to make new ones."""

    def __init__(self, origin: Origin, *, connect_timeout_s: float, tls: ssl.SSLContext | None = None) -> None:
        self.origin = origin
        self._connect_timeout_s = connect_timeout_s
        self._tls = (tls or system_tls()) if origin.is_tls else None
        self._idle: list[UpstreamConnection] = []
        self._all: set[UpstreamConnection] = set()
        self._is_closed = False

    @property
    def open_connections(self) -> int:
        return len(self._all)

    def take(self) -> UpstreamConnection | None:
        """An idle connection that is still open, or None."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        return None

    async def connect(self) -> UpstreamConnection:
        """A new connection. Raises `UpstreamError` (unreachable), within the connect timeout."""
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                connection = await self._connect()
        except TimeoutError as exc:
            raise _unreachable("no connection within the connect timeout") from exc
        except ssl.SSLCertVerificationError as exc:
            raise _unreachable(f"the TLS certificate is not valid: {exc.verify_message}") from exc
        except ssl.SSLError as exc:
            raise _unreachable(f"TLS failed: {exc.reason or 'handshake'}") from exc
        except socket.gaierror as exc:
            raise _unreachable("the host name cannot be resolved") from exc
        except OSError as exc:
            if exc.errno in {errno.EMFILE, errno.ENFILE}:
                raise OutOfDescriptors(ExchangeEnd.UPSTREAM_UNREACHABLE, "out of file descriptors") from exc
            raise _unreachable(_os_reason(exc)) from exc
        self._all.add(connection)
        return connection

    def sweep(self, now_s: float) -> None:
        """Close connections that were idle for too long."""
        while self._idle and now_s - self._idle[0].idle_since_s > IDLE_LIMIT_S:
            self._idle.pop(0).abort()

    def close(self) -> None:
        """Close all connections, those in use too."""
        self._is_closed = True
        for connection in list(self._all):
            connection.abort()
        self._idle.clear()

    async def _connect(self) -> UpstreamConnection:
        loop = asyncio.get_running_loop()
        origin = self.origin
        if origin.socket_path is not None:
            _, connection = await loop.create_unix_connection(self._protocol, str(origin.socket_path))
            return connection
        addresses = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
        sock = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=SECOND_ADDRESS_DELAY_S, interleave=1
        )
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _, connection = await loop.create_connection(
                self._protocol,
                sock=sock,
                ssl=self._tls,
                server_hostname=origin.host if self._tls is not None else None,
            )
        except BaseException:
            sock.close()
            raise
        return connection

    def _protocol(self) -> UpstreamConnection:
        return UpstreamConnection(idle=self._put, closed=self._forget)

    def _put(self, connection: UpstreamConnection) -> None:
        if self._is_closed or len(self._idle) >= MAX_IDLE:
            connection.abort()
            return
        connection.idle_since_s = time.monotonic()
        self._idle.append(connection)

    def _forget(self, connection: UpstreamConnection) -> None:
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)


def system_tls() -> ssl.SSLContext:
    """Verification against the system's trust store, HTTP/1.1 only."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _unreachable(detail: str) -> UpstreamError:
    return UpstreamError(ExchangeEnd.UPSTREAM_UNREACHABLE, detail)


def _os_reason(exc: OSError) -> str:
    """The error's name only: its text holds addresses."""
    return f"no connection: {errno.errorcode.get(exc.errno or 0, type(exc).__name__)}"
