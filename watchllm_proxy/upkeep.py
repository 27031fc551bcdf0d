"""CONDUCTOR of upkeep by hand: erase, retention, export, import, backfill: on the stores that the settings name.

Erasing is the recorder's to do, for it alone inserts and remembers runs. Its lock tells whether there is one: who
gets it is alone, and runs one meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import BinaryIO

from watchllm_proxy.backfilling import Backfill
from watchllm_proxy.core import new_recorder, sessionizers
from watchllm_proxy.errors import AlreadyRunning, StoreRejected, StoreUnavailable
from watchllm_proxy.exporting import ask_for_export
from watchllm_proxy.housekeeping import Housekeeping
from watchllm_proxy.lifecycle import held, make_data_dir, make_run_dir
from watchllm_proxy.pricing import Pricing
from watchllm_proxy.sessionize.person import SaidByPeople
from watchllm_proxy.settings import Settings
from watchllm_proxy.store import erasures, old_runs
from watchllm_proxy.store.backfills import Progress
from watchllm_proxy.store.corrections import Corrections
from watchllm_proxy.store.embedded import EmbeddedPostgres
from watchllm_proxy.store.erasures import Erasure
from watchllm_proxy.store.migrate import migrate_postgres
from watchllm_proxy.store.old_runs import RetentionRules
from watchllm_proxy.store.postgres import RunStore
from watchllm_proxy.store.transfer import EventRows, RunRows
from watchllm_proxy.stores import Stores, open_stores, run_migrations
from watchllm_proxy.transferring import Imported, Told, check, export, import_

POLL_S = 0.2
TAKEN_UP_WITHIN_S = 600.0
"""A recorder stores all that was captured before first; then it erases."""


async def erase_now(
    settings: Settings, erasure: Erasure, *, waiting: Callable[[], None] = lambda: None
) -> dict[str, int]:
    """Erase, or have it erased; what, and how many. Raises `StoreRejected` where a store refuses it."""
    with _alone(settings) as is_alone:
        async with _postgres(settings, may_start=is_alone) as complete:
            if is_alone:
                await run_migrations(complete)
                async with open_stores(complete) as stores:
                    await erasures.ask_for(stores.runs.pool, erasure)
                    async with _recording(complete, stores):
                        return await _outcome(stores.runs, erasure)
            runs = await RunStore.open(str(complete.database_url))
            try:
                await erasures.ask_for(runs.pool, erasure)
                waiting()
                return await _outcome(runs, erasure)
            finally:
                await runs.close()


@contextlib.asynccontextmanager
async def _recording(settings: Settings, stores: Stores) -> AsyncIterator[None]:
    """A recorder at work meanwhile: it stores what the logs hold and does what was asked for."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as task_group:
        task_group.create_task(new_recorder(settings, stores).run(stop))
        try:
            yield
        finally:
            stop.set()


async def _outcome(runs: RunStore, erasure: Erasure) -> dict[str, int]:
    async with asyncio.timeout(TAKEN_UP_WITHIN_S):
        while True:
            found = await erasures.progress(runs.pool, erasure.erasure_id)
            if found.failure is not None:
                raise StoreRejected(found.failure)
            if found.erased is not None:
                return found.erased
            await asyncio.sleep(POLL_S)


async def set_retention(settings: Settings, project_id: str, days: int | None) -> bool:
    """False: there is no such project."""
    async with _runs(settings) as runs:
        return await old_runs.set_retention(runs.pool, project_id, days)


async def retention_of(settings: Settings) -> dict[str, int]:
    """Days by project, of those that do not follow the setting."""
    async with _runs(settings) as runs:
        return dict((await RetentionRules(runs.pool, settings.retention_days).current()).by_project)


async def retain_now(settings: Settings) -> dict[str, int]:
    """Drop all that is out of retention; how many of what. Raises `AlreadyRunning` where a recorder does it."""
    done: dict[str, int] = {"run": 0, "row": 0}
    with _alone(settings) as is_alone:
        if not is_alone:
            raise AlreadyRunning("a recorder runs on this data directory: it does this itself, once an hour")
        async with _postgres(settings, may_start=True) as complete, open_stores(complete) as stores:
            await run_migrations(complete)
            rules = RetentionRules(stores.runs.pool, settings.retention_days)
            keeping = Housekeeping(stores.runs.pool, stores.upkeep_events, rules)
            has_more = True
            while has_more:
                found = await keeping.retain(datetime.now(UTC))
                done["run"] += found.deleted.runs
                done["row"] += sum(found.dropped_rows.values())
                has_more = found.has_more
            if wanted := await erasures.wanted(stores.runs.pool):
                async with _recording(complete, stores):
                    for erasure in wanted:
                        await _outcome(stores.runs, erasure)
    return done


