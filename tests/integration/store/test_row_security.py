"""Row security as the only line: with the application's filters removed nobody sees a foreign row.

Generated from the catalogue and from queries.sql, so that a new table or query is under test by default.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest

from watchllm_proxy.errors import StoreError, StoreUnavailable
from watchllm_proxy.store.embedded import EmbeddedPostgres
from watchllm_proxy.store.migrate import migrate_postgres, migrations, postgres_tables
from watchllm_proxy.store.postgres import RunStore
from watchllm_proxy.store.sql import queries
from watchllm_proxy.store.transactions import BATCH, KEYRING, QUESTION, Role, open_pool, transaction

NOBODYS_ROWS = {"plans", "price_lists", "capture_offsets", "pending_batches", "dead_letters", "schema_migrations"}
"""Tables without a tenant: the recorder's alone. A new one is put here by somebody who has thought about it."""

SHOWN_TO_READERS = {
    "api_keys": "key_id, project_id, name, key_prefix, expires_at",
    "provider_keys": "project_id, last_four, set_at",
    "people": "project_id, user_name, scopes, created_at",
    "sessions": "project_id, user_name, created_at, expires_at",
}
"""Seen by column only: what is secret is not among them."""

MINE, THEIRS, NOBODY = "default", "other", "nobody"

SAMPLES = {
    "text": "'x'", "uuid": "md5($1::text)::uuid", "timestamp with time zone": "now()", "date": "current_date",
    "integer": "0", "bigint": "0", "numeric": "0", "double precision": "0", "boolean": "true",
    "jsonb": "'[]'", "bytea": "'\\x00'", "ARRAY": "'{}'",
}  # fmt: skip

CHOICES = {
    "error_count": "1",
    "redaction": "'secrets'",
    "plan": "'pro'",
    "wanted_plan": "'pro'",
    "over_quota": "'pass'",
    "requests_per_minute": "1",
    "redaction_rules": "'{}'",
    "flag_thresholds": "'{}'",
    "flags": """'[{"kind": "x"}]'""",
}
"""Of columns that not any value of their type will do for."""


