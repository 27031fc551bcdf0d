"""How the parts behind the proxy are: gathered from those who know, told by `/readyz` and the welcome page."""

from __future__ import annotations

import asyncio
import contextlib
import time
import urllib.parse
from collections.abc import Awaitable, Callable

from watchllm_proxy.console.context import Health, Waiting
from watchllm_proxy.errors import StoreError, StoreRejected
from watchllm_proxy.lifecycle import STORE_RETRY_S, rest
from watchllm_proxy.recorder_stats import CLICKHOUSE, LOG, POSTGRES, Outage, RecorderStats

UPSTREAM_CHECK_S = 30.0
UPSTREAM_CHECK_TIMEOUT_S = 5.0
RECORDER = "recorder"
BEHIND_S = 60.0
"""A recorder whose oldest record of the batch under way is older than this is told as behind."""

AWAY = "away: requests still pass, their captures wait in the log until it is back"

Checks = dict[str, str | None]
"""What is wrong with each part, in a sentence; None where it is well."""


class StoresAway:
    """What is wrong with stores as seen by those that are no recorder: at the start, and by a console alone."""

    def __init__(self) -> None:
        self.problems: dict[str, str] = {}
        self.outages: dict[str, Outage] = {}

    def note(self, store: str, error: StoreError | None, retry_in_s: float = STORE_RETRY_S) -> None:
        """None: it is there."""
        if error is None:
            self.problems.pop(store, None)
            self.outages.pop(store, None)
        else:  # what a store refuses at the start is for a person to put right: a schema that is not ours
            self.problems[store] = str(error) if isinstance(error, StoreRejected) else AWAY
            self.outages[store] = Outage.noted(self.outages.get(store), retry_in_s)


class UpstreamWatch:
    """Knows whether the upstream can be connected to, and how long it takes: asked by the welcome page."""

    def __init__(self, upstream_url: str) -> None:
        parts = urllib.parse.urlsplit(upstream_url)
        self._host = parts.hostname or ""
        self._is_tls = parts.scheme == "https"
        self._port = parts.port or (443 if self._is_tls else 80)
        self.is_reachable: bool | None = None
        self.connect_ms: float | None = None

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self._check()
            await rest(stop, UPSTREAM_CHECK_S)

    async def _check(self) -> None:
        """Connect and hang up; sends nothing, so it costs nothing and needs no key."""
        started = time.monotonic()
        try:
            async with asyncio.timeout(UPSTREAM_CHECK_TIMEOUT_S):
                _, writer = await asyncio.open_connection(self._host, self._port, ssl=self._is_tls or None)
        except (OSError, TimeoutError):
            self.is_reachable, self.connect_ms = False, None
            return
        self.is_reachable, self.connect_ms = True, (time.monotonic() - started) * 1000
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def health_of(
    stats: RecorderStats | None, watch: UpstreamWatch, away: StoresAway
) -> Callable[[], Awaitable[Health]]:
    started_at_us = time.time_ns() // 1000

    async def health() -> Health:
        return Health(
            checks=checks(stats, away),
            waiting=waiting(stats, away, time.time_ns() // 1000),
            is_upstream_reachable=watch.is_reachable,
            upstream_ms=watch.connect_ms,
            started_at_us=started_at_us,
        )

    return health


def checks(stats: RecorderStats | None, away: StoresAway) -> Checks:
    """Of the stores, and of the recorder where it is in this process."""
    found: Checks = {store: away.problems.get(store) for store in (POSTGRES, CLICKHOUSE)}
    if stats is not None and stats.waiting_for in found:
        found[stats.waiting_for] = AWAY
    if stats is not None:
        found[RECORDER] = _recorder_check(stats)
    return found


def waiting(stats: RecorderStats | None, away: StoresAway, now_us: int) -> dict[str, Waiting]:
    """For whom of those that `checks` names somebody waits: since when, and for how long till the next try."""
    outages = dict(away.outages)
    if stats is not None and stats.outage is not None:
        outages[RECORDER if stats.waiting_for == LOG else str(stats.waiting_for)] = stats.outage
    return {name: _told(outage, now_us) for name, outage in outages.items()}


def _told(outage: Outage, now_us: int) -> Waiting:
    return Waiting(outage.since_us, outage.tries, retry_in_s=max(0, outage.next_try_us - now_us) / 1_000_000)


def _recorder_check(stats: RecorderStats) -> str | None:
    if stats.waiting_for == LOG:
        return "a capture log cannot be read; the log of this process tells why. What is in it is not lost"
    if stats.is_starting:
        return "starting: captures wait in the log until it is ready"
    if stats.lag_s > BEHIND_S:
        return f"{stats.lag_s:.0f} s behind; the log holds what is not stored yet"
    books = stats.books
    if books is not None and books.missing:
        return f"the captures do not add up: {books.in_words()}; `watchllm doctor` tells which log"
    set_aside = sum(stats.dead_letters.values()) if books is None else books.set_aside
    if set_aside:
        return f"{set_aside} records could not be stored and were set aside with their bytes: `watchllm dead list`"
    return None