async def export_runs(
    settings: Settings, project_id: str, run_ids: Sequence[str] | None, out: BinaryIO, told: Told
) -> int:
    """Write runs of a project, all of them for None; returns how many there were.

    Where a recorder runs on this data directory it makes the export, between two batches.
    """
    with _alone(settings) as is_alone:
        if not is_alone:
            return await ask_for_export(settings.export_socket, project_id, run_ids, out, told)
        async with _transfer(settings, project_id) as (runs, events):
            return await export(runs, events, run_ids, out, told)


async def is_project(settings: Settings, project_id: str) -> bool:
    async with _runs(settings) as runs:
        return await RunRows(runs.pool, project_id).is_there()


async def import_runs(settings: Settings, file: BinaryIO, project_id: str | None, told: Told) -> Imported:
    """Take over the runs of an export, into the project that they came from or another one.

    Raises `ExportDamaged`, with nothing imported, unless the file is whole; `StoreRejected` where there is no such
    project.
    """
    contents = await asyncio.to_thread(check, file)
    file.seek(0)
    with _alone(settings) as is_alone:
        if settings.clickhouse_url is None and not is_alone:
            raise AlreadyRunning("the embedded ClickHouse is in use: stop `watchllm up` for this")
        async with _transfer(settings, project_id or contents.project_id) as (runs, events):
            if not await runs.is_there():
                raise StoreRejected(f"there is no project {runs.project_id!r}: watchllm projects makes one")
            return await import_(runs, events, file, contents.runs, told)


async def backfill(
    settings: Settings, project_id: str, from_us: int, to_us: int, told: Told, *, is_dry: bool
) -> Progress:
    """Think about the stored calls of these times again. Raises `AlreadyRunning` where a recorder runs."""
    with _alone(settings) as is_alone:
        if not is_alone:
            raise AlreadyRunning(
                "a recorder runs on this data directory, and it alone may write runs: stop it for this"
            )
        async with _postgres(settings, may_start=True) as complete:
            await run_migrations(complete)
            async with open_stores(complete) as stores:
                work = Backfill(
                    stores.runs,
                    stores.upkeep_events,
                    project_id,
                    new_sessionizer=sessionizers(complete),
                    said=SaidByPeople(await Corrections(stores.runs.pool).in_force()),
                    pricing=Pricing(stores.runs.pool, complete.upstream_url),
                    now_us=time.time_ns() // 1000,
                    is_dry=is_dry,
                )
                return await work.run(from_us, to_us, told)


@contextlib.asynccontextmanager
async def _transfer(settings: Settings, project_id: str) -> AsyncIterator[tuple[RunRows, EventRows]]:
    """Both stores."""
    async with _postgres(settings, may_start=True) as complete:
        await run_migrations(complete)
        async with open_stores(complete) as stores:
            retention = await RetentionRules(stores.runs.pool, settings.retention_days).current()
            yield RunRows(stores.runs.pool, project_id), EventRows(stores.upkeep_events, project_id, retention)


@contextlib.contextmanager
def _alone(settings: Settings) -> Iterator[bool]:
    """Hold the recorder's lock while we do its work; False where a recorder has it."""
    make_data_dir(settings.data_dir)
    make_run_dir(settings.run_dir)
    with contextlib.ExitStack() as holding:
        try:
            holding.enter_context(held(settings.run_dir / "recorder.lock", "the recorder of this data directory"))
        except AlreadyRunning:
            yield False
            return
        yield True


@contextlib.asynccontextmanager
async def _runs(settings: Settings) -> AsyncIterator[RunStore]:
    async with _postgres(settings, may_start=True) as complete:
        runs = await RunStore.open(str(complete.database_url))
        try:
            yield runs
        finally:
            await runs.close()


@contextlib.asynccontextmanager
async def _postgres(settings: Settings, *, may_start: bool) -> AsyncIterator[Settings]:
    """The settings with a Postgres in them: the one that is named, the embedded one that runs, or one we start."""
    if settings.database_url is not None:
        yield settings
        return
    server = EmbeddedPostgres(settings.data_dir / "postgres")
    if (running := server.running_dsn) is not None:
        yield replace(settings, database_url=running)
        return
    if not may_start:
        raise StoreUnavailable("the embedded Postgres of this data directory is not running yet; try again")
    await asyncio.to_thread(server.start)
    try:
        await migrate_postgres(server.owner_dsn, server.dsn)
        yield replace(settings, database_url=server.dsn, owner_database_url=server.owner_dsn)
    finally:
        await asyncio.to_thread(server.stop)
