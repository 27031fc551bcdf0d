"""The run page: header, what went wrong, overview, timeline. Its rows and steps are fetched by the script."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn, TypeVar

from aiohttp import web

from watchllm_proxy.console.addresses import (
    decode_id,
    events_path,
    run_json_path,
    run_path,
    search_path,
    summary_path,
)
from watchllm_proxy.console.answers import json_answer, takes_gzip, zipped_json_answer
from watchllm_proxy.console.api.runs import debug_answer
from watchllm_proxy.console.context import LINES, desk_of, may, now_us, project_of, reading_of
from watchllm_proxy.console.html import render
from watchllm_proxy.console.labels import redaction_note
from watchllm_proxy.console.loading import LoadedRun, load_lines, load_page, load_run
from watchllm_proxy.console.memory import Memory
from watchllm_proxy.console.pages.changes import changes_answer
from watchllm_proxy.console.pages.copying import copy_answer
from watchllm_proxy.console.pages.corrections import Remark, remarks
from watchllm_proxy.console.pages.figures import StepFigures, six_figures
from watchllm_proxy.console.pages.overview import Overview, overview_of
from watchllm_proxy.console.pages.results import result_answer
from watchllm_proxy.console.pages.step import step_detail
from watchllm_proxy.console.pages.timeline import Timeline, columns, timeline_of
from watchllm_proxy.console.pages.verdict import Verdict, verdict_of
from watchllm_proxy.console.samples import sample_run
from watchllm_proxy.console.spending import with_spending
from watchllm_proxy.grants import Scope
from watchllm_proxy.records import Run, RunStatus
from watchllm_proxy.store.shapes import RunRow

FIRST_ROWS = 36
"""Rows in the page itself: enough to read without the script, little enough to be fast with it."""

MANY_STEPS = 1000
"""More are worked through in a thread."""

MAX_LANES = 50
KEPT_DRAWN = 64
"""Some tens of kilobytes each, whatever the length of the run."""

KEPT_LIST_BYTES = 16_000_000
"""Of lists of steps, compressed most of them: 2,000 steps take 35 kB."""

_Made = TypeVar("_Made")


async def run_page(request: web.Request) -> web.Response:
    run_id = decode_id(request.match_info["run_id"])
    stores = reading_of(request), desk_of(request), request.app[LINES]
    loaded = await load_page(*stores, project_of(request), run_id) or await _moved(request, run_path)
    run_id = loaded.run.run_id
    loaded = replace(loaded, children=await _all_below(request, loaded.children))
    said = remarks(loaded.corrections, run_id)
    lane = await _lane(request, loaded)
    json_path = run_json_path(run_id)
    return await _page(request, loaded, lane=lane, path=run_path(run_id), json_path=json_path, remarks=said)


async def run_json(request: web.Request) -> web.Response:
    return debug_answer(await with_spending(request, await _loaded(request, run_json_path)))


async def run_columns(request: web.Request) -> web.Response:
    run_id = decode_id(request.match_info["run_id"])
    found = await load_lines(reading_of(request), request.app[LINES], project_of(request), run_id)
    return await _columns_answer(request, found or await _moved(request, run_path))


async def run_step(request: web.Request) -> web.Response:
    return _step_answer(request, await with_spending(request, await _loaded(request)), has_calls=True)


async def run_changes(request: web.Request) -> web.Response:
    loaded = await _loaded(request, with_redacted=False)
    return await changes_answer(request, loaded, int(request.match_info["index"]))


async def run_copy(request: web.Request) -> web.Response:
    loaded = await _loaded(request, with_redacted=False)
    return await copy_answer(request, loaded, int(request.match_info["index"]), request.match_info["language"])


async def run_result(request: web.Request) -> web.Response:
    loaded = await _loaded(request, with_redacted=False)
    return await result_answer(request, loaded, int(request.match_info["index"]))


async def sample_page(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    json_path = f"/api/agent-runs/fixture/{name}"
    return await _page(request, _sample(request), path=f"/samples/{name}", json_path=json_path, is_sample=True)


async def sample_columns(request: web.Request) -> web.Response:
    return await _columns_answer(request, _sample(request))


async def sample_step(request: web.Request) -> web.Response:
    return _step_answer(request, _sample(request), has_calls=False)


async def _loaded(
    request: web.Request, path_of: Callable[[str], str] = run_path, *, with_redacted: bool = True
) -> LoadedRun:
    """The run of the address. One that a person merged into another leads to that."""
    run_id = decode_id(request.match_info["run_id"])
    stores = reading_of(request), desk_of(request)
    loaded = await load_run(*stores, project_of(request), run_id, with_redacted=with_redacted)
    return loaded or await _moved(request, path_of)


async def _moved(request: web.Request, path_of: Callable[[str], str]) -> NoReturn:
    """There is no run of this id, or one that is part of another now."""
    run_id = decode_id(request.match_info["run_id"])
    into = await desk_of(request).merged_into(project_of(request), run_id)
    raise web.HTTPNotFound if into is None else web.HTTPFound(path_of(into))


def _sample(request: web.Request) -> LoadedRun:
    loaded = sample_run(request.match_info["name"])
    if loaded is None:
        raise web.HTTPNotFound
    return loaded


async def _all_below(request: web.Request, children: Sequence[RunRow]) -> Sequence[RunRow]:
    """Sub-agents, and theirs: each before those that it started, `MAX_LANES` in all."""
    below: dict[str, Sequence[RunRow]] = {}
    level = children
    while level and len(below) < MAX_LANES:
        ids = [run_id for run_id in (row.run.run_id for row in level) if run_id not in below][:MAX_LANES]
        found = await asyncio.gather(
            *(reading_of(request).get_children(project_of(request), each) for each in ids)
        )
        below.update(zip(ids, found, strict=True))
        level = [row for rows in found for row in rows]
    return _in_lanes(children, below)


def _in_lanes(children: Sequence[RunRow], below: Mapping[str, Sequence[RunRow]]) -> Sequence[RunRow]:
    lanes: dict[str, RunRow] = {}
    waiting = list(reversed(children))
    while waiting and len(lanes) < MAX_LANES:
        row = waiting.pop()
        if row.run.run_id not in lanes:
            lanes[row.run.run_id] = row
            waiting += reversed(below.get(row.run.run_id, ()))
    return list(lanes.values())


async def _lane(request: web.Request, loaded: LoadedRun) -> LoadedRun | None:
    """The sub-agent that the address asks for, by the id of its run, or by its name and which of that name it is
    (`lane`, from 1); None: nobody's steps alone."""
    wanted = request.query.get("agent")
    if not wanted or wanted == loaded.run.run_id:
        return None
    below = [row.run for row in loaded.children]
    ids = [run.run_id for run in below if run.run_id == wanted] or _nth(
        [run.run_id for run in below if run.agent_name == wanted], request.query.get("lane") or "1"
    )
    stores = reading_of(request), request.app[LINES]
    found = await load_lines(*stores, project_of(request), ids[0]) if ids else None
    if found is None:
        raise web.HTTPNotFound
    return found


