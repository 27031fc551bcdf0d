"""/healthz, /readyz and /metrics: what an operator or a load balancer asks this process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from watchllm_proxy.errors import UpstreamError
from watchllm_proxy.outcomes import CaptureCounts, ShedReason
from watchllm_proxy.proxy import metrics
from watchllm_proxy.proxy.answers import Answer
from watchllm_proxy.proxy.asking import ask
from watchllm_proxy.proxy.pool import Pool

CONSOLE_TIMEOUT_S = 1.0
SHED_TOLD_S = 10.0
"""Captures that were shed are told for this long, so that nobody has to ask at the right moment."""

HEALTHY = Answer(200, b'{"status": "ok"}')

Check = dict[str, Any]
"""`status` (ok or degraded), and a `detail` for a person where it is not ok."""

OK: Check = {"status": "ok"}


def degraded(detail: str) -> Check:
    return {"status": "degraded", "detail": detail}


def ready_answer(checks: dict[str, Check], *, is_draining: bool) -> Answer:
    """200 while requests can be served, however degraded the rest is; 503 once we are draining."""
    is_ok = all(check.get("status") == "ok" for check in checks.values())
    status = "stopping" if is_draining else "ok" if is_ok else "degraded"
    body = json.dumps({"status": status, "checks": checks}).encode()
    return Answer(503 if is_draining else 200, body)


def metrics_answer(
    own: metrics.Snapshot, others: list[metrics.Snapshot], captures: CaptureCounts, of_console: bytes = b""
) -> Answer:
    """Prometheus' text: all workers' figures added up, then what the console says of what is behind the log."""
    body = metrics.exposition(metrics.add_up([own, *others]), captures) + of_console
    return Answer(200, body, b"text/plain; version=0.0.4; charset=utf-8")


class ShedWatch:
    """Whether captures are shed these days, and why: whoever asks is told the same, however often others ask.

    `before`: the counts at the start, of which nothing is told.
    """

    def __init__(self, before: Mapping[ShedReason, int]) -> None:
        self._before = dict(before)
        self._counts = dict(before)
        self._risen_at_s: dict[ShedReason, float] = {}

    def note(self, shed: Mapping[ShedReason, int], now_s: float) -> None:
        """`shed` counts by reason, over all workers; to be told about once a second."""
        for reason, count in shed.items():
            if count > self._counts.get(reason, 0):
                self._risen_at_s[reason] = now_s
        self._counts = dict(shed)

    def check(self, now_s: float) -> Check:
        recent = [
            f"{reason} ({self._counts[reason] - self._before.get(reason, 0)} since the start)"
            for reason, at_s in sorted(self._risen_at_s.items())
            if now_s - at_s < SHED_TOLD_S
        ]
        if not recent:
            return OK
        return degraded(f"requests pass, but captures are given up: {', '.join(recent)}")


async def console_metrics(pool: Pool) -> bytes:
    """The console's own /metrics text (recorder and stores), empty while it has none or is away."""
    try:
        async with asyncio.timeout(CONSOLE_TIMEOUT_S):
            status, body = await _fetch(pool, b"/metrics")
    except (TimeoutError, UpstreamError):
        return b""
    return body if status == 200 and body.endswith(b"\n") else b""


async def console_checks(pool: Pool) -> dict[str, Check]:
    """The console's own checks, or what is wrong with it, within `CONSOLE_TIMEOUT_S`."""
    try:
        async with asyncio.timeout(CONSOLE_TIMEOUT_S):
            _, body = await _fetch(pool, b"/readyz")
            found = json.loads(body)
    except TimeoutError:
        return {"console": degraded("the console does not answer")}
    except (UpstreamError, ValueError):
        return {"console": degraded("the console is away; calls pass and captures wait for it in the log")}
    checks = found.get("checks") if isinstance(found, dict) else None
    if not isinstance(checks, dict) or not all(isinstance(check, dict) for check in checks.values()):
        return {"console": OK}
    return {"console": OK, **checks}


async def _fetch(pool: Pool, target: bytes) -> tuple[int, bytes]:
    """Status and body of a GET. Raises `UpstreamError`."""
    told = await ask(pool, target, [(b"Host", b"localhost")])
    return told.status, told.body
