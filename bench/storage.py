"""What a call takes on disk, of short and long runs, beside storing each request whole.

Requests repeat the conversation, so what passes grows with the square of the run; what is stored must not. Calls
are stored as they come, one batch for each. "Whole" is what one would do without thinking: each request and answer
as they were, in a column of their own, compressed as ours are (ZSTD(3)), in the order of time.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench import conversations, stores
from bench.apart import in_a_process_of_its_own
from bench.conversations import Shape
from bench.stores import LOG_MAX_BYTES, Stores
from watchllm_proxy.capture.writer import LogWriter
from watchllm_proxy.records import Exchange

EVENT_TABLES = ("events", "messages", "raw_exchanges")
ACTIVE_PARTS = "SELECT sum(bytes_on_disk) AS bytes FROM system.parts WHERE active AND database = currentDatabase()"
RUN_TABLES = """
SELECT sum(pg_total_relation_size(oid)) FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
"""
WHOLE_TABLE = """
CREATE TABLE whole (at UInt64, request String CODEC(ZSTD(3)), response String CODEC(ZSTD(3)))
ENGINE = MergeTree ORDER BY at
"""
WHOLE_BYTES = """
SELECT sum(bytes_on_disk) AS bytes FROM system.parts
WHERE active AND database = currentDatabase() AND table = 'whole'
"""
WHOLE_AT_ONCE = 100
AT_ONCE = 10
"""Runs under way at any time, their calls interleaved, as calls of several agents are."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Bytes of all calls. ClickHouse as it came in parts, and after all parts were merged; Postgres with its
    indexes; `whole_bytes`: requests and answers as they were, merged too."""

    shape: Shape
    runs: int
    passed_bytes: int
    clickhouse_bytes: int
    clickhouse_merged_bytes: int
    postgres_bytes: int
    whole_bytes: int

    @property
    def calls(self) -> int:
        return self.runs * self.shape.steps

    @property
    def ours_bytes(self) -> int:
        return self.clickhouse_merged_bytes + self.postgres_bytes

    @property
    def share(self) -> float:
        """Of what passed, before any merge: the worst moment."""
        return (self.clickhouse_bytes + self.postgres_bytes) / self.passed_bytes

    @property
    def merged_share(self) -> float:
        return self.ours_bytes / self.passed_bytes


def measure(shape: Shape, runs: int) -> Stored:
    return in_a_process_of_its_own(_measure, (shape, runs))


def _measure(what: tuple[Shape, int]) -> Stored:
    return asyncio.run(_store(*what))


async def _store(shape: Shape, runs: int) -> Stored:
    exchanges = list(conversations.log_of(shape, runs, at_once=AT_ONCE, seed=7))
    with tempfile.TemporaryDirectory(prefix="watchllm-bench-") as folder:
        async with stores.opened(Path(folder)) as opened:
            empty_bytes = await _postgres_bytes(opened)
            await _record(Path(folder) / "capture", opened, exchanges)
            clickhouse_bytes = await _clickhouse_bytes(opened)
            for table in EVENT_TABLES:
                await opened.events.execute(f"OPTIMIZE TABLE {table} FINAL")
            return Stored(
                shape=shape,
                runs=runs,
                passed_bytes=sum(
                    each.request_body.size_bytes + each.response_body.size_bytes for each in exchanges
                ),
                clickhouse_bytes=clickhouse_bytes,
                clickhouse_merged_bytes=await _clickhouse_bytes(opened),
                postgres_bytes=await _postgres_bytes(opened) - empty_bytes,
                whole_bytes=await _whole_bytes(opened, exchanges),
            )


async def _record(logs: Path, opened: Stores, exchanges: Iterable[Exchange]) -> None:
    recorder = stores.recorder(logs, opened)
    writer = LogWriter(logs / "w0", max_bytes=LOG_MAX_BYTES)
    writer.open()
    written = 0
    for exchange in exchanges:
        writer.append(exchange)
        written += 1
        await writer.flush()
        await recorder.run_once()
    await writer.close()
    if recorder.stats.stored_calls != written:
        raise RuntimeError(f"{recorder.stats.stored_calls} of {written} calls are stored")


async def _whole_bytes(opened: Stores, exchanges: list[Exchange]) -> int:
    await opened.events.execute(WHOLE_TABLE)
    rows = [(each.ended_at_us, each.request_body.content, each.response_body.content) for each in exchanges]
    for start in range(0, len(rows), WHOLE_AT_ONCE):
        batch = rows[start : start + WHOLE_AT_ONCE]
        await opened.events.insert("whole", ["at", "request", "response"], batch, f"whole-{start}")
    await opened.events.execute("OPTIMIZE TABLE whole FINAL")
    return int(str((await opened.events.query(WHOLE_BYTES))[0]["bytes"]))


async def _clickhouse_bytes(opened: Stores) -> int:
    return int(str((await opened.events.query(ACTIVE_PARTS))[0]["bytes"]))


async def _postgres_bytes(opened: Stores) -> int:
    return int(await opened.runs.pool.fetchval(RUN_TABLES))