def _nth(ids: Sequence[str], place: str) -> Sequence[str]:
    """The one of these, in the order of their lanes, whose place from 1 on is `place`; none: there is none."""
    places = [str(number) for number in range(1, len(ids) + 1)]
    return [run_id for run_id, number in zip(ids, places, strict=True) if number == place]


async def _page(
    request: web.Request,
    loaded: LoadedRun,
    *,
    path: str,
    json_path: str,
    lane: LoadedRun | None = None,
    remarks: Sequence[Remark] = (),
    is_sample: bool = False,
) -> web.Response:
    """`lane` is the sub-agent whose steps are listed instead of the run's own."""
    now = now_us()
    drawn = await _known_drawn(request, loaded)
    whole, listed = drawn.timeline, lane or loaded
    timeline = whole if lane is None else await _aside(timeline_of, lane, FIRST_ROWS)
    listed_path = path if is_sample else run_path(listed.run.run_id)
    return render(
        request,
        "run.html",
        nav="runs",
        run=loaded.run,
        path=path,
        json_path=json_path,
        listed=listed.run,
        listed_path=listed_path,
        listed_json_path=json_path if lane is None else run_json_path(lane.run.run_id),
        whole_path="" if lane is None else path,
        lane_offset_us=None if lane is None else max(0, lane.run.started_at_us - loaded.run.started_at_us),
        search_path=f"{path}/search" if is_sample else search_path(listed.run.run_id),
        events_path=events_path(listed.run.run_id) if not is_sample and _may_go_on(listed.run) else None,
        summary_path=summary_path(listed.run.run_id) if not is_sample and listed.run.is_explicit else None,
        figures=six_figures(loaded, drawn.figures, loaded.peers, now),
        verdict=drawn.verdict,
        is_sample=is_sample,
        can_correct=not is_sample and loaded.run.status is not RunStatus.RUNNING and may(request, Scope.ADMIN),
        remarks=remarks,
        redaction_note=redaction_note(loaded.redacted_values),
        peers=[peer for peer in loaded.peers if peer.status is not RunStatus.RUNNING],
        overview=drawn.whole,
        folded_overview=None if lane else drawn.folded,
        whole_span_us=whole.span_us,
        timeline=timeline,
        rows=timeline.rows[:FIRST_ROWS],
        children=[row.run for row in loaded.children],
    )


