"""What the embedded stores of a stopped stack hold, as JSON: python -m tests.e2e.programs.count_stored DATA_DIR

A process of its own: an engine opens one directory in its life.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import asyncpg

from watchllm_proxy.store.embedded import EmbeddedClickHouse, EmbeddedPostgres


def rows_by_call(data_dir: Path) -> dict[str, int]:
    """Rows of each call, those included that a later merge would drop as doubles."""
    engine = EmbeddedClickHouse(data_dir / "clickhouse")
    store = engine.connect()
    try:
        found = store.query("SELECT toString(call_id) AS call_id, count() AS rows FROM events GROUP BY call_id")
        return {str(row["call_id"]): int(str(row["rows"])) for row in found}
    finally:
        store.close()
        engine.close()


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


def main(data_dir: Path) -> None:
    postgres = EmbeddedPostgres(data_dir / "postgres")
    postgres.start()
    try:
        runs = asyncio.run(runs_in(postgres.owner_dsn))
    finally:
        postgres.stop()
    print(json.dumps({"events": rows_by_call(data_dir), **runs}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
