"""`GET /healthz`, `/readyz` and `/openapi.json` of this process."""

from __future__ import annotations

from aiohttp import web

from watchllm_proxy.console.answers import json_answer
from watchllm_proxy.console.api.openapi import DOCUMENT
from watchllm_proxy.console.context import HEALTH


async def healthz(request: web.Request) -> web.Response:
    return json_answer({"status": "ok"})


async def readyz(request: web.Request) -> web.Response:
    """503 while something behind the console is degraded; `problems` says what, in sentences."""
    problems = (await request.app[HEALTH]()).problems
    return json_answer({"status": "degraded" if problems else "ok", "problems": problems}, status=503 if problems else 200)


async def openapi(request: web.Request) -> web.Response:
    return json_answer(DOCUMENT)
