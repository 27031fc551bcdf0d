"""Migrations: once, in order, never edited, by one process at a time; and schema.sql tells where they lead."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from watchllm_proxy.errors import StoreRejected
from watchllm_proxy.store import migrate as migrate_module
from watchllm_proxy.store.clickhouse import AsyncEventStore, ClickHouseServer, EventStore
from watchllm_proxy.store.migrate import migrate, migrate_postgres, migrations
from watchllm_proxy.store.sql import directory, statements


async def test_the_second_run_has_nothing_to_do(empty_postgres_dsn: str, empty_event_store: EventStore) -> None:
    events = AsyncEventStore(empty_event_store)
    applied = await migrate(empty_postgres_dsn, events)
    assert applied == [
        f"{engine}/{each.name}" for engine in ("postgres", "clickhouse") for each in migrations(engine)
    ]
    assert await migrate(empty_postgres_dsn, events) == []


async def test_two_at_once_apply_each_migration_once(empty_postgres_dsn: str, clickhouse_url: str) -> None:
    stores = [AsyncEventStore(ClickHouseServer(clickhouse_url)) for _ in range(3)]
    applied = await asyncio.gather(*(migrate(empty_postgres_dsn, events) for events in stores))
    assert sorted(len(each) for each in applied)[:1] == [0]
    everything = [name for each in applied for name in each]
    assert len(everything) == len(set(everything)) == len(migrations("postgres")) + len(migrations("clickhouse"))
    for events in stores:
        await events.close()


async def test_a_clickhouse_migration_cut_short_is_taken_up(
    empty_postgres_dsn: str, empty_event_store: EventStore
) -> None:
    empty_event_store.execute(statements(migrations("clickhouse")[0].sql)[0])
    await migrate(empty_postgres_dsn, AsyncEventStore(empty_event_store))
    assert empty_event_store.query("SELECT count() AS rows FROM raw_exchanges") == [{"rows": 0}]


async def test_an_edited_migration_is_an_error_that_names_it(empty_postgres_dsn: str) -> None:
    await migrate_postgres(empty_postgres_dsn)
    connection = await asyncpg.connect(empty_postgres_dsn)
    await connection.execute("UPDATE schema_migrations SET sha256 = 'another' WHERE number = 1")
    with pytest.raises(StoreRejected, match="postgres/0001_runs was edited"):
        await migrate_postgres(empty_postgres_dsn)
    await connection.close()


async def test_a_database_of_a_newer_version_is_refused(empty_postgres_dsn: str) -> None:
    await migrate_postgres(empty_postgres_dsn)
    connection = await asyncpg.connect(empty_postgres_dsn)
    await connection.execute("INSERT INTO schema_migrations VALUES (9999, '9999_future', 'x')")
    with pytest.raises(StoreRejected, match="9999_future"):
        await migrate_postgres(empty_postgres_dsn)
    await connection.close()


async def test_a_failing_postgres_migration_leaves_nothing(
    empty_postgres_dsn: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "postgres" / "migrations"
    folder.mkdir(parents=True)
    (folder / "0001_good.sql").write_text("CREATE TABLE good (a integer);")
    (folder / "0002_bad.sql").write_text("CREATE TABLE bad (a integer); SELECT 1 / 0;")
    monkeypatch.setattr(migrate_module, "directory", lambda: tmp_path)
    with pytest.raises(StoreRejected):
        await migrate_postgres(empty_postgres_dsn)
    connection = await asyncpg.connect(empty_postgres_dsn)
    assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    await connection.close()


COLUMNS = """
    SELECT table_name, column_name, data_type, is_nullable, column_default
    FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'schema_migrations'
    ORDER BY table_name, ordinal_position
"""
INDEXES = (
    "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'schema_migrations' ORDER BY 1"
)


async def test_postgres_migrations_lead_to_schema_sql(empty_postgres_dsn: str) -> None:
    connection = await asyncpg.connect(empty_postgres_dsn)
    try:
        await migrate_postgres(empty_postgres_dsn)
        migrated = [await connection.fetch(COLUMNS), await connection.fetch(INDEXES)]
        await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        await connection.execute((directory() / "postgres" / "schema.sql").read_text())
        assert [await connection.fetch(COLUMNS), await connection.fetch(INDEXES)] == migrated
        assert len(migrated[0]) > 50
    finally:
        await connection.close()


def test_clickhouse_migrations_lead_to_schema_sql(event_store: EventStore) -> None:
    shown = (
        "SELECT create_table_query FROM system.tables "
        "WHERE database = currentDatabase() AND name != 'schema_migrations' ORDER BY name"
    )
    migrated = event_store.query(shown)
    for table in ("events", "messages", "raw_exchanges"):
        event_store.execute(f"DROP TABLE {table}")
    for statement in statements((directory() / "clickhouse" / "schema.sql").read_text()):
        event_store.execute(statement)
    assert event_store.query(shown) == migrated
    assert len(migrated) == 3


def test_every_clickhouse_table_drops_repeated_tokens_and_survives_a_power_cut(event_store: EventStore) -> None:
    """The window's default is 0, which is off, and a token is then ignored without a word."""
    found = event_store.query(
        "SELECT name, create_table_query AS sql FROM system.tables "
        "WHERE database = currentDatabase() AND name != 'schema_migrations'"
    )
    for table in found:
        assert "non_replicated_deduplication_window = 1000" in str(table["sql"]), table["name"]
        assert "fsync_after_insert = 1" in str(table["sql"]), table["name"]
        assert "ReplacingMergeTree" in str(table["sql"]), table["name"]


def test_every_clickhouse_column_says_what_it_holds(event_store: EventStore) -> None:
    silent = event_store.query(
        "SELECT table, name FROM system.columns "
        "WHERE database = currentDatabase() AND table != 'schema_migrations' AND comment = ''"
    )
    assert silent == []
    nullable = event_store.query(
        "SELECT name, comment FROM system.columns WHERE database = currentDatabase() AND type LIKE '%Nullable%'"
    )
    assert [row["name"] for row in nullable if "NULL" not in str(row["comment"])] == []
