"""How the recorder waits for what is away: a store, or the capture logs. What it waits for, it tells."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from watchllm_proxy.errors import CaptureLogError, StoreUnavailable
from watchllm_proxy.recorder_stats import CLICKHOUSE, LOG, POSTGRES, Outage, RecorderStats

log = structlog.get_logger(__name__)

FIRST_DELAY_S = 0.1
MAX_BACKOFF_S = 5.0

T = TypeVar("T")


class Stopping(Exception):
    """A wait was given up because the recorder is to stop. What it was for stays to be done."""


class Patience:
    """Does what is asked as soon as that is possible, and tells in `stats` what it waits for.

    `note_lag` is called whenever something turns out to be away, however often.
    """

    def __init__(self, stats: RecorderStats, *, note_lag: Callable[[], Awaitable[None]]) -> None:
        self.stop = asyncio.Event()
        self._stats = stats
        self._note_lag = note_lag

    async def on_postgres(self, operation: Callable[[], Awaitable[T]]) -> T:
        return await self.until_done(POSTGRES, operation)

    async def on_clickhouse(self, operation: Callable[[], Awaitable[T]]) -> T:
        return await self.until_done(CLICKHOUSE, operation)

    async def from_log(self, read: Callable[[], T]) -> T:
        """Read the capture logs, in a thread."""
        return await self.until_done(LOG, lambda: asyncio.to_thread(read))

    async def until_done(self, store: str, operation: Callable[[], Awaitable[T]]) -> T:
        """Waits as long as it takes. Raises `Stopping` when told to stop while `store` is away."""
        delay_s = FIRST_DELAY_S
        while True:
            try:
                result = await operation()
            except (StoreUnavailable, CaptureLogError) as exc:
                if self._stats.waiting_for is None:
                    log.warning("recorder.store_away", store=store, error=str(exc))
                retry_in_s = delay_s * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret
                before = self._stats.outage if self._stats.waiting_for == store else None
                self._stats.waiting_for, self._stats.outage = store, Outage.noted(before, retry_in_s)
                await self._note_lag()
                if self.stop.is_set():
                    raise Stopping from exc
                await self.rest(retry_in_s)
                delay_s = min(delay_s * 2, MAX_BACKOFF_S)
                continue
            if self._stats.waiting_for == store:
                log.info("recorder.store_back", store=store)
                self._stats.waiting_for = self._stats.outage = None
            return result

    async def rest(self, seconds: float) -> None:
        """So long, or until it is time to stop."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stop.wait(), seconds)
