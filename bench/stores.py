"""Embedded stores for a measurement, and the real recorder over a capture log. One use in each process: the
embedded ClickHouse opens one directory in the life of a process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.processes import cpu_ns, tree
from watchllm_proxy.capture.merge import LogSet
from watchllm_proxy.capture.writer import LogWriter
from watchllm_proxy.enrich.redaction.kinds import RedactionMode
from watchllm_proxy.recorder import Recorder
from watchllm_proxy.records import Exchange
from watchllm_proxy.redacting import Redacting
from watchllm_proxy.sessionize import Sessionizer
from watchllm_proxy.store.clickhouse import AsyncEventStore
from watchllm_proxy.store.embedded import EmbeddedClickHouse, EmbeddedPostgres
from watchllm_proxy.store.migrate import migrate
from watchllm_proxy.store.postgres import RunStore

LOG_MAX_BYTES = 4 * 1024**3
SILENCE_US = 600_000_000


@dataclass(frozen=True, slots=True)
class Stores:
    postgres: EmbeddedPostgres
    runs: RunStore
    events: AsyncEventStore

    def postgres_cpu_ns(self) -> int:
        return 0 if self.postgres.pid is None else cpu_ns(tree(self.postgres.pid))


async def write_log(directory: Path, exchanges: Iterable[Exchange]) -> None:
    """A capture log of one worker below `directory`, written by the product's own writer."""
    writer = LogWriter(directory / "w0", max_bytes=LOG_MAX_BYTES)
    writer.open()
    try:
        for number, exchange in enumerate(exchanges):
            if writer.append(exchange) is not None:
                raise RuntimeError("the capture log shed an exchange")
            if number % 100 == 99:
                await writer.flush()
    finally:
        await writer.close()


@contextlib.asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[Stores]:
    """Both embedded stores, migrated and empty."""
    postgres = EmbeddedPostgres(directory / "postgres")
    await asyncio.to_thread(postgres.start)
    try:
        engine = await asyncio.to_thread(EmbeddedClickHouse, directory / "clickhouse")
        try:
            events = AsyncEventStore(engine.connect())
            await migrate(postgres.owner_dsn, events)
            runs = await RunStore.open(postgres.dsn)
            yield Stores(postgres, runs, events)
            await runs.close()
            await events.close()
        finally:
            engine.close()
    finally:
        await asyncio.to_thread(postgres.stop)


def recorder(logs: Path, stores: Stores) -> Recorder:
    """As `watchllm up` has it: credentials and personal data are taken out."""
    return Recorder(
        LogSet(logs),
        stores.runs,
        stores.events,
        new_sessionizer=lambda shelf: Sessionizer(silence_us=SILENCE_US, shelf=shelf),
        redacting=redacting(stores),
    )


def redacting(stores: Stores) -> Redacting:
    return Redacting(stores.runs.pool, bytes(32), RedactionMode.ALL)
