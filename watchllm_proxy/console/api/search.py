"""`GET /api/agent-runs/{run_id}/search?q=`: the steps in which a text stands, bodies included."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiohttp import web

from watchllm_proxy.console.addresses import decode_id
from watchllm_proxy.console.answers import json_answer
from watchllm_proxy.console.context import REDACTION, project_of, reading_of
from watchllm_proxy.console.finding import search_query, steps_of_bodies, steps_that_say
from watchllm_proxy.console.samples import sample_run
from watchllm_proxy.errors import StoreUnavailable
from watchllm_proxy.records import Run
from watchllm_proxy.store.found_texts import FoundText

_TOO_LONG = "This run is too long to look through its requests and answers: only what steps say of themselves."
_AWAY = "Requests and answers cannot be read now: only what steps say of themselves was looked through."


async def search_run(request: web.Request) -> web.Response:
    wanted = search_query(request.query)
    project_id, run_id = project_of(request), decode_id(request.match_info["run_id"])
    row = await reading_of(request).get_run(project_id, run_id)
    if row is None:
        raise web.HTTPNotFound
    if not wanted:
        return _answer(set(), None)
    stored = await request.app[REDACTION].as_stored(project_id, wanted)
    steps, (found, note) = await asyncio.gather(
        reading_of(request).get_steps(project_id, run_id), _in_bodies(request, row.run, stored)
    )
    said = await asyncio.to_thread(steps_that_say, steps, {wanted, stored})
    return _answer(said | steps_of_bodies(steps, found), note)


async def search_sample(request: web.Request) -> web.Response:
    wanted = search_query(request.query)
    loaded = sample_run(request.match_info["name"])
    if loaded is None:
        raise web.HTTPNotFound
    return _answer(steps_that_say(loaded.steps, [wanted]) if wanted else set(), None)


async def _in_bodies(request: web.Request, run: Run, wanted: str) -> tuple[Sequence[FoundText], str | None]:
    try:
        found = await reading_of(request).find_texts(project_of(request), run, wanted)
    except StoreUnavailable:
        return (), _AWAY
    return ((), _TOO_LONG) if found is None else (found, None)


def _answer(indexes: set[int], note: str | None) -> web.Response:
    return json_answer({"steps": sorted(indexes), "note": note})
