"""`GET /api/agent-runs`, one of them, its `/debug`, and `/api/agent-runs/fixture/{name}`."""

from __future__ import annotations

from aiohttp import web

from watchllm_proxy.console.addresses import debug_path, decode_id
from watchllm_proxy.console.answers import json_answer
from watchllm_proxy.console.api.debug import debug_document, run_list, run_summary
from watchllm_proxy.console.context import desk_of, now_us, project_of, reading_of
from watchllm_proxy.console.loading import LoadedRun, load_run
from watchllm_proxy.console.queries import run_query
from watchllm_proxy.console.redaction import as_stored
from watchllm_proxy.console.samples import sample_run
from watchllm_proxy.console.spending import with_spending


async def list_runs(request: web.Request) -> web.Response:
    query = run_query(request.query, now_us())
    found = await reading_of(request).list_runs(project_of(request), await as_stored(request, query))
    return json_answer(run_list(found, query))


async def one_run(request: web.Request) -> web.Response:
    """As the list has it: little to read for who asks again and again how far it is."""
    row = await reading_of(request).get_run(project_of(request), decode_id(request.match_info["run_id"]))
    if row is None:
        raise web.HTTPNotFound
    return json_answer({"run": run_summary(row)})


async def debug_run(request: web.Request) -> web.Response:
    run_id = decode_id(request.match_info["run_id"])
    loaded = await load_run(reading_of(request), desk_of(request), project_of(request), run_id)
    if loaded is None:
        into = await desk_of(request).merged_into(project_of(request), run_id)
        raise web.HTTPNotFound if into is None else web.HTTPFound(debug_path(into))
    return debug_answer(await with_spending(request, loaded))


async def debug_sample(request: web.Request) -> web.Response:
    loaded = sample_run(request.match_info["name"])
    if loaded is None:
        raise web.HTTPNotFound
    return debug_answer(loaded)


def debug_answer(loaded: LoadedRun) -> web.Response:
    answer = json_answer(debug_document(loaded))
    answer.enable_compression()
    return answer
