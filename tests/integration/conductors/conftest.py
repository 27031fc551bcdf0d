"""A recorder's surroundings: a log of its own, a fresh database, and ClickHouse on both engines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, MutableMapping
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import structlog

from tests.integration.conductors.recording import Bug, Recording
from watchllm_proxy import crash_points, thinking
from watchllm_proxy.records import Call, Exchange
from watchllm_proxy.store.clickhouse import AsyncEventStore, EventStore
from watchllm_proxy.store.dead_letters import DeadLetters
from watchllm_proxy.store.postgres import RunStore


@pytest.fixture
async def recording(tmp_path: Path, postgres_dsn: str, event_store: EventStore) -> AsyncIterator[Recording]:
    runs = await RunStore.open(postgres_dsn)
    events = AsyncEventStore(event_store)
    made = Recording(tmp_path / "capture", runs, events, event_store)
    yield made
    for writer in made.writers.values():
        await writer.close()
    await runs.close()
    await events.close()


@pytest.fixture
def letters(recording: Recording) -> DeadLetters:
    return DeadLetters(recording.runs.pool)


@pytest.fixture
def bug(monkeypatch: pytest.MonkeyPatch) -> Bug:
    """`bug(ids)`: these records crash a stage; `bug(set())`: it is mended."""
    met: set[UUID] = set()
    real = thinking.decode

    def decode(exchange: Exchange, **options: object) -> Call:
        if exchange.exchange_id in met:
            raise KeyError("a bug")
        return real(exchange, **options)  # type: ignore[arg-type]

    def has(ids: set[UUID]) -> None:
        met.clear()
        met.update(ids)

    monkeypatch.setattr(thinking, "decode", decode)
    return has


@pytest.fixture(autouse=True)
def _nothing_armed() -> Iterator[None]:
    yield
    crash_points._armed.clear()


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    """What was logged, in place of coloured tracebacks on the terminal, which take seconds."""
    with structlog.testing.capture_logs() as entries:
        yield entries
