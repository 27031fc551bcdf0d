"""What a broken answer cost: OpenRouter is asked afterwards, and what it says goes to the capture log.

An answer that breaks, or whose client leaves, never gets to the event that tells its usage; it is billed all the
same. OpenRouter names each answer in its head (`X-Generation-Id`), and `GET /generation?id=` tells the cost a few
seconds later. It is asked with the credential of the call itself, which is in memory until then and is written
nowhere; on nobody's path; a bounded number of times for a bounded number of calls. What is given up is counted:
the cost of such a call stays what the recorder can tell without it (docs/decisions/0186).
"""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass, field
from uuid import UUID

from watchllm_proxy.errors import UpstreamError
from watchllm_proxy.proxy.asking import Told, ask
from watchllm_proxy.proxy.auth import KEY_HEADERS
from watchllm_proxy.proxy.headers import Field, RequestHead
from watchllm_proxy.proxy.journal import report_bug
from watchllm_proxy.proxy.metrics import Counters
from watchllm_proxy.proxy.pool import Pool
from watchllm_proxy.proxy.stripping import strip_headers
from watchllm_proxy.proxy.tee import CaptureLog, Tee
from watchllm_proxy.records import SETTLES_HEADER, Body, Exchange, ExchangeEnd, settlement_id

GENERATION_ID = b"x-generation-id"

TRIES_AFTER_S = (1.0, 4.0, 12.0, 30.0)
"""OpenRouter answers 404 until it knows."""

TRY_LIMIT_S = 10.0
MAX_WAITING = 64
"""Calls whose cost is waited for. A client that leaves many answers at once loses the figures of the rest."""

_ID = re.compile(rb"[A-Za-z0-9_\-]{1,200}")
_LATER = frozenset((404, 408, 425, 429))


@dataclass(frozen=True, slots=True)
class Broken:
    """A call whose answer broke. `credentials`: as they went upstream."""

    call_id: UUID
    project_id: str
    generation_id: bytes
    credentials: tuple[Field, ...] = field(repr=False)


class GenerationLookups:
    """Those of one worker. `prefix`: path of the upstream's URL. Touched by the loop's thread only."""

    def __init__(
        self,
        upstream: Pool,
        prefix: str,
        log: CaptureLog,
        counters: Counters,
    ) -> None:
        self._upstream = upstream
        self._prefix = prefix
        self._log = log
        self._counts = counters.generation_lookups
        self._under_way: set[asyncio.Task[None]] = set()
        self._is_stopping = False

    def note(self, tee: Tee, head: RequestHead) -> None:
        """An exchange broke. Returns at once; never raises."""
        try:
            generation_id = tee.answer_field(GENERATION_ID)
            if generation_id is None or not _ID.fullmatch(generation_id):
                return  # not of OpenRouter, or before its answer began
            if self._is_stopping or len(self._under_way) >= MAX_WAITING:
                self._counts["given_up"] += 1
                return
            keys = tuple(each for each in head.fields if each[0].lower() in KEY_HEADERS)
            self._begin(Broken(tee.exchange_id, tee.project_id, generation_id, keys))
        except Exception as exc:  # nobody's request suffers from a figure
            report_bug(exc)

    async def stop(self) -> None:
        """Give up what is waited for."""
        self._is_stopping = True
        for task in list(self._under_way):
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _begin(self, broken: Broken) -> None:
        task = asyncio.get_running_loop().create_task(self._look_up(broken))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _look_up(self, broken: Broken) -> None:
        outcome = "given_up"
        try:
            for delay_s in TRIES_AFTER_S:
                await asyncio.sleep(delay_s)
                started_at_us, started_s = time.time_ns() // 1000, time.monotonic()
                told = await self._try(broken)
                if told is None or told.status in _LATER or told.status >= 500:
                    continue
                if told.status == 200:
                    duration_us = round((time.monotonic() - started_s) * 1e6)
                    self._log.append(_exchange(broken, told, started_at_us, duration_us), (None, None))
                    outcome = "told"
                return
        except Exception as exc:
            report_bug(exc, exchange_id=str(broken.call_id))
        finally:
            self._counts[outcome] += 1

    async def _try(self, broken: Broken) -> Told | None:
        target = self._prefix.encode() + b"/generation?id=" + broken.generation_id
        own = [(b"Host", self._upstream.origin.host_header), (b"Accept", b"application/json")]
        try:
            async with asyncio.timeout(TRY_LIMIT_S):
                return await ask(self._upstream, target, [*own, *broken.credentials])
        except (TimeoutError, UpstreamError):
            return None


def _exchange(broken: Broken, told: Told, started_at_us: int, duration_us: int) -> Exchange:
    """As a client's own question would look, but for its id and the one header that says what it is for."""
    return Exchange(
        exchange_id=settlement_id(broken.call_id),
        project_id=broken.project_id,
        method="GET",
        target=f"/v1/generation?id={broken.generation_id.decode()}",
        request_headers=((SETTLES_HEADER, str(broken.call_id)), ("User-Agent", "watchllm")),
        request_body=Body(b"", 0),
        status=told.status,
        response_headers=strip_headers(told.fields),
        response_body=Body(told.body, len(told.body)),
        end=ExchangeEnd.COMPLETE,
        started_at_us=started_at_us,
        first_byte_us=None,
        duration_us=duration_us,
        client_address="",
    )
