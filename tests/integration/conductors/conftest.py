"""A recorder's surroundings: a log of its own, a fresh database, and ClickHouse on both engines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
import structlog

from tests.integration.conductors.recording import Recording
from watchllm_proxy import crash_points
from watchllm_proxy.store.clickhouse import AsyncEventStore, EventStore
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


@pytest.fixture(autouse=True)
def _nothing_armed() -> Iterator[None]:
    yield
    crash_points._armed.clear()


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    """What was logged, in place of coloured tracebacks on the terminal, which take seconds."""
    with structlog.testing.capture_logs() as entries:
        yield entries
