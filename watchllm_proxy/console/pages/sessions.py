"""Sessions: conversations over turns, each turn a run. The list, one of them, and both for programs."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from aiohttp import web

from watchllm_proxy.console.addresses import decode_id, session_path
from watchllm_proxy.console.answers import json_answer
from watchllm_proxy.console.api.debug import run_summary
from watchllm_proxy.console.context import REDACTION, now_us, project_of, reading_of
from watchllm_proxy.console.formats import instant
from watchllm_proxy.console.html import render
from watchllm_proxy.console.pages.figures import run_duration_us
from watchllm_proxy.console.pages.sparks import sparks_of
from watchllm_proxy.console.queries import page_query, session_query
from watchllm_proxy.store.sessions import SessionRow
from watchllm_proxy.store.shapes import RunList, RunQuery, RunSort

PAGE_SIZE = 50
RUNS_A_PAGE = 100


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Where this page lies, from 1, and the pages around it; None at the ends."""

    first: int
    last: int
    before: str | None
    after: str | None


async def sessions_page(request: web.Request) -> web.Response:
    query = session_query({"limit": str(PAGE_SIZE), **request.query}, now_us())
    found = await reading_of(request).list_sessions(project_of(request), query)
    return render(
        request,
        "sessions.html",
        nav="sessions",
        found=found,
        query=query,
        now=now_us(),
        pages=_neighbours(request, query.offset, query.limit, len(found.rows), found.total),
    )


async def sessions_json(request: web.Request) -> web.Response:
    query = session_query(request.query, now_us())
    found = await reading_of(request).list_sessions(project_of(request), query)
    return json_answer(
        {
            "sessions": [_document(row) for row in found.rows],
            "total": found.total,
            "is_total_exact": found.is_total_exact,
            "limit": query.limit,
            "offset": query.offset,
        }
    )


async def session_page(request: web.Request) -> web.Response:
    limit, offset = page_query(request.query, RUNS_A_PAGE)
    session, runs = await _load(request, limit, offset)
    path = session_path(session.session_id)
    return render(
        request,
        "session.html",
        nav="sessions",
        session=session,
        rows=runs.rows,
        sparks=await sparks_of(reading_of(request), project_of(request), runs.rows),
        now=now_us(),
        duration_of=run_duration_us,
        pages=_neighbours(request, offset, limit, len(runs.rows), runs.total),
        json_path=f"{path}.json",
    )


async def session_json(request: web.Request) -> web.Response:
    limit, offset = page_query(request.query, RUNS_A_PAGE)
    session, runs = await _load(request, limit, offset)
    return json_answer(
        {
            "session": _document(session),
            "runs": [{**run_summary(row), "parent_run_id": row.run.parent_run_id} for row in runs.rows],
            "has_more": offset + len(runs.rows) < runs.total,
            "limit": limit,
            "offset": offset,
        }
    )


async def _load(request: web.Request, limit: int, offset: int) -> tuple[SessionRow, RunList]:
    """By the id that is shown, or by the one that was sent where that is stored redacted."""
    reading, project_id = reading_of(request), project_of(request)
    named = decode_id(request.match_info["session_id"])
    session_id = await request.app[REDACTION].as_stored(project_id, named)
    session = await reading.get_session(project_id, session_id)
    if session is None:
        raise web.HTTPNotFound
    in_order = RunQuery(limit, offset, session=session_id, sort=RunSort.OLDEST, with_chats=True)
    return session, await reading.list_runs(project_id, in_order)


def _document(row: SessionRow) -> dict[str, object]:
    return {
        "session_id": row.session_id,
        "title": row.title,
        "agent_name": row.agent_name,
        "user_id": row.user_id,
        "turns": row.turns,
        "runs": row.runs,
        "running": row.running,
        "failed": row.failed,
        "started_at": instant(row.started_at_us),
        "last_activity_at": instant(row.last_activity_at_us),
        "total_steps": row.total_steps,
        "error_count": row.error_count,
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "cache_read_input_tokens": row.cache_read_input_tokens,
        "total_cost_usd": row.total_cost_usd,
        "unpriced_calls": row.unpriced_calls,
    }


def _neighbours(request: web.Request, offset: int, limit: int, shown: int, total: int) -> Neighbours:
    given = {name: value for name, value in request.query.items() if value and name != "offset"}

    def page(start: int) -> str:
        filters = urlencode({**given, **({"offset": str(start)} if start else {})})
        return f"{request.rel_url.raw_path}?{filters}" if filters else request.rel_url.raw_path

    end = offset + shown
    return Neighbours(
        first=min(offset + 1, end),
        last=end,
        before=page(max(0, offset - limit)) if offset else None,
        after=page(end) if shown and end < total else None,
    )
