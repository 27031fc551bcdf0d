"""`GET /api/calls` (what `watchllm tail` follows) and `GET /api/calls/{call_id}`."""

from __future__ import annotations

from uuid import UUID

from aiohttp import web

from watchllm_proxy.console.answers import json_answer
from watchllm_proxy.console.api.debug import call_document, call_row
from watchllm_proxy.console.context import project_of, reading_of
from watchllm_proxy.console.queries import tail_query


async def recent_calls(request: web.Request) -> web.Response:
    """Ask again with `after` = the `next_after` of the last answer: every call comes once, oldest first."""
    after, limit = tail_query(request.query)
    rows = await reading_of(request).recent_calls(project_of(request), after, limit)
    next_after = rows[-1].call_id if rows else after
    return json_answer({"calls": [call_row(row) for row in rows], "next_after": next_after})


async def one_call(request: web.Request) -> web.Response:
    call_id = _call_id(request.match_info["call_id"])
    call = await reading_of(request).get_call(project_of(request), call_id) if call_id else None
    if call is None:
        raise web.HTTPNotFound
    answer = json_answer(call_document(call))
    answer.enable_compression()
    return answer


def _call_id(raw: str) -> UUID | None:
    try:
        return UUID(raw)
    except ValueError:
        return None
