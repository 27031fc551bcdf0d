"""CONDUCTOR of what is behind the capture log: stores -> recorder -> console, in one process or apart.

The embedded ClickHouse lives in one process, so `watchllm up` runs recorder and console together. The
console answers while a store is away, and says so; the recorder waits, and the log holds the captures.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import asyncpg
import structlog
from aiohttp import web

from watchllm_proxy import keyfile, price_updates
from watchllm_proxy.access import ConsoleAccess
from watchllm_proxy.accounting import balances, total
from watchllm_proxy.capture.merge import LogSet
from watchllm_proxy.console.api.live import LISTENERS
from watchllm_proxy.console.app import add_routes, build_app
from watchllm_proxy.console.context import HealthOf
from watchllm_proxy.enrich.redaction.kinds import RedactionMode
from watchllm_proxy.errors import CaptureLogError, StoreError
from watchllm_proxy.export_jobs import ExportJobs
from watchllm_proxy.exporting import export_app
from watchllm_proxy.health import StoresAway, UpstreamWatch, health_of
from watchllm_proxy.housekeeping import Housekeeping
from watchllm_proxy.lifecycle import Stopped, held, make_run_dir, on_signals, rest, settle_memory
from watchllm_proxy.metering import Metering, MeteringStats
from watchllm_proxy.proxy.auth import KeyRing
from watchllm_proxy.proxy.client import MAX_HEADERS, MAX_LINE_BYTES
from watchllm_proxy.recorder import Recorder
from watchllm_proxy.recorder_stats import RecorderStats
from watchllm_proxy.redacting import ProjectRedaction, Redacting
from watchllm_proxy.redaction_key import redaction_key
from watchllm_proxy.sessionize import Sessionizer, Shelf
from watchllm_proxy.settings import Settings
from watchllm_proxy.store import keys as project_keys
from watchllm_proxy.store.corrections import Corrections
from watchllm_proxy.stores import Stores, dsn_of, open_stores, prepare, watch_stores
from watchllm_proxy.supervisor import watch_parent

log = structlog.get_logger(__name__)

KEY_REFRESH_S = 2.0
WORTH_A_LINE = 2
"""As many times keys could not be refreshed: at a first start they are asked for before their table is made."""
CONSOLE_DRAIN_S = 2.0
BOOKS_INTERVAL_S = 5.0
HEADERS_OF_PROXY = 2
"""`X-Forwarded-For`, and a `Host` where an HTTP/1.0 client sent none."""


async def run_core(settings: Settings, *, recorder: bool, console: bool, is_child: bool) -> None:
    """Run until SIGTERM or SIGINT; what the log holds by then is stored before it returns.

    Raises `SettingsError` where no Postgres is named: only `up` starts one. Raises `AlreadyRunning` where another
    process does the same on this data directory.
    """
    stop = asyncio.Event()
    on_signals(stop)
    settle_memory()
    dsn_of(settings)
    try:
        async with asyncio.TaskGroup() as task_group:
            if is_child:
                task_group.create_task(watch_parent(stop))
            async with open_stores(settings) as stores:
                await _run_parts(settings, stores, stop, recorder=recorder, console=console)
    except* Stopped:
        log.info("core.stopped_while_waiting")


async def _run_parts(
    settings: Settings, stores: Stores, stop: asyncio.Event, *, recorder: bool, console: bool
) -> None:
    """Console first and last: it answers while a store is away, and while the recorder stores the rest."""
    keys = KeyRing()
    keyfile.take_over(settings.key_file, keys)
    watch, away = UpstreamWatch(settings.upstream_url), StoresAway()
    recording = new_recorder(settings, stores) if recorder else None
    housekeeping = _new_housekeeping(stores, recording) if recording else None
    metering = Metering(stores.runs.pool, settings.usage_dir)
    async with asyncio.TaskGroup() as task_group, contextlib.AsyncExitStack() as closing:
        make_run_dir(settings.run_dir)
        if recording is not None:
            closing.enter_context(held(settings.run_dir / "recorder.lock", "the recorder of this data directory"))
        if console:
            closing.enter_context(held(settings.run_dir / "console.lock", "the console of this data directory"))
            task_group.create_task(watch.run(stop))
            stats = recording.stats if recording else None
            export_jobs = ExportJobs(settings, stores.pool)
            task_group.create_task(export_jobs.run(stop))
            app = _console(settings, stores, keys, health_of(stats, watch, away), export_jobs)
            if stats is not None:
                add_routes(app, [web.get("/metrics", _metrics_of(stats, housekeeping, metering.stats))], None)
            await closing.enter_async_context(_serve(settings.console_socket, app))
            task_group.create_task(_let_listeners_go(app, stop))
        task_group.create_task(refresh_keys(settings, stores.pool, keys, stop))
        take_up = partial(recording.take_up, stop) if recording is not None else None
        await prepare(settings, stores, away, stop, with_postgres=take_up)
        if recording is not None and housekeeping is not None:
            exports = export_app(stores.runs.pool, stores.upkeep_events, recording.rules, recording.at_rest)
            await closing.enter_async_context(_serve(settings.export_socket, exports))
            task_group.create_task(_keep_books(settings, stores, recording.stats, stop))
            task_group.create_task(housekeeping.run(stop))
            task_group.create_task(metering.run(stop))
            if settings.price_update_hours:
                task_group.create_task(price_updates.keep_up_to_date(settings, stores.runs.pool, stop))
            await recording.run(stop)
        else:
            await watch_stores(stores, away, stop)
        await stop.wait()


async def _let_listeners_go(app: web.Application, stop: asyncio.Event) -> None:
    """At once, so that a page knows: the console itself answers until the recorder has stored the rest."""
    await stop.wait()
    app[LISTENERS].stopping.set()


def _console(
    settings: Settings, stores: Stores, keys: KeyRing, health: HealthOf, exports: ExportJobs
) -> web.Application:
    access = ConsoleAccess(
        keys, stores.pool, allow_anonymous=bool(settings.allow_anonymous), is_loopback=settings.is_loopback
    )
    return build_app(
        stores.reading,
        settings=settings,
        health=health,
        visitor_of=access.visitor_of,
        desk=Corrections(stores.pool),
        pool=stores.pool,
        redaction=ProjectRedaction(stores.pool, redaction_key(settings), RedactionMode(settings.redact)),
        exports=exports,
    )


def new_recorder(settings: Settings, stores: Stores) -> Recorder:
    """As the settings want it. Who runs it holds `recorder.lock`."""
    return Recorder(
        LogSet(settings.capture_dir),
        stores.runs,
        stores.recorder_events,
        new_sessionizer=sessionizers(settings),
        keep_raw_days=settings.keep_raw_days,
        upstream_url=settings.upstream_url,
        retention_days=settings.retention_days,
        redacting=Redacting(stores.runs.pool, redaction_key(settings), RedactionMode(settings.redact)),
        suspect_file=settings.suspect_file,
    )


def sessionizers(settings: Settings) -> Callable[[Shelf], Sessionizer]:
    """Who groups calls as the settings want it."""
    silence_us = int(settings.run_silence_s * 1_000_000)
    return lambda shelf: Sessionizer(silence_us=silence_us, shelf=shelf)


def _new_housekeeping(stores: Stores, recorder: Recorder) -> Housekeeping:
    return Housekeeping(stores.runs.pool, stores.upkeep_events, recorder.rules, forgotten=recorder.forget_soon)


@contextlib.asynccontextmanager
async def _serve(socket: Path, app: web.Application) -> AsyncIterator[None]:
    """On a unix socket, in a directory which only our own user may enter."""
    _remove(socket)  # of a process that was killed
    runner = web.AppRunner(
        app,
        access_log=None,
        shutdown_timeout=CONSOLE_DRAIN_S,
        # What the proxy let pass: a browser's cookies of all that ran on localhost alone can be over 8 KiB.
        max_line_size=MAX_LINE_BYTES,
        max_field_size=MAX_LINE_BYTES,
        max_headers=MAX_HEADERS + HEADERS_OF_PROXY,
    )
    await runner.setup()
    await web.UnixSite(runner, str(socket)).start()
    try:
        yield
    finally:
        await runner.cleanup()
        _remove(socket)


def _remove(socket: Path) -> None:
    socket.unlink(missing_ok=True)


async def _keep_books(settings: Settings, stores: Stores, stats: RecorderStats, stop: asyncio.Event) -> None:
    """What became of every capture, for /metrics and /readyz; while it cannot be told, as it was told last."""
    while not stop.is_set():
        with contextlib.suppress(StoreError, CaptureLogError):  # who is away is told by the recorder
            stats.books = total((await balances(stores.pool, settings.capture_dir)).values())
        await rest(stop, BOOKS_INTERVAL_S)


async def refresh_keys(settings: Settings, pool: asyncpg.Pool, keys: KeyRing, stop: asyncio.Event) -> None:
    """Bring keys from Postgres to `keys` and the proxies' file; while Postgres is away both stay as they are."""
    misses, seen, written = 0, "", None
    while not stop.is_set():
        try:
            if keyfile.changed_at(settings.key_file) != written:
                seen = ""  # somebody else wrote it, or took it away
            mark, found = await project_keys.load_grants(pool, seen)
            if found is not None:
                keys.replace(found)
                await asyncio.to_thread(keyfile.write, settings.key_file, found)
                seen, written = mark, keyfile.changed_at(settings.key_file)
            misses = 0
        except (StoreError, OSError) as exc:  # Postgres is away, or the disk is full
            misses += 1
            if misses == WORTH_A_LINE:
                log.warning("core.keys_not_refreshed", error=str(exc))
        await rest(stop, KEY_REFRESH_S)


def _metrics_of(
    stats: RecorderStats, housekeeping: Housekeeping | None, metering: MeteringStats
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def metrics(request: web.Request) -> web.Response:
        from watchllm_proxy import recorder_metrics  # noqa: PLC0415 - with it a library that no start waits for

        kept = housekeeping.stats if housekeeping else None
        return web.Response(body=recorder_metrics.exposition(stats, kept, metering), content_type="text/plain")

    return metrics
