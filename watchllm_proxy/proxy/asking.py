"""A question of our own to a server behind a pool: asked on a connection of its own, answered whole."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from watchllm_proxy.errors import UpstreamError
from watchllm_proxy.proxy.headers import Field
from watchllm_proxy.proxy.pool import Pool
from watchllm_proxy.proxy.upstream import Framing

MAX_BODY_BYTES = 64 * 1024
"""What comes beyond is not kept."""


@dataclass(frozen=True, slots=True)
class Told:
    status: int
    fields: list[Field]
    body: bytes


async def ask(pool: Pool, target: bytes, fields: list[Field]) -> Told:
    """GET `target`. Raises `UpstreamError`. There is no limit of time: the caller has one."""
    connection = await pool.connect()
    try:
        reading = _Reading()
        connection.begin(reading, is_head_request=False)
        connection.is_request_sent = True
        head = b"".join(b"%s: %s\r\n" % field for field in (*fields, (b"Connection", b"close")))
        connection.write([b"GET " + target + b" HTTP/1.1\r\n" + head + b"\r\n"])
        body = await reading.body
        return Told(reading.status, reading.fields, body)
    finally:
        connection.abort()


class _Reading:
    """An answer gathered whole (upstream.Receiver)."""

    def __init__(self) -> None:
        self.body: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.status = 0
        self.fields: list[Field] = []
        self._chunks: list[bytes] = []
        self._size_bytes = 0

    def response_interim(self, status: int, reason: bytes, fields: list[Field]) -> None:
        pass

    def response_head(self, status: int, reason: bytes, fields: list[Field], framing: Framing) -> None:
        self.status = status
        self.fields = fields

    def response_body(self, chunk: bytes) -> None:
        self._size_bytes += len(chunk)
        if self._size_bytes <= MAX_BODY_BYTES:
            self._chunks.append(chunk)

    def response_flush(self) -> None:
        pass

    def response_end(self, trailers: list[Field]) -> None:
        if not self.body.done():
            self.body.set_result(b"".join(self._chunks))

    def response_failed(self, error: UpstreamError) -> None:
        if not self.body.done():
            self.body.set_exception(error)
