"""What the tables become on a cluster. Rendered text only: no replicated cluster runs on one machine here."""

from __future__ import annotations

import re

import pytest

from watchllm_proxy.store.cluster import on_cluster
from watchllm_proxy.store.migrate import migrations
from watchllm_proxy.store.sql import statements

ALL = [statement for each in migrations("clickhouse") for statement in statements(each.sql)]


@pytest.mark.parametrize("statement", ALL, ids=[text.strip()[:50] for text in ALL])
def test_every_statement_of_every_migration_can_be_sent_to_a_cluster(statement: str) -> None:
    sent = on_cluster(statement, "main")
    if statement.strip().startswith("INSERT"):
        assert sent == statement.strip(), "rows go to one server; the others get them by replication"
        return
    assert sent.count("ON CLUSTER 'main'") == 1
    assert re.findall(r"(\w*)MergeTree\b", sent) == re.findall(r"(?<=ENGINE = )(Replicated\w*)MergeTree", sent)
    assert "non_replicated" not in sent


def test_a_table_becomes_a_replicated_one_with_the_window_of_replicated_ones() -> None:
    plain = (
        "CREATE TABLE IF NOT EXISTS t (a UInt8)\nENGINE = ReplacingMergeTree(v)\n"
        "SETTINGS non_replicated_deduplication_window = 1000"
    )
    assert on_cluster(plain, "it's") == (
        "CREATE TABLE IF NOT EXISTS t ON CLUSTER 'it\\'s' (a UInt8)\nENGINE = ReplicatedReplacingMergeTree(v)\n"
        "SETTINGS replicated_deduplication_window = 1000"
    )


def test_views_and_renames_are_known_on_every_server() -> None:
    assert on_cluster("RENAME TABLE a TO b", "c") == "RENAME TABLE a TO b ON CLUSTER 'c'"
    assert on_cluster("DROP TABLE a", "c") == "DROP TABLE a ON CLUSTER 'c'"
    assert (
        on_cluster("CREATE MATERIALIZED VIEW IF NOT EXISTS v TO t AS SELECT 1", "c")
        == "CREATE MATERIALIZED VIEW IF NOT EXISTS v ON CLUSTER 'c' TO t AS SELECT 1"
    )
    assert on_cluster("ALTER TABLE a DELETE WHERE 1", "c") == "ALTER TABLE a ON CLUSTER 'c' DELETE WHERE 1"


def test_a_statement_of_an_unknown_form_is_refused_rather_than_run_on_one_server() -> None:
    with pytest.raises(ValueError, match="OPTIMIZE"):
        on_cluster("OPTIMIZE TABLE t FINAL", "c")
