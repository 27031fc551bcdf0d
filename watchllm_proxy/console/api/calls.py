"""`GET /api/calls` (what `watchllm tail` follows), `GET /api/calls/{call_id}`, its files, its bytes where kept."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from uuid import UUID

from aiohttp import web

from watchllm_proxy.console import files
from watchllm_proxy.console.answers import BadParameter, dumps, is_mostly_base64, json_answer
from watchllm_proxy.console.api.debug import call_document, call_row
from watchllm_proxy.console.context import project_of, reading_of
from watchllm_proxy.console.queries import tail_query
from watchllm_proxy.store.shapes import CallDetail, Through, unchanged

FILE_POLICY = "sandbox; default-src 'none'"
"""What came out of a call runs nothing and asks for nothing, however it is opened."""


async def recent_calls(request: web.Request) -> web.Response:
    """Ask again with `after` = the `next_after` of the last answer: every call comes once, oldest first."""
    after, limit = tail_query(request.query)
    rows = await reading_of(request).recent_calls(project_of(request), after, limit)
    next_after = rows[-1].call_id if rows else after
    return json_answer({"calls": [call_row(row) for row in rows], "next_after": next_after})


async def one_call(request: web.Request) -> web.Response:
    """Exactly as it is stored; with `files=apart` without its pictures and the like, as pages read it."""
    are_apart = _files_apart(request.query)
    apart = files.FilesApart()
    call = await _call_of(request, apart.take if are_apart else unchanged)
    body = await asyncio.to_thread(_body, call, apart if are_apart else None)  # it may have 30 MB
    answer = web.Response(body=body, content_type="application/json")
    if not is_mostly_base64(body):
        answer.enable_compression()
    return answer


async def one_file(request: web.Request) -> web.Response:
    """A picture, or whatever else stands in the call as base64. Nothing but a picture is shown: it is saved."""
    wanted = files.FileSearch(request.match_info["digest"])
    call = await _call_of(request, wanted.look)
    await asyncio.to_thread(wanted.look, call.row.call_id, call.response_metadata or b"")
    if wanted.found is None:
        raise web.HTTPNotFound
    file, body = wanted.found
    how = "inline" if file.is_picture else "attachment"
    return web.Response(
        body=body,
        content_type=file.sent_as,
        headers={
            "Content-Disposition": f'{how}; filename="{file.name}"',
            "Content-Security-Policy": FILE_POLICY,
            "Cache-Control": "private, no-store",
        },
    )


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


async def _call_of(request: web.Request, through: Through) -> CallDetail:
    """The call of the address. Raises HTTPNotFound."""
    call_id = _call_id(request.match_info["call_id"])
    if call_id is None:
        raise web.HTTPNotFound
    call = await reading_of(request).get_call(project_of(request), call_id, through=through)
    if call is None:
        raise web.HTTPNotFound
    return call


def _files_apart(query: Mapping[str, str]) -> bool:
    wanted = query.get("files", "")
    if wanted not in {"", "apart"}:
        raise BadParameter("files", "files must be apart, or left out.")
    return bool(wanted)


def _body(call: CallDetail, apart: files.FilesApart | None) -> bytes:
    """`apart`: what its messages went through."""
    if apart is None:
        return dumps(call_document(call))
    metadata = apart.take(call.row.call_id, call.response_metadata or b"") or None
    return dumps({**call_document(replace(call, response_metadata=metadata)), "files": apart.references()})


def _call_id(raw: str) -> UUID | None:
    try:
        return UUID(raw)
    except ValueError:
        return None
