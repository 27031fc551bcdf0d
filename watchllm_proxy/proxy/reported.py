"""The body of a report, read whole: unlike a model call it is for us, and is small enough to be held."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from uuid import UUID

from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from watchllm_proxy.proxy import answers
from watchllm_proxy.proxy.answers import Answer, Refusal
from watchllm_proxy.proxy.client import ClientConnection
from watchllm_proxy.proxy.headers import RequestHead
from watchllm_proxy.proxy.tee import CaptureBudget
from watchllm_proxy.proxy.upload import BODY_TOTAL_FACTOR

MAX_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Reported:
    """A request to take a report, of somebody who may report to this project."""

    request_id: UUID
    method: str
    target: str
    project_id: str
    received_at_us: int
    is_content_refused: bool
    body: bytes = field(repr=False)


Intake = Callable[[Reported], Awaitable[Answer]]
"""Keeps a report, durably, before it answers that it did."""


class BodyReader:
    """Reads one body: `MAX_BYTES` at most, within the limits of time that hold for any body."""

    def __init__(self, request: web.BaseRequest, client: ClientConnection, head: RequestHead) -> None:
        self._content = request.content
        self._client = client
        self._head = head

    async def read(self, budget: CaptureBudget, *, progress_s: float) -> bytes:
        """What is read counts to `budget` until it is given back by whoever gets it. Raises `Refusal`."""
        if (self._head.content_length or 0) > MAX_BYTES:
            raise Refusal(answers.report_too_large(MAX_BYTES))
        if self._head.expects_continue:
            self._client.send([answers.CONTINUE])
        chunks: list[bytes] = []
        size_bytes = 0
        self._client.relay = self
        try:
            async with asyncio.timeout(BODY_TOTAL_FACTOR * progress_s):
                while chunk := await asyncio.wait_for(self._content.readany(), progress_s):
                    chunks.append(chunk)
                    size_bytes += len(chunk)
                    budget.used_bytes += len(chunk)
                    if size_bytes > MAX_BYTES:
                        raise Refusal(answers.report_too_large(MAX_BYTES))
                    if budget.used_bytes > budget.limit_bytes:
                        raise Refusal(answers.NO_MEMORY_FOR_REPORTS)
            return b"".join(chunks)
        except BaseException as exc:
            budget.used_bytes -= size_bytes
            if isinstance(exc, TimeoutError):
                raise Refusal(answers.BODY_TIMEOUT) from None
            if isinstance(exc, RequestPayloadError):
                raise Refusal(answers.BAD_BODY) from None
            raise
        finally:
            self._client.relay = None

    # --- what the connection tells (client.Exchanging)

    def client_gone(self) -> None:
        """aiohttp cancels the handler."""

    def client_paused(self) -> None:
        pass

    def client_resumed(self) -> None:
        pass

    def client_body_broken(self) -> None:
        self._content.set_exception(RequestPayloadError("broken framing"))


def check_type(request: web.BaseRequest) -> None:
    """JSON as it is. A page from elsewhere cannot send it without asking first. Raises `Refusal`."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Refusal(answers.NOT_COMPRESSED)
    if request.content_type != "application/json":
        raise Refusal(answers.NOT_JSON)
