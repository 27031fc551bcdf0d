"""What a run takes on disk beside the bytes that passed: fifty steps, stored as they come, one batch each.

Requests repeat the conversation, so what passes grows with the square of the run; what is stored must not.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench import conversations, stores
from bench.apart import in_a_process_of_its_own
from bench.conversations import Texts
from bench.stores import LOG_MAX_BYTES, Stores
from watchllm_proxy.capture.writer import LogWriter

EVENT_TABLES = ("events", "messages", "raw_exchanges")
ACTIVE_PARTS = "SELECT sum(bytes_on_disk) AS bytes FROM system.parts WHERE active AND database = currentDatabase()"
RUN_TABLES = """
SELECT sum(pg_total_relation_size(oid)) FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
"""


@dataclass(frozen=True, slots=True)
class Stored:
    """Bytes. ClickHouse as it came in parts, and after all parts were merged; Postgres with its indexes."""

    runs: int
    passed_bytes: int
    clickhouse_bytes: int
    clickhouse_merged_bytes: int
    postgres_bytes: int

    @property
    def share(self) -> float:
        """Of what passed, before any merge: the worst moment."""
        return (self.clickhouse_bytes + self.postgres_bytes) / self.passed_bytes

    @property
    def merged_share(self) -> float:
        return (self.clickhouse_merged_bytes + self.postgres_bytes) / self.passed_bytes


def measure(runs: int) -> Stored:
    return in_a_process_of_its_own(_measure, runs)


def _measure(runs: int) -> Stored:
    return asyncio.run(_store(runs))


async def _store(runs: int) -> Stored:
    chance = random.Random(7)
    texts = Texts(chance)
    passed_bytes = 0
    with tempfile.TemporaryDirectory(prefix="watchllm-bench-") as folder:
        logs = Path(folder) / "capture"
        async with stores.opened(Path(folder)) as opened:
            empty_bytes = await _postgres_bytes(opened)
            recorder = stores.recorder(logs, opened)
            writer = LogWriter(logs / "w0", max_bytes=LOG_MAX_BYTES)
            writer.open()
            for number in range(runs):
                for exchange in conversations.conversation(conversations.LONG_RUN, number, chance, texts):
                    passed_bytes += exchange.request_body.size_bytes + exchange.response_body.size_bytes
                    writer.append(exchange)
                    await writer.flush()
                    await recorder.run_once()
            await writer.close()
            if recorder.stats.stored_calls != runs * conversations.LONG_RUN.steps:
                raise RuntimeError(f"{recorder.stats.stored_calls} calls are stored")
            clickhouse_bytes = await _clickhouse_bytes(opened)
            for table in EVENT_TABLES:
                await opened.events.execute(f"OPTIMIZE TABLE {table} FINAL")
            return Stored(
                runs=runs,
                passed_bytes=passed_bytes,
                clickhouse_bytes=clickhouse_bytes,
                clickhouse_merged_bytes=await _clickhouse_bytes(opened),
                postgres_bytes=await _postgres_bytes(opened) - empty_bytes,
            )


async def _clickhouse_bytes(opened: Stores) -> int:
    return int(str((await opened.events.query(ACTIVE_PARTS))[0]["bytes"]))


async def _postgres_bytes(opened: Stores) -> int:
    return int(await opened.runs.pool.fetchval(RUN_TABLES))
