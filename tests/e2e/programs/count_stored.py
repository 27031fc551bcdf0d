"""What the stores of a stopped stack hold, as JSON.

    python -m tests.e2e.programs.count_stored DATA_DIR [POSTGRES_URL CLICKHOUSE_URL]

Without addresses, the embedded ones.

A process of its own: an engine opens one directory in its life.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from pathlib import Path

import asyncpg

from watchllm_proxy.accounting import balances, total
from watchllm_proxy.store.clickhouse import ClickHouseServer, EventStore
from watchllm_proxy.store.embedded import EmbeddedClickHouse, EmbeddedPostgres
from watchllm_proxy.store.transactions import open_pool


def rows_by_call(store: EventStore) -> dict[str, int]:
    """Rows of each call, those included that a later merge would drop as doubles."""
    found = store.query("SELECT toString(call_id) AS call_id, count() AS rows FROM events GROUP BY call_id")
    return {str(row["call_id"]): int(str(row["rows"])) for row in found}


def events_in(store: EventStore) -> dict[str, object]:
    (absent,) = store.query("""
        SELECT count() AS messages FROM (SELECT DISTINCT arrayJoin(message_hashes) AS hash FROM events)
        WHERE hash NOT IN (SELECT content_hash FROM messages)
    """)
    return {"events": rows_by_call(store), "absent_messages": absent["messages"]}


async def runs_in(dsn: str) -> dict[str, object]:
    connection = await asyncpg.connect(dsn)
    try:
        placed = await connection.fetch(
            "SELECT call_id::text, count(*) FROM run_links WHERE ordinal = 0 GROUP BY 1"
        )
        counted = await connection.fetchval("SELECT coalesce(sum(total_calls), 0) FROM agent_debug_logs")
        dead = await connection.fetchval("SELECT count(*) FROM dead_letters")
    finally:
        await connection.close()
    return {"placed": dict(map(tuple, placed)), "calls_of_runs": int(counted), "dead_letters": dead}


async def books_of(data_dir: Path, dsn: str) -> dict[str, object]:
    pool = await open_pool(dsn)
    try:
        books = total((await balances(pool, data_dir / "capture")).values())
    finally:
        await pool.close()
    return {
        "said": books.in_words(),
        "missing": books.missing,
        "in_log": books.in_log,
        "stored": books.stored,
        "shed": sum(books.shed.values()),
    }


def embedded(data_dir: Path) -> dict[str, object]:
    postgres = EmbeddedPostgres(data_dir / "postgres")
    postgres.start()
    try:
        found = in_postgres(data_dir, postgres.owner_dsn)
    finally:
        postgres.stop()
    engine = EmbeddedClickHouse(data_dir / "clickhouse")
    with contextlib.closing(engine), contextlib.closing(engine.connect()) as store:
        return {**found, **events_in(store)}


def on_servers(data_dir: Path, dsn: str, clickhouse_url: str) -> dict[str, object]:
    with contextlib.closing(ClickHouseServer(clickhouse_url)) as store:
        return {**in_postgres(data_dir, dsn), **events_in(store)}


def in_postgres(data_dir: Path, dsn: str) -> dict[str, object]:
    return {**asyncio.run(runs_in(dsn)), "books": asyncio.run(books_of(data_dir, dsn))}


def main(data_dir: Path, *servers: str) -> None:
    print(json.dumps(on_servers(data_dir, *servers) if servers else embedded(data_dir)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
