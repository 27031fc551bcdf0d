"""`GET /api/agent-runs/{run_id}/events`: a run while it goes on, as server-sent events.

An event says how far the run has come, not what is new: whoever hears it reads the steps again. So none is lost
or told twice, whatever happens to the connection, and nothing has to be kept for those who come back.
`Last-Event-ID` is how far the listener had come: where that still holds, there is nothing to tell.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from aiohttp import web

from watchllm_proxy.console.addresses import decode_id
from watchllm_proxy.console.answers import Problem, dumps
from watchllm_proxy.console.context import project_of, reading_of
from watchllm_proxy.errors import StoreUnavailable
from watchllm_proxy.records import Run, RunStatus

LOOK_EVERY_S = 0.3
SIGN_OF_LIFE_EVERY = 10
"""Looks without news after which a comment says that the connection holds."""

MAX_LISTENERS = 64
MAX_LOOKS = 3000
"""About a quarter of an hour: then the browser connects again by itself, as whoever it is by then."""


class Listeners:
    """Those who hear of runs now. They are let go when `stopping` is set, and nobody is let in any more."""

    def __init__(self) -> None:
        self.count = 0
        self.stopping = asyncio.Event()

    async def stop(self, _: web.Application) -> None:
        self.stopping.set()


LISTENERS: web.AppKey[Listeners] = web.AppKey("LISTENERS")


async def run_events(request: web.Request) -> web.StreamResponse:
    listeners = request.app[LISTENERS]
    run = await _run(request)
    if run is None:
        raise web.HTTPNotFound
    if listeners.stopping.is_set():
        raise Problem(503, "stopping", "The console stops; try again shortly.")
    if listeners.count >= MAX_LISTENERS:
        raise Problem(503, "too_many_listeners", f"{MAX_LISTENERS} pages hear of runs already; try again shortly.")
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
    listeners.count += 1
    try:
        await answer.prepare(request)
        with suppress(ConnectionResetError):  # the page was left
            await _tell(request, answer, run)
    finally:
        listeners.count -= 1
    return answer


async def _tell(request: web.Request, answer: web.StreamResponse, run: Run | None) -> None:
    """Until the run is over, or gone: it was merged into another, or erased."""
    told = request.headers.get("Last-Event-ID")
    quiet = 0
    await answer.write(b"retry: 1000\n\n")
    for _ in range(MAX_LOOKS):
        if run is None:
            break
        if (reached := _reached(run)) != told:
            await answer.write(_event(run, reached))
            told, quiet = reached, 0
        if run.status is not RunStatus.RUNNING:
            return
        quiet += 1
        if quiet % SIGN_OF_LIFE_EVERY == 0:
            await answer.write(b": still here\n\n")
        with suppress(TimeoutError):
            await asyncio.wait_for(request.app[LISTENERS].stopping.wait(), LOOK_EVERY_S)
            return
        try:
            run = await _run(request)
        except StoreUnavailable:
            return  # the page says that it is cut off, and comes back
    else:
        return
    await answer.write(b"event: gone\ndata: {}\n\n")


async def _run(request: web.Request) -> Run | None:
    row = await reading_of(request).get_run(project_of(request), decode_id(request.match_info["run_id"]))
    return None if row is None else row.run


def _reached(run: Run) -> str:
    """Changes with every step, and with the end."""
    return f"{run.total_steps}-{run.last_activity_at_us}-{run.status}"


def _event(run: Run, reached: str) -> bytes:
    is_over = run.status is not RunStatus.RUNNING
    told = dumps({"total_steps": run.total_steps, "status": run.status, "is_over": is_over})
    return b"id: %b\ndata: %b\n\n" % (reached.encode(), told)