def _may_go_on(run: Run) -> bool:
    """A client that named its run may send more of it at any time."""
    return run.status is RunStatus.RUNNING or run.is_explicit


@dataclass(frozen=True, slots=True)
class _Drawn:
    """What takes a look at each step: the first rows of the timeline, its overview, whole and with idle time cut
    out if there is any, and what is said of them. Nothing of it changes with the hour."""

    children: Sequence[RunRow]
    timeline: Timeline
    whole: Overview
    folded: Overview | None
    figures: StepFigures
    verdict: Verdict | None


def _drawn(loaded: LoadedRun) -> _Drawn:
    timeline = timeline_of(loaded, FIRST_ROWS)
    cut = timeline.folding
    first = replace(timeline, rows=timeline.rows[:FIRST_ROWS], left_out=len(timeline.rows[FIRST_ROWS:]))
    return _Drawn(
        loaded.children,
        first,
        overview_of(loaded, timeline),
        overview_of(loaded, timeline, cut) if cut.cuts else None,
        StepFigures.of(loaded.steps),
        verdict_of(loaded),
    )


class MadeMemory:
    """What was made of the steps of the runs that were looked at last, by the key of the run as it was read."""

    def __init__(self) -> None:
        self.drawn: Memory[_Drawn] = Memory(KEPT_DRAWN, lambda drawn: 1)
        self.lists: Memory[web.Response] = Memory(KEPT_LIST_BYTES, _length)


def _length(answer: web.Response) -> int:
    return len(answer.body) if isinstance(answer.body, bytes) else 0


MADE: web.AppKey[MadeMemory] = web.AppKey("MADE")


async def _known_drawn(request: web.Request, loaded: LoadedRun) -> _Drawn:
    """Sub-agents are drawn with the run, and go on while it stays as it is."""
    memory = request.app[MADE].drawn
    known = memory.get(loaded.key)
    if known is not None and known.children == loaded.children:
        return known
    drawn = await _aside(_drawn, loaded)
    if loaded.key is not None:
        memory.put(loaded.key, drawn)
    return drawn


async def _aside(work: Callable[..., _Made], loaded: LoadedRun, *rest: object) -> _Made:
    """`work` on a run; on one of many steps in a thread, so that nobody else waits for it."""
    if len(loaded.steps) <= MANY_STEPS:
        return work(loaded, *rest)
    return await asyncio.to_thread(work, loaded, *rest)


async def _columns_answer(request: web.Request, loaded: LoadedRun) -> web.Response:
    memory, key = request.app[MADE].lists, (loaded.key, takes_gzip(request))
    known = memory.get(key)
    if known is None:
        known = await _aside(lambda run: zipped_json_answer(request, columns(timeline_of(run))), loaded)
        if loaded.key is not None:
            memory.put(key, known)
    return web.Response(body=known.body, headers=known.headers.copy())  # each is told apart on its way out


def _step_answer(request: web.Request, loaded: LoadedRun, *, has_calls: bool) -> web.Response:
    detail = step_detail(loaded, int(request.match_info["index"]), has_calls=has_calls)
    if detail is None:
        raise web.HTTPNotFound
    return json_answer(detail)
