"""`GET /api/calls` (what `watchllm tail` follows), `GET /api/calls/{call_id}`, and its exact bytes where kept."""

from __future__ import annotations

from uuid import UUID

from aiohttp import web

from watchllm_proxy.console.answers import dumps, is_mostly_base64, json_answer
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
    body = dumps(call_document(call))
    answer = web.Response(body=body, content_type="application/json")
    if not is_mostly_base64(body):
        answer.enable_compression()
    return answer


async def raw_body(request: web.Request) -> web.Response:
    """The body as it was on the wire, content encoding and all: a file to save, never one that a browser shows."""
    call_id = _call_id(request.match_info["call_id"])
    bodies = await reading_of(request).get_raw(project_of(request), call_id) if call_id else None
    part = request.match_info["part"]
    body = bodies[part == "answer"] if bodies else None
    if body is None:
        raise web.HTTPNotFound
    return web.Response(
        body=body,
        content_type="application/octet-stream",
        headers={"Content-Disposition": f'attachment; filename="{call_id}.{part}"'},
    )


def _call_id(raw: str) -> UUID | None:
    try:
        return UUID(raw)
    except ValueError:
        return None
