"""A run to take along: `/runs/{run_id}.ndjson` and `.md`, and `.json?bodies=on`. Whole, and written as it is read.

Some calls at a time are in memory, whatever the run's size. Where the store goes away in between, the connection
breaks: what a reader has then ends without its last line, and its transfer failed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any
from uuid import UUID

from aiohttp import web

from watchllm_proxy.console.addresses import decode_id, run_path
from watchllm_proxy.console.answers import BadParameter, dumps
from watchllm_proxy.console.api.debug import call_document, debug_document
from watchllm_proxy.console.context import desk_of, project_of, reading_of
from watchllm_proxy.console.loading import LoadedRun, load_run
from watchllm_proxy.console.markdown import Transcript, closing, opening
from watchllm_proxy.console.pages import run as run_pages
from watchllm_proxy.console.spending import with_spending
from watchllm_proxy.records import Step
from watchllm_proxy.store.shapes import CallDetail

Calls = AsyncIterator[tuple[UUID, Sequence[int], CallDetail | None]]
"""Each call of a run once: its id, the indexes of its steps, and what is stored of it."""

LINES = "X-Lines"
"""How many lines there will be, for whoever waits for them."""

Writing = Callable[[LoadedRun, Calls], AsyncIterator[bytes]]


async def run_json(request: web.Request) -> web.StreamResponse:
    """Without the bodies, as the API gives it, unless they are asked for."""
    bodies = request.query.get("bodies")
    if bodies is None:
        return await run_pages.run_json(request)
    if bodies != "on":
        raise BadParameter("bodies", "`bodies` is `on`, or is left out.")
    return await _export(request, ".json?bodies=on", "application/json", _as_json)


async def run_ndjson(request: web.Request) -> web.StreamResponse:
    return await _export(request, ".ndjson", "application/x-ndjson", _as_ndjson)


async def run_markdown(request: web.Request) -> web.StreamResponse:
    return await _export(request, ".md", "text/markdown", _as_markdown)


async def _export(request: web.Request, suffix: str, content_type: str, write: Writing) -> web.StreamResponse:
    """One that a person merged into another leads to that."""
    run_id = decode_id(request.match_info["run_id"])
    loaded = await load_run(reading_of(request), desk_of(request), project_of(request), run_id)
    if loaded is None:
        into = await desk_of(request).merged_into(project_of(request), run_id)
        raise web.HTTPNotFound if into is None else web.HTTPFound(run_path(into) + suffix)
    loaded = await with_spending(request, loaded)
    headers = {"Content-Type": f"{content_type}; charset=utf-8"}
    if write is _as_ndjson:
        headers[LINES] = str(_lines_of(loaded))
    answer = web.StreamResponse(headers=headers)
    answer.enable_compression()
    await answer.prepare(request)
    try:
        async for chunk in write(loaded, _calls(request, loaded.steps)):
            await answer.write(chunk)
    except BaseException:
        if request.transport is not None:
            request.transport.abort()
        raise
    await answer.write_eof()
    return answer


def _lines_of(loaded: LoadedRun) -> int:
    calls = {step.call_id for step in loaded.steps} - {None}
    return 2 + len(loaded.steps) + len(loaded.children) + len(calls)


async def _calls(request: web.Request, steps: Sequence[Step]) -> Calls:
    indexes: dict[UUID, list[int]] = {}
    for step in steps:
        if step.call_id is not None:
            indexes.setdefault(step.call_id, []).append(step.step_index)
    found = reading_of(request).get_calls(project_of(request), list(indexes))
    for call_id, of_call in indexes.items():
        yield call_id, of_call, await anext(found)


async def _as_json(loaded: LoadedRun, calls: Calls) -> AsyncIterator[bytes]:
    """The document of the run's API, and `calls` as that of calls has them."""
    yield dumps(debug_document(loaded))[:-1] + b',"calls":['
    separator = b""
    async for call_id, _, call in calls:
        yield separator + dumps(_call(call_id, call)["call"])
        separator = b","
    yield b"]}\n"


async def _as_ndjson(loaded: LoadedRun, calls: Calls) -> AsyncIterator[bytes]:
    """`{"summary": …}`, each `{"step": …}`, `{"child": …}` and `{"call": …}`, and `{"end": …}` with counts."""
    debug: Any = debug_document(loaded)["debug"]
    yield dumps({"summary": debug["summary"]}) + b"\n"
    for step in debug["steps"]:
        yield dumps({"step": step}) + b"\n"
    for child in debug["children"]:
        yield dumps({"child": child}) + b"\n"
    count = missing = 0
    async for call_id, _, call in calls:
        count, missing = count + 1, missing + (call is None)
        yield dumps(_call(call_id, call)) + b"\n"
    yield dumps({"end": {"steps": len(debug["steps"]), "calls": count, "missing_calls": missing}}) + b"\n"


async def _as_markdown(loaded: LoadedRun, calls: Calls) -> AsyncIterator[bytes]:
    transcript, count, missing = Transcript(), 0, 0
    yield _utf8(opening(loaded))
    async for _, indexes, call in calls:
        count, missing = count + 1, missing + (call is None)
        yield _utf8(transcript.call(call, indexes))
    yield _utf8(closing(count, missing))


def _call(call_id: UUID, call: CallDetail | None) -> dict[str, object]:
    """Of one that is not stored any more, its id."""
    return {"call": {"call_id": call_id, "is_missing": True}} if call is None else call_document(call)


def _utf8(text: str) -> bytes:
    """Lone surrogates, which UTF-8 cannot carry, become question marks."""
    return text.encode("utf-8", "replace")
