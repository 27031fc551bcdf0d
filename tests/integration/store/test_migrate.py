"""Migrations: once, in order, never edited, by one process at a time; and schema.sql tells where they lead."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from watchllm_proxy.errors import StoreRejected
from watchllm_proxy.store import migrate as migrate_module
from watchllm_proxy.store.clickhouse import AsyncEventStore, ClickHouseServer, EventStore
from watchllm_proxy.store.embedded import EmbeddedPostgres
from watchllm_proxy.store.migrate import migrate, migrate_clickhouse, migrate_postgres, migrations
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


async def test_calls_of_the_first_schema_are_taken_over_with_their_messages(
    empty_postgres_dsn: str, empty_event_store: EventStore
) -> None:
    fill_first_schema(empty_event_store)
    await migrate(empty_postgres_dsn, AsyncEventStore(empty_event_store))
    assert taken_over(empty_event_store) == TAKEN_OVER


@pytest.mark.parametrize("cut", range(1, len(statements(migrations("clickhouse")[1].sql)) + 1))
async def test_taking_over_can_be_cut_short_anywhere(
    postgres: EmbeddedPostgres, clickhouse_url: str, cut: int
) -> None:
    store = ClickHouseServer(clickhouse_url)
    fill_first_schema(store)
    for statement in statements(migrations("clickhouse")[1].sql)[:cut]:
        store.define(statement)
    await migrate_clickhouse(AsyncEventStore(store), postgres.owner_dsn)
    assert taken_over(store) == TAKEN_OVER
    store.close()


def fill_first_schema(store: EventStore) -> None:
    """Two calls three weeks apart, the later one stored twice; one message that both hold, and others."""
    for statement in statements(migrations("clickhouse")[0].sql):
        store.define(statement)
    hashes = [f"unhex('{number:032x}')" for number in range(3)]
    for number, day, stored in ((1, "2026-10-01", 1), (2, "2026-10-22", 1), (2, "2026-10-22", 2)):
        store.execute(
            "INSERT INTO events (project_id, call_id, started_at, stored_at, message_hashes, answer_hash) SELECT "
            f"'p', toUUID('00000000-0000-0000-0000-00000000000{number}'), '{day} 12:00:00', "
            f"'2026-11-01 00:00:0{stored}', [{hashes[0]}, {hashes[number]}], "
            f"{'NULL' if number == 1 else hashes[1]}"
        )
        store.execute(
            "INSERT INTO raw_exchanges (project_id, call_id, started_at, expires_at, request) SELECT 'p', "
            f"toUUID('00000000-0000-0000-0000-00000000000{number}'), '{day} 12:00:00', '2027-01-01', 'raw'"
        )
    for number, digest in enumerate(hashes):
        store.execute(f"INSERT INTO messages (project_id, content_hash, content) SELECT 'p', {digest}, '{number}'")


TAKEN_OVER = {
    "events": [("2027-01-06", "1"), ("2027-01-27", "2")],
    "messages": [
        ("2027-01-06", "0"),
        ("2027-01-06", "1"),
        ("2027-01-27", "0"),
        ("2027-01-27", "1"),
        ("2027-01-27", "2"),
    ],
    "raw_exchanges": [("2027-01-06", "1"), ("2027-01-27", "2")],
}


def taken_over(store: EventStore) -> dict[str, list[tuple[str, str]]]:
    names = dict.fromkeys(TAKEN_OVER, "substring(toString(call_id), 36)") | {"messages": "content"}
    found = {}
    for table, name in names.items():
        rows = store.query(
            f"SELECT toString(expires_on) AS day, {name} AS name FROM {table} FINAL ORDER BY day, name"
        )
        found[table] = [(str(row["day"]), str(row["name"])) for row in rows]
    return found


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


TABLES = {
    "events",
    "messages",
    "raw_exchanges",
    "changed_hours",
    "hourly_figures",
    "erased_calls",
    "erased_messages",
    "reported_events",
}
VIEWS = ("daily_figures", "note_changed_hours")

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
    for view in VIEWS:
        event_store.execute(f"DROP TABLE {view}")
    for table in TABLES:
        event_store.execute(f"DROP TABLE {table}")
    for statement in statements((directory() / "clickhouse" / "schema.sql").read_text()):
        event_store.execute(statement)
    assert event_store.query(shown) == migrated
    assert len(migrated) == len(TABLES) + len(VIEWS)


def test_every_clickhouse_table_drops_repeated_tokens_and_survives_a_power_cut(event_store: EventStore) -> None:
    """The window's default is 0, which is off, and a token is then ignored without a word."""
    found = event_store.query(
        "SELECT name, create_table_query AS sql FROM system.tables "
        "WHERE database = currentDatabase() AND name != 'schema_migrations' AND engine LIKE '%MergeTree'"
    )
    assert {str(table["name"]) for table in found} == TABLES
    for table in found:
        assert "non_replicated_deduplication_window = 1000" in str(table["sql"]), table["name"]
        assert "fsync_after_insert = 1" in str(table["sql"]), table["name"]
        assert "ReplacingMergeTree" in str(table["sql"]), table["name"]


def test_every_clickhouse_column_says_what_it_holds(event_store: EventStore) -> None:
    silent = event_store.query(
        "SELECT table, name FROM system.columns "
        "WHERE database = currentDatabase() AND table != 'schema_migrations' AND comment = '' "
        f"AND table NOT IN {VIEWS}"
    )
    assert silent == []
    nullable = event_store.query(
        "SELECT name, comment FROM system.columns WHERE database = currentDatabase() AND type LIKE '%Nullable%' "
        f"AND table NOT IN {VIEWS}"
    )
    assert [row["name"] for row in nullable if "NULL" not in str(row["comment"])] == []
