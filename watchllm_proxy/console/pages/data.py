"""What is stored of a project and for how long, and how it goes: retention, text or figures only, erasing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from watchllm_proxy.console import account, jobs, redaction
from watchllm_proxy.console.answers import Problem, json_answer
from watchllm_proxy.console.context import ACCOUNTS, POOL, REDACTION, SETTINGS, may, project_of, reading_of
from watchllm_proxy.console.formats import instant
from watchllm_proxy.console.forms import form_fields
from watchllm_proxy.console.html import render
from watchllm_proxy.enrich.redaction.kinds import RedactionMode
from watchllm_proxy.errors import StoreUnavailable
from watchllm_proxy.grants import Scope
from watchllm_proxy.store.call_shapes import StoredCalls
from watchllm_proxy.store.erasures import ErasureScope
from watchllm_proxy.store.shapes import RunList, RunQuery, RunSort

ERASABLE = {ErasureScope.RUN: "A run, by its id", ErasureScope.USER: "A user, by the id that your calls sent"}
MAX_SUBJECT = 1000
SHOWN = 5
"""Runs of a user, before they are erased."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long calls are kept, and who says so: `project`, `plan` or `installation`. 0 days: for ever."""

    days: int
    said_by: str
    own_days: int | None
    longest_days: int | None  # what the plan allows; None: any number


async def data_page(request: web.Request) -> web.Response:
    return await _page(request)


async def data_json(request: web.Request) -> web.Response:
    keeping, wishes = await _keeping(request), await redaction.wishes(request)
    newest, oldest, calls = await _runs(request), await _oldest(request), await _calls(request)
    return json_answer(
        {
            "retention_days": keeping.days,
            "retention_said_by": keeping.said_by,
            "keep_raw_days": request.app[SETTINGS].keep_raw_days,
            "redaction": (wishes.mode or redaction.default_mode(request)).value,
            "store_content": wishes.store_content,
            "runs": newest.total,
            "is_runs_exact": newest.is_total_exact,
            "oldest_run_at": instant(oldest),
            "calls": None if calls is None else calls.calls,
            "raw_bodies": None if calls is None else calls.raw_bodies,
        }
    )


async def retention_form(request: web.Request) -> web.Response:
    """Empty: as the plan or the installation says."""
    raw = (await form_fields(request)).get("retention_days", "").strip()
    try:
        if raw and not (raw.isascii() and raw.isdecimal() and len(raw) < 9):
            raise Problem(422, "invalid_parameter", "The days are a whole number, or nothing.", "retention_days")
        await account.change(request, project_of(request), {"retention_days": int(raw) if raw else None})
    except Problem as exc:
        return await _page(request, problem=exc)
    raise web.HTTPSeeOther("/settings/data")


async def erase_form(request: web.Request) -> web.Response:
    """First what would go; with `confirm` it is asked for, by the same row as `watchllm erase` writes."""
    fields = await form_fields(request)
    try:
        scope, subject = wanted_erasure(fields)
        found = await erasable_runs(request, scope, subject)
        if fields.get("confirm") != "yes":
            return await _page(request, asked=(scope, subject, found))
        await jobs.ask_for_erasure(request, scope, subject)
    except Problem as exc:
        return await _page(request, problem=exc)
    raise web.HTTPSeeOther("/jobs")


def wanted_erasure(fields: Mapping[str, str]) -> tuple[ErasureScope, str]:
    scopes = {scope.value: scope for scope in ERASABLE}
    scope, subject = scopes.get(fields.get("scope", "")), fields.get("subject", "").strip()
    if scope is None:
        raise Problem(422, "invalid_parameter", "Say what the id is of: run or user.", "scope")
    if not 0 < len(subject) <= MAX_SUBJECT or "\0" in subject:
        raise Problem(422, "invalid_parameter", f"The id has 1 to {MAX_SUBJECT:,} characters.", "subject")
    return scope, subject


async def erasable_runs(request: web.Request, scope: ErasureScope, subject: str) -> RunList:
    """The runs that are known to go. Raises `Problem` where there are none: then the id is wrong, or foreign."""
    reading, project_id = reading_of(request), project_of(request)
    stored = await request.app[REDACTION].as_stored(project_id, subject)
    if scope is ErasureScope.RUN:
        row = await reading.get_run(project_id, subject) or await reading.get_run(project_id, stored)
        found = RunList(() if row is None else (row,), 0 if row is None else 1)
    else:
        found = await reading.list_runs(project_id, RunQuery(limit=SHOWN, user=stored, with_chats=True))
    if not found.rows:
        raise Problem(404, "not_found", f"No {scope} of this id is stored in this project.", "subject")
    return found


async def _page(
    request: web.Request,
    *,
    problem: Problem | None = None,
    asked: tuple[ErasureScope, str, RunList] | None = None,
) -> web.Response:
    wishes = await redaction.wishes(request)
    return render(
        request,
        "data.html",
        status=problem.status if problem is not None else 200,
        nav="data",
        problem=problem,
        asked=asked,
        erasable=ERASABLE,
        max_subject=MAX_SUBJECT,
        keeping=await _keeping(request),
        keep_raw_days=request.app[SETTINGS].keep_raw_days,
        mode=wishes.mode or redaction.default_mode(request),
        mode_off=RedactionMode.OFF,
        store_content=wishes.store_content,
        runs=await _runs(request),
        oldest=instant(await _oldest(request)),
        calls=await _calls(request),
        may_change=request.app[POOL] is not None and may(request, Scope.ADMIN),
    )


async def _keeping(request: web.Request) -> Keeping:
    desk, project_id = request.app[ACCOUNTS], project_of(request)
    own, plan = await desk.settings(project_id), await desk.plan(project_id)
    own_days = None if own is None else own.retention_days
    of_plan = None if plan is None else plan.retention_days
    if own_days is not None:
        return Keeping(own_days, "project", own_days, of_plan or None)
    if of_plan is not None:
        return Keeping(of_plan, "plan", None, of_plan or None)
    return Keeping(request.app[SETTINGS].retention_days, "installation", None, None)


async def _runs(request: web.Request) -> RunList:
    """Their number is that of the list: exact up to some thousands."""
    return await reading_of(request).list_runs(project_of(request), RunQuery(limit=1, with_chats=True))


async def _oldest(request: web.Request) -> int | None:
    oldest = RunQuery(limit=1, sort=RunSort.OLDEST, with_chats=True)
    rows = (await reading_of(request).list_runs(project_of(request), oldest)).rows
    return rows[0].run.started_at_us if rows else None


async def _calls(request: web.Request) -> StoredCalls | None:
    """None: the store of calls is away."""
    try:
        return await reading_of(request).stored_calls(project_of(request))
    except StoreUnavailable:
        return None
