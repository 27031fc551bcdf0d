"""The one place that knows of a ClickHouse cluster: what the tables of sql/clickhouse become there. Pure.

A cluster is one shard of some replicas, named in the servers' configuration and in WATCHLLM_CLICKHOUSE_CLUSTER.
Each server keeps all rows; any of them takes inserts, and Keeper remembers their deduplication tokens for all.
"""

from __future__ import annotations

import re

CLUSTER_INSERT_SETTINGS: dict[str, str | int] = {
    # The capture log forgets a batch once it is stored: stored is what most replicas have.
    "insert_quorum": "auto",
}

_HEAD = re.compile(
    r"""(?P<head>
        (?:CREATE\ TABLE|CREATE\ VIEW|CREATE\ MATERIALIZED\ VIEW|DROP\ TABLE|ALTER\ TABLE)
        (?:\ IF\ (?:NOT\ )?EXISTS)?\ \w+
    |
        RENAME\ TABLE\ \w+\ TO\ \w+
    )""",
    re.VERBOSE,
)
_ENGINE = re.compile(r"\bENGINE = (?=\w*MergeTree\b)")
_WINDOW = re.compile(r"\bnon_replicated_deduplication_window\b")
_ROWS_ONLY = re.compile(r"INSERT INTO \w+|TRUNCATE TABLE \w+")


def on_cluster(statement: str, cluster: str) -> str:
    """`statement` of a migration as it is sent to one server of the cluster.

    Raises ValueError for one that is of no form known here: better than half a cluster.
    """
    text = statement.strip()
    if _ROWS_ONLY.match(text):
        return text  # rows go by replication
    head = _HEAD.match(text)
    if head is None:
        raise ValueError(f"not known how to run this on a cluster: {text[:60]!r}")
    rest = text[head.end() :]
    rest = _ENGINE.sub("ENGINE = Replicated", rest)
    return f"{head['head']} ON CLUSTER {_quoted(cluster)}{_WINDOW.sub('replicated_deduplication_window', rest)}"


def _quoted(name: str) -> str:
    return "'" + name.replace("\\", "\\\\").replace("'", "\\'") + "'"
