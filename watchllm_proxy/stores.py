"""CONDUCTOR of the stores: which ones the settings name, opened so that nobody has to wait for them.

Opening connects to nothing. A store that is away says so each time it is asked, and needs no help when it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import asyncpg
import structlog

from watchllm_proxy.decode import rebuild
from watchllm_proxy.errors import SettingsError, StoreError
from watchllm_proxy.health import StoresAway
from watchllm_proxy.lifecycle import patiently, rest
from watchllm_proxy.recorder_stats import CLICKHOUSE, POSTGRES
from watchllm_proxy.settings import Settings
from watchllm_proxy.store.clickhouse import AsyncEventStore, ClickHouseServer, EventStore, Params
from watchllm_proxy.store.embedded import EmbeddedClickHouse
from watchllm_proxy.store.migrate import migrate, migrate_clickhouse, migrate_postgres
from watchllm_proxy.store.postgres import RunStore
from watchllm_proxy.store.reading import StoreReading
from watchllm_proxy.store.transactions import open_pool

log = structlog.get_logger(__name__)

STORE_CHECK_S = 5.0
READING_CONNECTIONS = 6
RECORDER_CONNECTIONS = 3
"""Of one process at most, opened when they are wanted."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stores:
    """Both stores, there or not: each operation says `StoreUnavailable` while its store is away.

    The recorder and the console have connections of their own to each: neither waits for the other.
    `pool` is the console's, `upkeep_events` housekeeping's: what may take long.
    """

    pool: asyncpg.Pool
    runs: RunStore
    recorder_events: AsyncEventStore
    upkeep_events: AsyncEventStore
    reading: StoreReading


@contextlib.asynccontextmanager
async def open_stores(settings: Settings) -> AsyncIterator[Stores]:
    """Connects to nothing yet, so that it works on the worst of days."""
    with event_engine(settings) as connect:
        async with contextlib.AsyncExitStack() as closing:
            recorder_events = AsyncEventStore(StoreOpenedLate(connect))
            upkeep_events = AsyncEventStore(StoreOpenedLate(connect))
            reading_events = AsyncEventStore(StoreOpenedLate(connect))
            closing.push_async_callback(recorder_events.close)
            closing.push_async_callback(upkeep_events.close)
            closing.push_async_callback(reading_events.close)
            pool = await open_pool(dsn_of(settings), min_size=0, max_size=READING_CONNECTIONS)
            closing.push_async_callback(pool.close)
            runs = RunStore(await open_pool(dsn_of(settings), min_size=0, max_size=RECORDER_CONNECTIONS))
            closing.push_async_callback(runs.close)
            yield Stores(
                pool, runs, recorder_events, upkeep_events, StoreReading(pool, reading_events, rebuild=rebuild)
            )


@contextlib.contextmanager
def event_engine(settings: Settings) -> Iterator[Callable[[], EventStore]]:
    """Gives a way to connect to ClickHouse: the server that is named, or the engine in this process."""
    if settings.clickhouse_url is not None:
        url, cluster = settings.clickhouse_url, settings.clickhouse_cluster
        yield lambda: ClickHouseServer(url, cluster=cluster)
        return
    with contextlib.closing(EngineOpenedLate(settings.data_dir / "clickhouse")) as engine:
        yield engine.connect


async def run_migrations(settings: Settings) -> list[str]:
    """Bring both stores to today's schema; one line for each migration applied."""
    owner = owner_dsn(settings)
    with event_engine(settings) as connect:
        events = AsyncEventStore(StoreOpenedLate(connect))
        try:
            return await migrate(owner, events, application_dsn=settings.database_url)
        finally:
            await events.close()


async def prepare(
    settings: Settings,
    stores: Stores,
    away: StoresAway,
    stop: asyncio.Event,
    *,
    with_postgres: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Wait for both stores and bring them to today's schema. `Stopped` when told to stop while one is away.

    `with_postgres` is done as soon as Postgres is ready: the embedded ClickHouse takes its time to open.
    """
    owner, application, events = owner_dsn(settings), dsn_of(settings), stores.recorder_events

    async def when_there(store: str, operation: Callable[[], Awaitable[T]]) -> T:
        found = await patiently(operation, stop, waiting=partial(away.note, store))
        away.note(store, None)
        return found

    async def make_postgres_ready() -> None:
        await when_there(POSTGRES, lambda: migrate_postgres(owner, application))
        if with_postgres is not None:
            await with_postgres()

    async with asyncio.TaskGroup() as task_group:  # so that both are told, when both are away
        task_group.create_task(make_postgres_ready())
        task_group.create_task(when_there(CLICKHOUSE, events.ping))
    await when_there(CLICKHOUSE, lambda: migrate_clickhouse(events, owner))
    log.info("core.stores_ready")


async def watch_stores(stores: Stores, away: StoresAway, stop: asyncio.Event) -> None:
    """Where no recorder tells which store is away."""
    while not stop.is_set():
        for store, ping in ((POSTGRES, stores.runs.ping), (CLICKHOUSE, stores.recorder_events.ping)):
            try:
                await ping()
            except StoreError as exc:
                away.note(store, exc, STORE_CHECK_S)
            else:
                away.note(store, None)
        await rest(stop, STORE_CHECK_S)


def dsn_of(settings: Settings) -> str:
    if settings.database_url is None:
        raise SettingsError(
            ["WATCHLLM_DATABASE_URL: must name a Postgres here; only `watchllm up` brings its own"]
        )
    return settings.database_url


def owner_dsn(settings: Settings) -> str:
    return settings.owner_database_url or dsn_of(settings)


class EngineOpenedLate:
    """The embedded ClickHouse, opened by the first that connects: it takes seconds, and may fail for a while."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._opening = threading.Lock()
        self._engine: EmbeddedClickHouse | None = None

    def connect(self) -> EventStore:
        with self._opening:
            self._engine = self._engine or EmbeddedClickHouse(self._directory)
            return self._engine.connect()

    def close(self) -> None:
        with self._opening:
            if self._engine is not None:
                self._engine.close()
            self._engine = None


class StoreOpenedLate:
    """`EventStore` that is opened by its first use, and again by the next where that fails."""

    def __init__(self, connect: Callable[[], EventStore]) -> None:
        self._connect = connect
        self._opened: EventStore | None = None

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]], token: str) -> None:
        self._store().insert(table, columns, rows, token)

    def query(self, sql: str, params: Params | None = None) -> list[dict[str, object]]:
        return self._store().query(sql, params)

    def execute(self, sql: str, params: Params | None = None) -> None:
        self._store().execute(sql, params)

    def define(self, sql: str, params: Params | None = None) -> None:
        self._store().define(sql, params)

    def ping(self) -> None:
        self._store().ping()

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()

    def _store(self) -> EventStore:
        if self._opened is None:
            self._opened = self._connect()
        return self._opened
