"""What Postgres says became of the records of each log: counted in the transactions that stored them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import asyncpg
import orjson

from watchllm_proxy.outcomes import DeadLetterReason
from watchllm_proxy.records import LogPosition
from watchllm_proxy.store.sql import queries
from watchllm_proxy.store.transactions import BATCH, transaction


@dataclass(frozen=True, slots=True)
class StoredAccount:
    """Of one log, as of one moment. Every record before `position` is in exactly one of the counts."""

    position: LogPosition
    stored: int
    dead_lettered: Mapping[DeadLetterReason, int]  # their bytes are kept
    dropped: int  # dead letters that a person gave up
    damaged_stretches: int


async def stored_accounts(pool: asyncpg.Pool) -> dict[str, StoredAccount]:
    """By log, all as of one moment. Raises `StoreUnavailable`."""
    async with transaction(pool, BATCH) as connection:
        found = await connection.fetch(queries("postgres")["accounts"])
    return {row["log_name"]: _account(row) for row in found}


def _account(row: asyncpg.Record) -> StoredAccount:
    dead: dict[str, int] = orjson.loads(row["dead_lettered"])
    return StoredAccount(
        position=LogPosition(row["segment"], row["offset_bytes"]),
        stored=row["stored_records"],
        dead_lettered={DeadLetterReason(reason): count for reason, count in dead.items()},
        dropped=row["dropped"],
        damaged_stretches=row["damaged_stretches"],
    )
