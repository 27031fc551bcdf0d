"""Bring both stores to today's schema: ordered, locked, checksummed, and free to run again.

Postgres migrates in one transaction, so it is either here or there; its advisory lock covers ClickHouse
too. Row security follows the migrations (sql/postgres/security.sql), for every table that they make.
ClickHouse has no transactions: each of its migrations is written so that it may run again after it was cut
short (`IF NOT EXISTS`), and is noted once it is through.
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
_SECURITY_STATE = """
    SELECT obj_description('schema_migrations'::regclass, 'pg_class'),
        $1::text IS NULL OR pg_has_role($1, 'watchllm_recorder', 'USAGE')
            OR pg_has_role($1, 'watchllm_reader', 'USAGE')
"""
_CREATED_TABLE = re.compile(r"^CREATE TABLE (?:IF NOT EXISTS )?(\w+)", re.MULTILINE)
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


async def migrate(owner_dsn: str, events: AsyncEventStore, *, application_dsn: str | None = None) -> list[str]:
    """Apply what is missing; returns the names of what was, such as `postgres/0001_runs`.

    `owner_dsn` is of the role that owns the tables. Raises `StoreRejected` when a released migration was
    edited or a store is newer than this program, `StoreUnavailable` when a store is away.
    """
    return await migrate_postgres(owner_dsn, application_dsn) + await migrate_clickhouse(events, owner_dsn)


async def migrate_postgres(owner_dsn: str, application_dsn: str | None = None) -> list[str]:
    """As `migrate`, Postgres alone. The role that `application_dsn` logs in as gets the application's rights.

    Where there is nothing to do any role of ours will do: it is then only looked.
    """
    application = None if application_dsn in {None, owner_dsn} else await _who(application_dsn)
    async with _locked(owner_dsn) as connection:
        if await _is_current(connection, application):
            return []
        return await _migrate_postgres(connection, application)


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


async def _who(dsn: str) -> str:
    """The role that a URL logs in as: a pooler's URL may name it otherwise."""
    async with translated():
        connection = await asyncpg.connect(dsn, timeout=10, command_timeout=60, statement_cache_size=0)
        try:
            async with connection.transaction():
                ((who,),) = await connection.fetch("SELECT current_user::text")
            return str(who)
        finally:
            await connection.close()


async def _is_current(connection: asyncpg.Connection, application: str | None) -> bool:
    """Nothing is missing, and `application` can be what security.sql makes of it."""
    ((is_there,),) = await connection.fetch("SELECT to_regclass('schema_migrations') IS NOT NULL")
    if not is_there:
        return False
    if missing("postgres", migrations("postgres"), await _noted_in_postgres(connection)):
        return False
    found = await connection.fetch(_SECURITY_STATE, application)
    return [tuple(row) for row in found] == [(_security_mark(), True)]


async def _noted_in_postgres(connection: asyncpg.Connection) -> list[tuple[int, str, str]]:
    noted = await connection.fetch("SELECT number, name, sha256 FROM schema_migrations ORDER BY number")
    return [tuple(row) for row in noted]


async def _migrate_postgres(connection: asyncpg.Connection, application: str | None) -> list[str]:
    await connection.execute("SET LOCAL client_min_messages = warning")
    await connection.execute(_CREATE_POSTGRES_LIST)
    applied = []
    for migration in missing("postgres", migrations("postgres"), await _noted_in_postgres(connection)):
        await connection.execute(migration.sql)
        await connection.execute(
            "INSERT INTO schema_migrations (number, name, sha256) VALUES ($1, $2, $3)",
            migration.number,
            migration.name,
            migration.sha256,
        )
        applied.append(f"postgres/{migration.name}")
    await _secure_postgres(connection, application)
    return applied


async def _secure_postgres(connection: asyncpg.Connection, application: str | None) -> None:
    tables = ",".join(postgres_tables())
    for name, value in (("watchllm.tables", tables), ("watchllm.application", application or "")):
        await connection.execute("SELECT set_config($1, $2, true)", name, value)
    await connection.execute(_security_sql())
    await connection.execute(f"COMMENT ON TABLE schema_migrations IS '{_security_mark()}'")  # hexadecimal


def postgres_tables() -> list[str]:
    """The tables that our migrations make. Others may live beside them: they are not ours to touch."""
    made = [name for each in migrations("postgres") for name in _CREATED_TABLE.findall(each.sql)]
    return ["schema_migrations", *dict.fromkeys(made)]


def _security_sql() -> str:
    return (directory() / "postgres" / "security.sql").read_text(encoding="utf-8")


def _security_mark() -> str:
    """Changes with what security.sql does."""
    done = "\n".join([_security_sql(), *postgres_tables()])
    return hashlib.sha256(done.encode()).hexdigest()


async def _migrate_clickhouse(events: AsyncEventStore) -> list[str]:
    await events.define(_CREATE_CLICKHOUSE_LIST)
    rows = await events.query("SELECT number, name, sha256 FROM schema_migrations FINAL ORDER BY number")
    noted = [(int(str(row["number"])), str(row["name"]), str(row["sha256"])) for row in rows]
    applied = []
    for migration in missing("clickhouse", migrations("clickhouse"), noted):
        for statement in statements(migration.sql):
            await events.define(statement)
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
