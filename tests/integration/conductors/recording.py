"""A recorder on a capture log and two real stores, and the plain questions that its tests ask them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import UUID, uuid4

import orjson

from tests.capture_records import make_exchange, segment_names
from watchllm_proxy.accounting import Balance, balances, total
from watchllm_proxy.capture.merge import LogSet
from watchllm_proxy.capture.writer import LogWriter
from watchllm_proxy.decode import rebuild
from watchllm_proxy.recorder import Recorder
from watchllm_proxy.records import DEFAULT_PROJECT_ID, Exchange, Report
from watchllm_proxy.redacting import Redacting
from watchllm_proxy.sessionize import Sessionizer
from watchllm_proxy.store.clickhouse import AsyncEventStore, EventStore
from watchllm_proxy.store.postgres import RunStore
from watchllm_proxy.store.reading import StoreReading

SILENCE_US = 600 * 1_000_000
WAIT_S = 60.0


Bug = Callable[[set[UUID]], None]
"""`conftest.bug`: records that crash a stage."""


class Killed(BaseException):
    """Stands for kill -9: nothing of ours handles it."""


def chat(number: int, *, run: str | None = None, ended_at_us: int | None = None) -> Exchange:
    """A chat of its own, told apart by `number`; `run` names its run. It ended just now unless told otherwise."""
    ended_at_us = ended_at_us or time.time_ns() // 1000
    request = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": f"Question {number}?"}]}
    message = {"role": "assistant", "content": f"Answer {number}."}
    answer = {
        "id": f"chatcmpl-{uuid4()}",
        "model": "gpt-4o-mini",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13},
    }
    plain = make_exchange(orjson.dumps(request), orjson.dumps(answer))
    headers = plain.request_headers if run is None else (*plain.request_headers, ("X-Run-Id", run))
    return replace(
        plain, request_headers=headers, started_at_us=ended_at_us - plain.duration_us, status=200
    )  # fmt: skip


@dataclass(slots=True)
class Recording:
    """`write` to a log, then let a `recorder()` do its work, then ask. A new recorder is a new process's."""

    logs: Path
    runs: RunStore
    events: AsyncEventStore
    store: EventStore  # under `events`; for reading while nobody records
    written: int = 0
    shed: int = 0
    writers: dict[str, LogWriter] = field(default_factory=dict)

    def recorder(
        self,
        events: AsyncEventStore | None = None,
        runs: RunStore | None = None,
        *,
        keep_raw_days: int = 0,
        redacting: Redacting | None = None,
        suspect_file: Path | None = None,
    ) -> Recorder:
        return Recorder(
            LogSet(self.logs),
            runs or self.runs,
            events or self.events,
            new_sessionizer=lambda shelf: Sessionizer(silence_us=SILENCE_US, shelf=shelf),
            keep_raw_days=keep_raw_days,
            redacting=redacting,
            suspect_file=suspect_file,
        )

    async def write_reports(self, records: Sequence[Exchange | Report], log: str = "w0") -> None:
        """In this order."""
        await self.write([], log)
        await asyncio.gather(*(self.writers[log].append_durable(each) for each in records))

    async def write(self, exchanges: Sequence[Exchange], log: str = "w0") -> list[UUID]:
        writer = self.writers.get(log)
        if writer is None:
            writer = self.writers[log] = LogWriter(self.logs / log, max_bytes=1 << 30, segment_bytes=1 << 16)
            writer.open()
        for exchange in exchanges:
            if writer.append(exchange) is not None:
                self.shed += 1
        await writer.flush()
        self.written = sum(each.accepted for each in self.writers.values())
        return [exchange.exchange_id for exchange in exchanges]

    def segments(self, log: str = "w0") -> list[str]:
        return segment_names(self.logs / log)

    async def count(self, table: str) -> int:
        """Rows as they lie there: doubled ones twice."""
        (row,) = await self.events.query(f"SELECT count() AS rows FROM {table}")
        return int(str(row["rows"]))

    async def call_ids(self) -> list[UUID]:
        rows = await self.events.query("SELECT call_id FROM events")
        return [UUID(str(row["call_id"])) for row in rows]

    async def raw(self, call_id: UUID) -> tuple[bytes | None, bytes | None] | None:
        """The exact bodies, as the console reads them."""
        reading = StoreReading(self.runs.pool, self.events, rebuild=rebuild)
        return await reading.get_raw(DEFAULT_PROJECT_ID, call_id)

    async def in_postgres(self, sql: str) -> object:
        return await self.runs.pool.fetchval(sql)

    async def books(self) -> Balance:
        return total((await balances(self.runs.pool, self.logs)).values())

    async def assert_adds_up(self) -> Balance:
        """To the record: every capture is in one place, and both stores hold what is counted as stored."""
        books = await self.books()
        (row,) = await self.events.query(
            "SELECT uniqExact(call_id) AS calls, uniqExactIf(call_id, isNotNull(run_id)) AS in_runs FROM events"
        )
        placed = await self.in_postgres("SELECT count(DISTINCT call_id) FROM run_links")
        assert books.missing == 0, books.in_words()
        assert (books.stored, row["in_runs"]) == (row["calls"], placed), books.in_words()
        assert sum(writer.accepted for writer in self.writers.values()) <= books.accepted
        return books

    async def count_of(self, table: str, rows: int) -> bool:
        """Whether this table of Postgres has so many rows."""
        return await self.in_postgres(f"SELECT count(*) FROM {table}") == rows

    async def dead_letters(self) -> dict[UUID, str]:
        rows = await self.runs.pool.fetch("SELECT record_id, reason FROM dead_letters")
        return {row["record_id"]: row["reason"] for row in rows}

    def in_log(self, recorder: Recorder) -> int:
        """Bytes that are not stored yet."""
        return LogSet(self.logs).depth_bytes(recorder._offsets)


class Running:
    """`async with Running(recorder)`: it runs, and stops well at the end."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._stop = asyncio.Event()

    async def __aenter__(self) -> Recorder:
        self._task = asyncio.ensure_future(self._recorder.run(self._stop))
        return self._recorder

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        async with asyncio.timeout(WAIT_S):
            await self._task


async def run_until_stored(recorder: Recorder, within_s: float = WAIT_S) -> None:
    """Start it as a process does, let it store what is there, and stop it."""
    stop = asyncio.Event()
    stop.set()
    async with asyncio.timeout(within_s):
        await recorder.run(stop)


async def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {WAIT_S} s for {what}")
        await asyncio.sleep(0.02)


async def until_true(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not await condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {WAIT_S} s for {what}")
        await asyncio.sleep(0.05)
