"""`doctor` against real databases: a server that answers, one without our tables, one of a later version."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import asyncpg
import pytest

from watchllm_proxy import settings
from watchllm_proxy.commands.checks_stores import check_stores
from watchllm_proxy.commands.findings import Finding, Level
from watchllm_proxy.store.embedded.postgres import _binaries as binaries
from watchllm_proxy.store.migrate import migrate_postgres

PROJECT = Path(__file__).resolve().parents[3]


def finding_of(area: str, **named: str) -> Finding:
    (found,) = [finding for finding in check_stores(settings.load({}, **named)) if finding.area == area]
    return found


def test_a_migrated_postgres_is_well(postgres_dsn: str) -> None:
    finding = finding_of("postgres", database_url=postgres_dsn)
    assert finding.level is Level.OK
    assert "version 18" in finding.text


def test_a_log_in_that_row_security_binds_is_well(postgres_dsn: str) -> None:
    finding = finding_of("roles", database_url=postgres_dsn)
    assert (finding.level, "watchllm_app" in finding.text) == (Level.OK, True)


@pytest.mark.parametrize(
    ("made", "told"),
    [("SUPERUSER", "passes row security"), ("BYPASSRLS", "passes row security"), ("CREATEDB", "owns the tables")],
)
def test_a_log_in_that_row_security_does_not_bind_is_warned_of(postgres_dsn: str, made: str, told: str) -> None:
    role = f"doctor_test_{made.lower()}"
    owner = postgres_dsn.replace("//watchllm_app@", "//watchllm_owner@")
    statements(owner, f"CREATE ROLE {role} LOGIN {made}", f"ALTER TABLE schema_migrations OWNER TO {role}")
    try:
        finding = finding_of("roles", database_url=postgres_dsn.replace("//watchllm_app@", f"//{role}@"))
    finally:
        statements(owner, f"REASSIGN OWNED BY {role} TO watchllm_owner", f"DROP ROLE {role}")
    assert (finding.level, told in finding.text, role in finding.text) == (Level.WARNING, True, True)
    assert "WATCHLLM_OWNER_DATABASE_URL" in str(finding.next_step)


def test_the_role_that_compose_makes_is_bound(postgres_dsn: str) -> None:
    made = (PROJECT / "sql" / "postgres" / "application.sql").read_text().replace("watchllm_app", "compose_test")
    owner = postgres_dsn.replace("//watchllm_app@", "//watchllm_owner@")
    psql = [str(binaries() / "bin" / "psql"), "-X", "-v", "ON_ERROR_STOP=1", owner]
    subprocess.run(psql, input=made.encode(), env={"WATCHLLM_APP_PASSWORD": "it's a \\ secret"}, check=True)
    login = postgres_dsn.replace("//watchllm_app@", "//compose_test@")
    try:
        asyncio.run(migrate_postgres(owner, login))
        finding = finding_of("roles", database_url=login)
    finally:
        statements(owner, "DROP ROLE compose_test")
    assert finding.level is Level.OK


def statements(dsn: str, *each: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(dsn)
        try:
            for statement in each:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())


def test_a_postgres_without_our_tables_points_at_migrate(empty_postgres_dsn: str) -> None:
    finding = finding_of("postgres", database_url=empty_postgres_dsn)
    assert (finding.level, finding.next_step) == (Level.WARNING, "watchllm migrate")


def test_a_postgres_of_a_later_version_is_a_problem(empty_postgres_dsn: str) -> None:
    async def come_from_the_future() -> None:
        connection = await asyncpg.connect(empty_postgres_dsn)
        await connection.execute(
            "CREATE TABLE schema_migrations (number integer, name text, sha256 text);"
            "INSERT INTO schema_migrations VALUES (9999, '9999_future', '00')"
        )
        await connection.close()

    asyncio.run(come_from_the_future())
    finding = finding_of("postgres", database_url=empty_postgres_dsn)
    assert finding.level is Level.PROBLEM
    assert "9999_future" in finding.text


def test_a_clickhouse_without_our_tables_points_at_migrate(clickhouse_url: str) -> None:
    finding = finding_of("clickhouse", clickhouse_url=clickhouse_url)
    assert (finding.level, finding.next_step) == (Level.WARNING, "watchllm migrate")
    assert "answers, version 2" in finding.text
