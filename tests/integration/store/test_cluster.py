"""What is sent to a cluster, to a real server: it can be read, and its engines and settings are known there.

No Keeper runs here, so replication itself is not tried: each table fails for want of it, and for nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from clickhouse_driver import Client
from clickhouse_driver.errors import ServerException

from watchllm_proxy.store.cluster import on_cluster
from watchllm_proxy.store.migrate import _CREATE_CLICKHOUSE_LIST, migrations
from watchllm_proxy.store.sql import queries, statements

NO_KEEPER, UNKNOWN_SETTING = 225, 115

MIGRATIONS = [text.strip() for each in migrations("clickhouse") for text in statements(each.sql)]
TABLES = [text for text in (_CREATE_CLICKHOUSE_LIST, *MIGRATIONS) if "ENGINE = " in text]
REWRITES = [text for text in queries("clickhouse").values() if text.startswith("ALTER TABLE")]


@pytest.fixture
def server(clickhouse_url: str) -> Iterator[Client]:
    client = Client.from_url(clickhouse_url)
    yield client
    client.disconnect()


def named(text: str) -> str:
    return " ".join(text.split()[:6])


@pytest.mark.parametrize("statement", MIGRATIONS + REWRITES, ids=named)
def test_what_is_sent_to_a_cluster_can_be_read_by_a_server(server: Client, statement: str) -> None:
    plain = re.sub(r"\{\w+:[^}]+\}", "NULL", statement.replace("/*table*/", "events"))
    sent = on_cluster(plain, "it's")
    assert server.execute(f"EXPLAIN AST {sent}")


def replicated(statement: str) -> str:
    """As one server of a cluster gets it from the others; with a path of its own, which ON CLUSTER would bring."""
    alone = on_cluster(statement, "main").replace(" ON CLUSTER 'main'", "")
    return re.sub(
        r"ENGINE = (Replicated\w*MergeTree)(?:\(([^)]*)\))?",
        lambda found: f"ENGINE = {found[1]}('/tables/t', 'one'{', ' + found[2] if found[2] else ''})",
        alone,
    )


def refusal_of(server: Client, statement: str) -> int:
    with pytest.raises(ServerException) as refused:
        server.execute(statement)
    code: int = refused.value.code
    return code


@pytest.mark.parametrize("statement", TABLES, ids=named)
def test_engine_and_settings_of_a_replicated_table_are_known_to_a_server(server: Client, statement: str) -> None:
    assert refusal_of(server, replicated(statement)) == NO_KEEPER


def test_a_setting_that_replicated_tables_do_not_have_would_be_told_before(server: Client) -> None:
    wrong = replicated(TABLES[1]).replace("replicated_deduplication_window", "replicated_deduplication_windows")
    assert refusal_of(server, wrong) == UNKNOWN_SETTING
