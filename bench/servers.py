"""A Postgres and a ClickHouse as servers of their own, on wires that can be cut: those of the tests."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit, urlunsplit

from tests.fixtures.engines import clickhouse_library, serve_clickhouse
from tests.fixtures.fault_proxy import FaultProxy
from watchllm_proxy.store.clickhouse import AsyncEventStore, ClickHouseServer
from watchllm_proxy.store.embedded import EmbeddedPostgres

DATABASE = "watchllm"


@dataclass(frozen=True, slots=True)
class Servers:
    """`settings` name them by their wires; `postgres` and `events()` are reached without."""

    postgres: EmbeddedPostgres
    clickhouse_url: str
    settings: Mapping[str, str]
    _postgres_wire: FaultProxy
    _clickhouse_wire: FaultProxy

    def events(self) -> AsyncEventStore:
        return AsyncEventStore(ClickHouseServer(self.clickhouse_url))

    def postgres_away(self) -> contextlib.AbstractContextManager[None]:
        return _away(self._postgres_wire)

    def clickhouse_away(self) -> contextlib.AbstractContextManager[None]:
        return _away(self._clickhouse_wire)


@contextlib.contextmanager
def servers(directory: Path) -> Iterator[Servers]:
    """Empty ones, their data below `directory`."""
    logging.getLogger("clickhouse_driver").setLevel(logging.CRITICAL)  # it is asked until it is there
    postgres = EmbeddedPostgres(directory / "postgres")
    postgres.start()
    try:
        (directory / "clickhouse").mkdir()
        with serve_clickhouse(clickhouse_library(), directory / "clickhouse") as url:
            first = ClickHouseServer(url)
            first.execute(f"CREATE DATABASE {DATABASE}")
            first.close()
            with _on_wires(postgres, f"{url}/{DATABASE}") as ours:
                yield ours
    finally:
        postgres.stop()


@contextlib.contextmanager
def _on_wires(postgres: EmbeddedPostgres, clickhouse_url: str) -> Iterator[Servers]:
    runs, events = urlsplit(postgres.dsn), urlsplit(clickhouse_url)
    socket = Path(parse_qs(runs.query)["host"][0]) / ".s.PGSQL.5432"
    if events.hostname is None or events.port is None:
        raise RuntimeError(f"{clickhouse_url} names no host and port")
    with FaultProxy(socket) as runs_wire, FaultProxy((events.hostname, events.port)) as events_wire:

        def postgres_url(user: str) -> str:
            netloc = f"{user}@127.0.0.1:{runs_wire.port}"
            return urlunsplit(runs._replace(netloc=netloc, query="sslmode=disable"))

        user = events.netloc.rpartition("@")[0]
        settings = {
            "WATCHLLM_DATABASE_URL": postgres_url("watchllm_app"),
            "WATCHLLM_OWNER_DATABASE_URL": postgres_url("watchllm_owner"),
            "WATCHLLM_CLICKHOUSE_URL": urlunsplit(events._replace(netloc=f"{user}@127.0.0.1:{events_wire.port}")),
        }
        yield Servers(postgres, clickhouse_url, settings, runs_wire, events_wire)


@contextlib.contextmanager
def _away(wire: FaultProxy) -> Iterator[None]:
    wire.refuse()
    try:
        yield
    finally:
        wire.restore()
