"""`GET /healthz`, `/readyz` and `/openapi.json` of this process."""

from __future__ import annotations

from aiohttp import web

from watchllm_proxy.console.answers import json_answer
from watchllm_proxy.console.context import HEALTH, Waiting
from watchllm_proxy.console.formats import instant


async def healthz(request: web.Request) -> web.Response:
    return json_answer({"status": "ok"})


async def readyz(request: web.Request) -> web.Response:
    """200 as long as the console can answer at all; `checks` say what is degraded. The proxy adds its own."""
    health = await request.app[HEALTH]()
    checks = {name: _check(detail, health.waiting.get(name)) for name, detail in health.checks.items()}
    return json_answer({"status": "degraded" if health.problems else "ok", "checks": checks})


def _check(detail: str | None, waiting: Waiting | None) -> dict[str, object]:
    if detail is None:
        return {"status": "ok"}
    check: dict[str, object] = {"status": "degraded", "detail": detail}
    if waiting is not None:
        check |= {
            "since": instant(waiting.since_us),
            "tries": waiting.tries,
            "retry_in_s": round(waiting.retry_in_s, 1),
        }
    return check


async def openapi(request: web.Request) -> web.Response:
    """The document is large, and made when it is first asked for: no start waits for it."""
    from watchllm_proxy.console.api.openapi import DOCUMENT  # noqa: PLC0415

    return json_answer(DOCUMENT)
