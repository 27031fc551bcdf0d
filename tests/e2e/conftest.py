"""The stack that end-to-end tests share: started once, for starting takes seconds."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit, urlunsplit

import pytest

from tests.e2e.stack import Stack
from tests.fake_openai import FakeOpenAI
from tests.fixtures.fault_proxy import FaultProxy


@pytest.fixture(scope="session")
def running_stack() -> Iterator[Stack]:
    """`watchllm up` before a scripted upstream, until the session ends; then it must stop by itself.

    Not below pytest's own directory: any other pytest of the same user makes that unreadable for others, and
    as root Postgres runs as another user.
    """
    with tempfile.TemporaryDirectory(prefix="watchllm-e2e-") as directory, FakeOpenAI() as fake:
        stack = Stack(Path(directory) / "data", fake).start()
        try:
            yield stack
        finally:
            status = stack.stop()
        assert status == 0


@pytest.fixture
def stack(running_stack: Stack) -> Stack:
    """The shared stack, its upstream as new. Runs of earlier tests are there: compare with `run_ids()`."""
    running_stack.fake.reset()
    return running_stack


@pytest.fixture
def servers(postgres_dsn: str, clickhouse_url: str) -> Iterator[tuple[FaultProxy, FaultProxy, dict[str, str]]]:
    """A real Postgres and a real ClickHouse on wires that can be cut, and the settings that name them."""
    postgres = urlsplit(postgres_dsn)
    clickhouse = urlsplit(clickhouse_url)
    socket_path = Path(parse_qs(postgres.query)["host"][0]) / ".s.PGSQL.5432"
    assert clickhouse.hostname is not None
    with FaultProxy(socket_path) as pg, FaultProxy((clickhouse.hostname, clickhouse.port or 9000)) as ch:

        def on_wire(user: str) -> str:
            return urlunsplit(postgres._replace(netloc=f"{user}@127.0.0.1:{pg.port}", query="sslmode=disable"))

        user = clickhouse.netloc.rpartition("@")[0]
        yield pg, ch, {
            "WATCHLLM_DATABASE_URL": on_wire("watchllm_app"),
            "WATCHLLM_OWNER_DATABASE_URL": on_wire("watchllm_owner"),
            "WATCHLLM_CLICKHOUSE_URL": urlunsplit(clickhouse._replace(netloc=f"{user}@127.0.0.1:{ch.port}")),
        }  # fmt: skip
