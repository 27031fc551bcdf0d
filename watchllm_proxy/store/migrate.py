"""Bring both stores to today's schema: ordered, locked, checksummed, and free to run again.

Postgres migrates in one transaction, so it is either here or there; its advisory lock covers ClickHouse
too. ClickHouse has no transactions: each of its migrations is written so that it may run again after it was
cut short (`IF NOT EXISTS`), and is noted once it is through.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from watchllm_proxy.errors import StoreRejected
from watchllm_proxy.store.clickhouse import AsyncEventStore
from watchllm_proxy.store.postgres_errors import translated
from watchllm_proxy.store.sql import directory, statements

_LOCK_KEY = 0x77617463686C6C6D  # "watchllm"

_CREATE_POSTGRES_LIST = """
    CREATE TABLE IF NOT EXISTS schema_migrations (
        number integer PRIMARY KEY,
        name text NOT NULL,
        sha256 text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now()
    )
"""
_CREATE_CLICKHOUSE_LIST = """
    CREATE TABLE IF NOT EXISTS schema_migrations (
        number UInt32, name String, sha256 String, applied_at DateTime('UTC') DEFAULT now()
    ) ENGINE = ReplacingMergeTree ORDER BY number
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of `sql/<engine>/migrations`. Released ones are never edited: their checksum is remembered."""

    number: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations(engine: str) -> list[Migration]:
    """Those of `engine`, in order. Their numbers run from 1 without a gap."""
    found = []
    for path in sorted((directory() / engine / "migrations").glob("*.sql")):
        if not re.fullmatch(r"\d{4}_\w+", path.stem):
            raise ValueError(f"{path.name} is not named like 0001_events.sql")
        found.append(Migration(int(path.stem[:4]), path.stem, path.read_text(encoding="utf-8")))
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"the migrations of {engine} do not run from 0001 without a gap")
    return found


async def migrate(owner_dsn: str, events: AsyncEventStore) -> list[str]:
    """Apply what is missing; returns the names of what was, such as `postgres/0001_runs`.

    `owner_dsn` is of the role that owns the tables. Raises `StoreRejected` when a released migration was
    edited or a store is newer than this program, `StoreUnavailable` when a store is away.
    """
    return await migrate_postgres(owner_dsn) + await migrate_clickhouse(events, owner_dsn)


async def migrate_postgres(owner_dsn: str) -> list[str]:
    """As `migrate`, Postgres alone."""
    async with _locked(owner_dsn) as connection:
        return await _migrate_postgres(connection)


async def migrate_clickhouse(events: AsyncEventStore, lock_dsn: str) -> list[str]:
    """As `migrate`, ClickHouse alone. Any role of the Postgres of `lock_dsn` will do: it only holds the lock."""
    async with _locked(lock_dsn):
        return await _migrate_clickhouse(events)


@asynccontextmanager
async def _locked(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """One transaction, the only one of its kind in this database: others wait until it ends."""
    async with translated():
        connection = await asyncpg.connect(dsn, timeout=10, command_timeout=600, statement_cache_size=0)
        try:
            async with connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK_KEY)
                yield connection
        finally:
            await connection.close()


async def _migrate_postgres(connection: asyncpg.Connection) -> list[str]:
    await connection.execute("SET LOCAL client_min_messages = warning")
    await connection.execute(_CREATE_POSTGRES_LIST)
    noted = await connection.fetch("SELECT number, name, sha256 FROM schema_migrations ORDER BY number")
    applied = []
    for migration in missing("postgres", migrations("postgres"), [tuple(row) for row in noted]):
        await connection.execute(migration.sql)
        await connection.execute(
            "INSERT INTO schema_migrations (number, name, sha256) VALUES ($1, $2, $3)",
            migration.number,
            migration.name,
            migration.sha256,
        )
        applied.append(f"postgres/{migration.name}")
    return applied


async def _migrate_clickhouse(events: AsyncEventStore) -> list[str]:
    await events.execute(_CREATE_CLICKHOUSE_LIST)
    rows = await events.query("SELECT number, name, sha256 FROM schema_migrations FINAL ORDER BY number")
    noted = [(int(str(row["number"])), str(row["name"]), str(row["sha256"])) for row in rows]
    applied = []
    for migration in missing("clickhouse", migrations("clickhouse"), noted):
        for statement in statements(migration.sql):
            await events.execute(statement)
        await events.execute(
            "INSERT INTO schema_migrations (number, name, sha256) "
            "SELECT {number:UInt32}, {name:String}, {sha256:String}",
            {"number": migration.number, "name": migration.name, "sha256": migration.sha256},
        )
        applied.append(f"clickhouse/{migration.name}")
    return applied


def missing(engine: str, known: list[Migration], noted: list[tuple[int, str, str]]) -> list[Migration]:
    """What is still to be applied, after checking that what was applied is what we know."""
    by_number = {migration.number: migration for migration in known}
    for number, name, sha256 in noted:
        if number not in by_number:
            raise StoreRejected(
                f"{engine} has migration {name}, which this version of watchllm does not know: upgrade"
            )
        if by_number[number].sha256 != sha256:
            raise StoreRejected(f"{engine}/{name} was edited after it was applied: write a new migration instead")
    done = {number for number, _, _ in noted}
    return [migration for migration in known if migration.number not in done]
