"""CONDUCTOR of what is behind the capture log: stores -> recorder -> console, in one process or apart.

The embedded ClickHouse lives in one process, so `watchllm up` runs recorder and console together. The
console answers while a store is away, and says so; the recorder waits, and the log holds the captures.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass

import asyncpg
import structlog
from aiohttp import web

from watchllm_proxy import keyfile, recorder_metrics
from watchllm_proxy.access import ConsoleAccess
from watchllm_proxy.capture.merge import LogSet
from watchllm_proxy.console.app import build_app
from watchllm_proxy.console.context import Health
from watchllm_proxy.decode import rebuild
from watchllm_proxy.errors import SettingsError, StoreError
from watchllm_proxy.lifecycle import Stopped, make_run_dir, on_signals, patiently, rest
from watchllm_proxy.proxy.auth import KeyRing, ProjectKey
from watchllm_proxy.recorder import CLICKHOUSE, LOG, POSTGRES, Recorder, RecorderStats
from watchllm_proxy.sessionize import Sessionizer
from watchllm_proxy.settings import Settings
from watchllm_proxy.store import keys as project_keys
from watchllm_proxy.store.clickhouse import AsyncEventStore, ClickHouseServer, EventStore
from watchllm_proxy.store.embedded import EmbeddedClickHouse
from watchllm_proxy.store.migrate import migrate
from watchllm_proxy.store.postgres import RunStore, open_pool
from watchllm_proxy.store.reading import StoreReading
from watchllm_proxy.supervisor import watch_parent

log = structlog.get_logger(__name__)

KEY_REFRESH_S = 2.0
UPSTREAM_CHECK_S = 30.0
UPSTREAM_CHECK_TIMEOUT_S = 5.0
CONSOLE_DRAIN_S = 2.0
RECORDER = "recorder"
BEHIND_S = 60.0
"""A recorder whose newest stored record is older than this is told as behind."""


async def run_core(settings: Settings, *, recorder: bool, console: bool, is_child: bool) -> None:
    """Run until SIGTERM or SIGINT; what the log holds by then is stored before it returns.

    Raises `SettingsError` where no Postgres is named: only `up` starts one.
    """
    stop = asyncio.Event()
    on_signals(stop)
    with contextlib.suppress(Stopped):
        async with asyncio.TaskGroup() as task_group:
            if is_child:
                task_group.create_task(watch_parent(stop))
            async with _open_stores(settings, stop) as stores:
                await _run_parts(settings, stores, stop, recorder=recorder, console=console)


async def run_migrations(settings: Settings) -> list[str]:
    """Bring both stores to today's schema; one line for each migration applied."""
    with _event_engine(settings) as connect:
        events = AsyncEventStore(connect())
        try:
            return await migrate(_owner_dsn(settings), events)
        finally:
            await events.close()


# --- the stores -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stores:
    """Open stores. The recorder and the console have a ClickHouse thread each: neither waits for the other."""

    pool: asyncpg.Pool
    runs: RunStore
    recorder_events: AsyncEventStore
    reading: StoreReading


@contextlib.asynccontextmanager
async def _open_stores(settings: Settings, stop: asyncio.Event) -> AsyncIterator[Stores]:
    dsn = _dsn(settings)
    with _event_engine(settings) as connect:
        async with contextlib.AsyncExitStack() as closing:
            recorder_events, reading_events = AsyncEventStore(connect()), AsyncEventStore(connect())
            closing.push_async_callback(recorder_events.close)
            closing.push_async_callback(reading_events.close)
            applied = await patiently(lambda: migrate(_owner_dsn(settings), recorder_events), stop)
            log.info("core.migrated", applied=applied)
            pool = await patiently(lambda: open_pool(dsn), stop)
            runs = RunStore(pool)
            closing.push_async_callback(runs.close)
            yield Stores(pool, runs, recorder_events, StoreReading(pool, reading_events, rebuild=rebuild))


@contextlib.contextmanager
def _event_engine(settings: Settings) -> Iterator[Callable[[], EventStore]]:
    """Gives a way to connect to ClickHouse: the server that is named, or the engine in this process."""
    if settings.clickhouse_url is not None:
        url = settings.clickhouse_url
        yield lambda: ClickHouseServer(url)
        return
    engine = EmbeddedClickHouse(settings.data_dir / "clickhouse")
    try:
        yield engine.connect
    finally:
        engine.close()


def _dsn(settings: Settings) -> str:
    if settings.database_url is None:
        raise SettingsError(
            ["WATCHLLM_DATABASE_URL: must name a Postgres here; only `watchllm up` brings its own"]
        )
    return settings.database_url


def _owner_dsn(settings: Settings) -> str:
    return settings.owner_database_url or _dsn(settings)


# --- the parts --------------------------------------------------------------------------------------