@pytest.fixture
async def owner(postgres: EmbeddedPostgres, postgres_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(as_owner(postgres_dsn))
    yield connection
    await connection.close()


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    opened = await open_pool(postgres_dsn)
    yield opened
    await opened.close()


def as_owner(dsn: str) -> str:
    return dsn.replace("//watchllm_app@", "//watchllm_owner@")


async def tenant_tables(owner: asyncpg.Connection) -> list[str]:
    found = await owner.fetch(
        "SELECT table_name FROM information_schema.columns "
        "WHERE table_schema = 'public' AND column_name = 'project_id' ORDER BY table_name = 'projects' DESC, 1"
    )
    return [row["table_name"] for row in found]


async def fill_every_table(owner: asyncpg.Connection) -> None:
    """A row of each of two projects in every table that has projects."""
    for project in (MINE, THEIRS):
        for table in await tenant_tables(owner):
            columns = await owner.fetch(
                "SELECT column_name, data_type FROM information_schema.columns "
                "WHERE table_schema = 'public' AND table_name = $1 "
                "AND is_identity = 'NO' AND is_generated = 'NEVER'",
                table,
            )
            names = ", ".join(row["column_name"] for row in columns)
            values = ", ".join(
                "$1::text" if row["column_name"] in {"project_id", "user_name"}
                else "sha256(convert_to($1::text, 'UTF8'))" if row["column_name"] in {"key_hash", "session_hash"}
                else CHOICES.get(row["column_name"]) or SAMPLES[row["data_type"]]
                for row in columns
            )  # fmt: skip
            await owner.execute(f"INSERT INTO {table} ({names}) VALUES ({values}) ON CONFLICT DO NOTHING", project)


# --- the catalogue ----------------------------------------------------------------------------------


async def test_every_table_has_row_security_enabled_and_forced(owner: asyncpg.Connection) -> None:
    found = await owner.fetch(
        "SELECT relname, relrowsecurity, relforcerowsecurity FROM pg_class "
        "WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
    )
    assert {row["relname"] for row in found} == set(postgres_tables())
    assert [row["relname"] for row in found if not row["relrowsecurity"]] == []
    assert [row["relname"] for row in found if not row["relforcerowsecurity"]] == ["schema_migrations"]


async def test_every_table_belongs_to_projects_or_is_known_to_belong_to_nobody(owner: asyncpg.Connection) -> None:
    tables = {row[0] for row in await owner.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
    assert tables - set(await tenant_tables(owner)) == NOBODYS_ROWS
    bound = await owner.fetch("SELECT tablename FROM pg_policies WHERE policyname = 'own_project'")
    assert {row[0] for row in bound} == tables - NOBODYS_ROWS


async def test_no_role_of_the_application_owns_anything_or_passes_row_security(owner: asyncpg.Connection) -> None:
    roles = await owner.fetch(
        "SELECT rolname, rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb AS is_mighty, rolcanlogin "
        "FROM pg_roles WHERE rolname LIKE 'watchllm\\_%' AND rolname <> 'watchllm_owner'"
    )
    assert {row["rolname"] for row in roles} == {"watchllm_app", *Role}
    assert [row["rolname"] for row in roles if row["is_mighty"]] == []
    assert [row["rolname"] for row in roles if row["rolcanlogin"]] == ["watchllm_app"]
    owners = await owner.fetch("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'")
    assert [row[0] for row in owners] == ["watchllm_owner"]


# --- without the application's filters --------------------------------------------------------------


async def test_a_reader_that_filters_nothing_sees_its_own_project_in_every_table(
    owner: asyncpg.Connection, pool: asyncpg.Pool
) -> None:
    await fill_every_table(owner)
    for table in await tenant_tables(owner):
        assert await owner.fetchval(f"SELECT count(DISTINCT project_id) FROM {table}") == 2, (
            f"{table} is not filled"
        )
        columns = SHOWN_TO_READERS.get(table, "*")
        for project in (MINE, THEIRS, NOBODY, ""):
            async with transaction(pool, QUESTION, project) as connection:
                seen = await connection.fetch(f"SELECT {columns} FROM {table}")
            expected = {project} if project in {MINE, THEIRS} else set()
            assert {row["project_id"] for row in seen} == expected, table


FRAGMENTS = {
    "/*run_filter*/": queries("postgres")["run_filter"],
    "/*session_figures*/": queries("postgres")["session_figures"],
    "/*table*/": "agent_debug_logs",
    "/*order*/": "run_id",
    "/*key*/": "total_cost_usd",
}


def whole(sql: str) -> str:
    """The statement with something in each place that Python fills."""
    for place, fragment in FRAGMENTS.items():
        sql = sql.replace(place, fragment)
    return sql


ASKED_BY_PROJECT = {
    name: whole(sql)
    for name, sql in queries("postgres").items()
    if sql.startswith(("SELECT", "WITH"))
    and not re.search(r"\b(INSERT|UPDATE|DELETE)\b", sql)  # a reader cannot write, nor lock a row
    and re.search(r"\bproject_id = \$1\b", whole(sql))
    and f"/*{name}*/" not in FRAGMENTS
}


PICKY = {
    "corrections_of_runs",
    "costs_by_tool",
    "export_runs",
    "list_runs_known_first",
    "list_sessions",
    "peers_of_run",
    "run_merged_into",
    "runs_of_calls",
    "runs_of_sessions",
    "sessions_touched",
    "spent_by_key",
    "tokens_of_runs",
    "used_days",
}
"""Whose other conditions no sample fits. Their tables are read whole by the test above."""


def test_the_reading_queries_are_found() -> None:
    assert {"list_runs", "count_runs", "get_run", "get_steps", "get_links", "list_keys"} <= set(ASKED_BY_PROJECT)


@pytest.mark.parametrize("name", sorted(ASKED_BY_PROJECT))
async def test_a_query_that_forgot_the_project_answers_nothing_of_another(
    owner: asyncpg.Connection, pool: asyncpg.Pool, name: str
) -> None:
    """All conditions on the project become true for every row; what is left is row security."""
    await fill_every_table(owner)
    sql = re.sub(r"\b(\w+\.)?project_id = \$1", "$1::text IS NOT NULL", ASKED_BY_PROJECT[name])
    types = await parameter_types(owner, sql)
    arguments = [argument_for(type_name) for type_name in types]
    async with transaction(pool, BATCH) as connection:
        everything = await connection.fetch(sql, *arguments)
    async with transaction(pool, QUESTION, NOBODY) as connection:
        nothing = await connection.fetch(sql, *arguments)
    assert figures(nothing) == 0
    assert figures(everything) > 0 or name in PICKY, "the samples do not fit: this shows nothing"


async def parameter_types(connection: asyncpg.Connection, sql: str) -> list[str]:
    return [parameter.name for parameter in (await connection.prepare(sql)).get_parameters()]


def argument_for(type_name: str) -> object:
    """What matches the rows of `fill_every_table`."""
    samples = {
        "text": "x",
        "bool": True,
        "int8": 1,
        "int4": 1,
        "uuid": UUID(md5(MINE)),
        "text[]": ["x"],
        "uuid[]": [UUID(md5(MINE))],
    }
    return samples.get(type_name)


def md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def figures(rows: list[asyncpg.Record]) -> int:
    """Rows; of a statement that counts, the count."""
    if len(rows) == 1 and list(rows[0].keys()) == ["count"]:
        return int(rows[0]["count"])
    return len(rows)


# --- what a transaction leaves behind ---------------------------------------------------------------


async def test_a_connection_remembers_neither_project_nor_role(postgres_dsn: str) -> None:
    pool = await open_pool(postgres_dsn, max_size=1)
    try:
        async with transaction(pool, QUESTION, THEIRS) as connection:
            assert await connection.fetchval("SELECT current_user") == Role.READER
            pid = connection.get_server_pid()
        async with pool.acquire() as connection:
            assert connection.get_server_pid() == pid, "this test is about one connection"
            left = await connection.fetchrow(
                "SELECT current_user::text, current_setting('watchllm.project_id', true), "
                "current_setting('statement_timeout'), current_setting('lock_timeout')"
            )
        assert tuple(left) in {("watchllm_app", "", "0", "0"), ("watchllm_app", None, "0", "0")}
    finally:
        await pool.close()


async def test_a_reader_cannot_write_and_sees_no_hash_of_a_key(pool: asyncpg.Pool) -> None:
    for statement in (
        "DELETE FROM agent_debug_logs",
        "INSERT INTO projects VALUES ('x', 'x', now())",
        "SELECT key_hash FROM api_keys",
        "SELECT sealed FROM provider_keys",
        "SELECT password_hash FROM people",
        "SELECT session_hash FROM sessions",
        "SELECT * FROM dead_letters",
        "SELECT * FROM capture_offsets",
    ):
        with pytest.raises(StoreUnavailable, match=r"42501|25006"):
            async with transaction(pool, QUESTION, MINE) as connection:
                await connection.execute(statement)


async def test_the_keyring_sees_keys_and_nothing_else(owner: asyncpg.Connection, pool: asyncpg.Pool) -> None:
    await fill_every_table(owner)
    async with transaction(pool, KEYRING) as connection:
        assert await connection.fetchval("SELECT count(DISTINCT project_id) FROM api_keys") == 2
        assert await connection.fetchval("SELECT count(DISTINCT project_id) FROM provider_keys") == 2
    with pytest.raises(StoreUnavailable, match="42501"):
        async with transaction(pool, KEYRING) as connection:
            await connection.execute("SELECT * FROM agent_debug_logs")


# --- servers of others ------------------------------------------------------------------------------


async def test_a_reader_is_bound_where_the_one_role_there_is_owns_everything(
    owner: asyncpg.Connection, postgres_dsn: str
) -> None:
    """One URL for all, even a superuser's: the reading side puts its might down for the transaction."""
    await fill_every_table(owner)
    pool = await open_pool(as_owner(postgres_dsn))
    try:
        async with transaction(pool, QUESTION, THEIRS) as connection:
            seen = await connection.fetch("SELECT DISTINCT project_id FROM agent_debug_logs")
        assert [row[0] for row in seen] == [THEIRS]
    finally:
        await pool.close()


@pytest.fixture
async def hosted(postgres: EmbeddedPostgres) -> AsyncIterator[tuple[str, str]]:
    """A database as hosters give it: its owner is no superuser, and new tables go to the roles of a public API.

    Yields the URLs of the owner and of a role to log in as.
    """
    admin = await asyncpg.connect(postgres.owner_dsn)
    await admin.execute(
        "CREATE ROLE hosted_owner LOGIN CREATEROLE; CREATE ROLE hosted_login LOGIN; CREATE ROLE anon"
    )
    await admin.execute("CREATE DATABASE hosted OWNER hosted_owner TEMPLATE template0")
    owner_dsn = postgres.owner_dsn.replace("watchllm_owner@/watchllm?", "hosted_owner@/hosted?")
    try:
        # The three roles are the server's, and were made by the owner of the other tests' databases.
        await admin.execute(f"GRANT {', '.join(Role)} TO hosted_owner WITH ADMIN OPTION")
        connection = await asyncpg.connect(owner_dsn)
        await connection.execute("ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO anon, PUBLIC")
        await connection.execute("CREATE TABLE theirs (project_id text)")
        await connection.close()
        yield owner_dsn, owner_dsn.replace("hosted_owner@", "hosted_login@")
    finally:
        await admin.execute("DROP DATABASE hosted WITH (FORCE)")
        await admin.execute("DROP OWNED BY hosted_owner CASCADE")
        await admin.execute("DROP ROLE hosted_login, anon, hosted_owner")
        await admin.close()


async def test_an_owner_that_is_no_superuser_migrates_and_its_login_role_works(hosted: tuple[str, str]) -> None:
    owner_dsn, login_dsn = hosted
    assert len(await migrate_postgres(owner_dsn, login_dsn)) == len(migrations("postgres"))
    runs = await RunStore.open(login_dsn)
    try:
        assert (await runs.load_state(settled_for_us=0)).outlines == ()
        async with transaction(runs.pool, QUESTION, MINE) as connection:
            assert await connection.fetchval("SELECT name FROM projects") == "Default"
    finally:
        await runs.close()


async def test_where_nothing_is_to_be_done_no_owner_is_needed(hosted: tuple[str, str]) -> None:
    owner_dsn, login_dsn = hosted
    await migrate_postgres(owner_dsn, login_dsn)
    assert await migrate_postgres(login_dsn) == []


async def test_roles_of_a_public_api_get_nothing_of_ours_and_keep_what_is_theirs(hosted: tuple[str, str]) -> None:
    owner_dsn, login_dsn = hosted
    await migrate_postgres(owner_dsn, login_dsn)
    owner = await asyncpg.connect(owner_dsn)
    try:
        open_tables = await owner.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') "
            "AND (has_table_privilege('anon', oid, 'SELECT') OR has_table_privilege('anon', oid, 'DELETE'))"
        )
        assert [row[0] for row in open_tables] == ["theirs"]
        assert not await owner.fetchval("SELECT relrowsecurity FROM pg_class WHERE relname = 'theirs'")
    finally:
        await owner.close()


async def test_a_login_that_was_given_one_role_gets_no_other(hosted: tuple[str, str]) -> None:
    owner_dsn, login_dsn = hosted
    owner = await asyncpg.connect(owner_dsn)
    await owner.execute("GRANT watchllm_reader TO hosted_login")
    await owner.close()
    await migrate_postgres(owner_dsn, login_dsn)
    pool = await open_pool(login_dsn)
    try:
        async with transaction(pool, QUESTION, MINE) as connection:
            assert await connection.fetchval("SELECT count(*) FROM agent_debug_logs") == 0
        with pytest.raises(StoreError, match="permission denied to set role"):
            async with transaction(pool, BATCH):
                pytest.fail("it may look at one project, and not at all of them")
    finally:
        await pool.close()
