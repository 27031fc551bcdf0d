"""The list of runs. Its filters live in the address, so that a list can be linked, and work without a script."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from watchllm_proxy.console.addresses import runs_path
from watchllm_proxy.console.context import now_us, project_of, reading_of
from watchllm_proxy.console.html import render
from watchllm_proxy.console.labels import flag_label, status_label
from watchllm_proxy.console.pages.figures import run_duration_us
from watchllm_proxy.console.pages.sparks import sparks_of
from watchllm_proxy.console.queries import run_query
from watchllm_proxy.console.reading import RunReading
from watchllm_proxy.console.redaction import as_stored
from watchllm_proxy.records import FlagKind, RunStatus
from watchllm_proxy.store.shapes import RunCounts, RunQuery

PAGE_SIZE = 50
TIMES = (
    ("", "Any time"),
    ("1h", "Last hour"),
    ("24h", "Last 24 hours"),
    ("7d", "Last 7 days"),
    ("30d", "Last 30 days"),
)


@dataclass(frozen=True, slots=True)
class Chip:
    """A filter one click away; clicking it again takes it back."""

    label: str
    count: int | None
    tone: str
    path: str
    is_on: bool


async def runs_page(request: web.Request) -> web.Response:
    given = {name: value for name, value in request.query.items() if value}
    now = now_us()
    query = run_query({"limit": str(PAGE_SIZE), **given}, now)
    reading, project_id = reading_of(request), project_of(request)
    found = await reading.list_runs(project_id, await as_stored(request, query))
    if not found.total and not given and await _has_chats(reading, project_id):
        raise web.HTTPFound(runs_path({"kind": "all"}))  # a first `curl` is a lone chat, and wants to be seen
    counts, sparks = await asyncio.gather(
        reading.counts(project_id, with_chats=query.with_chats), sparks_of(reading, project_id, found.rows)
    )
    return render(
        request,
        "runs.html",
        nav="runs",
        rows=found.rows,
        sparks=sparks,
        table_path=runs_path({"limit": str(query.limit), **given}, ".csv"),
        total=found.total,
        is_total_exact=found.is_total_exact,
        counts=counts,
        query=query,
        given=given,
        now=now,
        duration_of=run_duration_us,
        chips=_chips(given, query, counts),
        statuses=[(status.value, status_label(status)) for status in RunStatus],
        flags=[(kind.value, flag_label(kind)) for kind in FlagKind],
        times=TIMES,
        in_words=filter_in_words(query, given),
        pages=_pages(given, query, found.total),
    )


async def _has_chats(reading: RunReading, project_id: str) -> bool:
    return bool((await reading.list_runs(project_id, RunQuery(limit=1, with_chats=True))).total)


def _path(given: Mapping[str, str], **changes: str | None) -> str:
    """This list with some filters changed, from its first page on."""
    wanted: dict[str, str | None] = {**given, "offset": None, **changes}
    return runs_path({name: value for name, value in wanted.items() if value})


def _chips(given: Mapping[str, str], query: RunQuery, counts: RunCounts) -> list[Chip]:
    chips = []
    for status, tone in ((RunStatus.FAILED, "cbad"), (RunStatus.RUNNING, "")):
        is_on = given.get("status") == status
        path = _path(given, status=None if is_on else status.value)
        chips.append(Chip(status_label(status), counts.by_status.get(status, 0), tone, path, is_on))
    errors_path = _path(given, errors=None if query.with_errors else "any")
    chips.insert(1, Chip("With errors", None, "", errors_path, query.with_errors))
    chats_path = _path(given, kind=None if query.with_chats else "all")
    return [*chips, Chip("Lone chats too", None, "", chats_path, query.with_chats)]


def filter_in_words(query: RunQuery, given: Mapping[str, str]) -> str:
    """What the list is limited to, as a person would say it; "" for everything."""
    words = []
    if query.status:
        words.append(f"that are {status_label(query.status).lower()}")
    if query.with_errors:
        words.append("with errors")
    if query.agent:
        words.append(f"of the agent “{query.agent}”")
    if query.flag:
        words.append(f"flagged “{flag_label(query.flag)}”")
    if query.session:
        words.append(f"in the session “{query.session}”")
    if query.user:
        words.append(f"of the user “{query.user}”")
    if query.q:
        words.append(f"that match “{query.q}”")
    if query.since_us is not None:
        words.append(
            dict(TIMES).get(given["since"], f"since {given['since']}").lower().replace("last", "in the last", 1)
        )
    if query.until_us is not None:
        words.append(f"until {given['until']}")
    return " ".join(words)


@dataclass(frozen=True, slots=True)
class Pages:
    """Where this page lies in the list, and its neighbours; None at the ends."""

    first: int
    last: int
    newer: str | None
    older: str | None


def _pages(given: Mapping[str, str], query: RunQuery, total: int) -> Pages:
    start, end = query.offset, min(total, query.offset + query.limit)
    newer = _path(given, offset=str(max(0, start - query.limit))) if start else None
    older = _path(given, offset=str(end)) if end < total else None
    return Pages(min(start + 1, total), end, newer, older)
