"""`doctor` against real databases: a server that answers, one without our tables, one of a later version."""

from __future__ import annotations

import asyncio

import asyncpg

from watchllm_proxy import settings
from watchllm_proxy.commands.checks_stores import check_stores
from watchllm_proxy.commands.findings import Finding, Level


def finding_of(area: str, **named: str) -> Finding:
    (found,) = [finding for finding in check_stores(settings.load({}, **named)) if finding.area == area]
    return found


def test_a_migrated_postgres_is_well(postgres_dsn: str) -> None:
    finding = finding_of("postgres", database_url=postgres_dsn)
    assert finding.level is Level.OK
    assert "version 18" in finding.text


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
