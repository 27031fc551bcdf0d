"""Exports while a recorder works: its process makes them, asked over a socket that only our user may open.

The embedded ClickHouse is open in one process, and of any store only the recorder knows when nothing is under way.

    POST /export {"project_id": "default", "run_ids": null}    200: the export, and how many runs it is to hold in
                                                               `Runs`; broken off where it does not come to its end
                                                               503: why there is none
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Protocol

import aiohttp
import asyncpg
import structlog
from aiohttp import web

from watchllm_proxy.errors import AlreadyRunning, StoreError, StoreUnavailable
from watchllm_proxy.store.clickhouse import AsyncEventStore
from watchllm_proxy.store.old_runs import RetentionRules
from watchllm_proxy.store.transfer import EventRows, RunRows
from watchllm_proxy.transferring import RUN_LINE, Told, exported

log = structlog.get_logger(__name__)

REST_WITHIN_S = 60.0
"""A batch takes seconds. One that takes longer waits for a store, and the export with it."""

SILENCE_S = 150.0
"""Longer than the recorder's side can be silent and still be at work."""

_RUNS = "Runs"


class Sink(Protocol):
    """Where an export goes: a binary file, or what stands before one."""

    def write(self, piece: bytes, /) -> object: ...
    def flush(self) -> None: ...


# --- the recorder's side ----------------------------------------------------------------------------


def export_app(
    pool: asyncpg.Pool, events: AsyncEventStore, rules: RetentionRules, at_rest: asyncio.Lock
) -> web.Application:
    """`at_rest` is held while a batch is under way."""

    async def export(request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        project_id, run_ids = asked["project_id"], asked["run_ids"]
        try:
            runs = RunRows(pool, project_id)
            response = web.StreamResponse(headers={_RUNS: str(await runs.count(run_ids))})
            rows = EventRows(events, project_id, await rules.current())
        except StoreError as exc:
            return web.Response(status=503, text=str(exc))
        await response.prepare(request)
        try:
            async for piece in exported(runs, rows, run_ids, _nobody, lambda: _between_batches(at_rest)):
                await response.write(piece)
        except StoreError as exc:
            log.warning("export.broken_off", error=str(exc))
            if request.transport is not None:
                request.transport.abort()
        return response

    app = web.Application()
    app.router.add_post("/export", export)
    return app


@contextlib.asynccontextmanager
async def _between_batches(at_rest: asyncio.Lock) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(REST_WITHIN_S):
            await at_rest.acquire()
    except TimeoutError as exc:
        raise StoreUnavailable("the recorder waits for a store: /readyz says for which") from exc
    try:
        yield
    finally:
        at_rest.release()


def _nobody(done: int, total: int) -> None:
    """Whoever asked counts what comes."""


# --- the side of whoever asks -----------------------------------------------------------------------


async def ask_for_export(
    socket: Path, project_id: str, run_ids: Sequence[str] | None, out: Sink, told: Told
) -> int:
    """Write what the recorder's process makes; returns how many runs there were.

    Raises `AlreadyRunning` where it does not answer yet, `StoreUnavailable` where the export broke off.
    """
    asked = {"project_id": project_id, "run_ids": run_ids}
    timeout = aiohttp.ClientTimeout(total=None, sock_read=SILENCE_S)
    connector = aiohttp.UnixConnector(str(socket))
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.post("http://recorder/export", json=asked) as answer,
        ):
            if answer.status != 200:
                raise StoreUnavailable(await answer.text())
            return await _write(answer, out, told)
    except aiohttp.ClientConnectorError as exc:
        raise AlreadyRunning("a recorder starts or stops on this data directory just now: try again") from exc
    except (aiohttp.ClientError, TimeoutError) as exc:
        raise StoreUnavailable("the export broke off: a store went away, or the recorder; try again") from exc


async def _write(answer: aiohttp.ClientResponse, out: Sink, told: Told) -> int:
    """A line that begins as a run's does is one: what a client wrote stands inside a line."""
    total, done, before = int(answer.headers[_RUNS]), 0, b"\n"
    async for piece in answer.content.iter_any():
        out.write(piece)
        seen = before + piece
        runs = seen.count(b"\n" + RUN_LINE)
        before = seen[-len(RUN_LINE) :]
        if runs:
            done += runs
            told(done, total)
    out.flush()
    return done