async def _run_parts(
    settings: Settings, stores: Stores, stop: asyncio.Event, *, recorder: bool, console: bool
) -> None:
    """Console first and last: it answers while the recorder catches up, and while it stores the rest."""
    watch = UpstreamWatch(settings.upstream_url)
    recording = _new_recorder(settings, stores) if recorder else None
    async with asyncio.TaskGroup() as task_group, contextlib.AsyncExitStack() as closing:
        keys = KeyRing(keyfile.read(settings.key_file))
        task_group.create_task(refresh_keys(settings, stores.pool, keys, stop))
        if console:
            task_group.create_task(watch.run(stop))
            health = _health_of(recording.stats if recording else None, watch)
            access = ConsoleAccess(keys, allow_anonymous=bool(settings.allow_anonymous))
            app = build_app(stores.reading, settings=settings, health=health, project_of=access.project_of)
            if recording is not None:
                app.router.add_get("/metrics", _metrics_of(recording.stats))
            await closing.enter_async_context(_serve(settings, app))
        if recording is not None:
            await recording.run(stop)
        await stop.wait()


def _new_recorder(settings: Settings, stores: Stores) -> Recorder:
    silence_us = int(settings.run_silence_s * 1_000_000)
    return Recorder(
        LogSet(settings.capture_dir),
        stores.runs,
        stores.recorder_events,
        new_sessionizer=lambda: Sessionizer(silence_us=silence_us),
        keep_raw_days=settings.keep_raw_days,
        upstream_url=settings.upstream_url,
    )


@contextlib.asynccontextmanager
async def _serve(settings: Settings, app: web.Application) -> AsyncIterator[None]:
    """The console on its unix socket, which only our own user may open."""
    make_run_dir(settings.run_dir)
    settings.console_socket.unlink(missing_ok=True)  # of a process that was killed
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=CONSOLE_DRAIN_S)
    await runner.setup()
    await web.UnixSite(runner, str(settings.console_socket)).start()
    try:
        yield
    finally:
        await runner.cleanup()
        settings.console_socket.unlink(missing_ok=True)


async def refresh_keys(settings: Settings, pool: asyncpg.Pool, keys: KeyRing, stop: asyncio.Event) -> None:
    """Bring keys from Postgres to `keys` and the proxies' file; while Postgres is away both stay as they are."""
    while not stop.is_set():
        try:
            active = await project_keys.load_active(pool)
            found = {digest: ProjectKey(*project) for digest, project in active.items()}
            keys.replace(found)
            keyfile.write(settings.key_file, found)
        except StoreError as exc:
            log.warning("core.keys_not_refreshed", error=str(exc))
        await rest(stop, KEY_REFRESH_S)


class UpstreamWatch:
    """Knows whether the upstream can be connected to, and how long it takes: asked by the welcome page."""

    def __init__(self, upstream_url: str) -> None:
        parts = urllib.parse.urlsplit(upstream_url)
        self._host = parts.hostname or ""
        self._is_tls = parts.scheme == "https"
        self._port = parts.port or (443 if self._is_tls else 80)
        self.is_reachable: bool | None = None
        self.connect_ms: float | None = None

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self._check()
            await rest(stop, UPSTREAM_CHECK_S)

    async def _check(self) -> None:
        """Connect and hang up; sends nothing, so it costs nothing and needs no key."""
        started = time.monotonic()
        try:
            async with asyncio.timeout(UPSTREAM_CHECK_TIMEOUT_S):
                _, writer = await asyncio.open_connection(self._host, self._port, ssl=self._is_tls or None)
        except (OSError, TimeoutError):
            self.is_reachable, self.connect_ms = False, None
            return
        self.is_reachable, self.connect_ms = True, (time.monotonic() - started) * 1000
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _health_of(stats: RecorderStats | None, watch: UpstreamWatch) -> Callable[[], Awaitable[Health]]:
    started_at_us = time.time_ns() // 1000

    async def health() -> Health:
        return Health(
            checks=_checks(stats),
            is_upstream_reachable=watch.is_reachable,
            upstream_ms=watch.connect_ms,
            started_at_us=started_at_us,
        )

    return health


def _metrics_of(stats: RecorderStats) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def metrics(request: web.Request) -> web.Response:
        return web.Response(body=recorder_metrics.exposition(stats), content_type="text/plain")

    return metrics


def _checks(stats: RecorderStats | None) -> dict[str, str | None]:
    """What is wrong with each part, in a sentence; None where it is well."""
    if stats is None:
        return {}
    checks: dict[str, str | None] = dict.fromkeys((RECORDER, POSTGRES, CLICKHOUSE))
    if stats.waiting_for in checks:
        checks[stats.waiting_for] = "away: requests still pass, their captures wait in the log until it is back"
    checks[RECORDER] = _recorder_check(stats)
    return checks


def _recorder_check(stats: RecorderStats) -> str | None:
    if stats.waiting_for == LOG:
        return "a capture log cannot be read; the log of this process tells why. What is in it is not lost"
    if stats.lag_s > BEHIND_S:
        return f"{stats.lag_s:.0f} s behind; the log holds what is not stored yet"
    if stats.dead_letters:
        count = sum(stats.dead_letters.values())
        return f"{count} records could not be stored and were set aside with their bytes (dead_letters)"
    return None
