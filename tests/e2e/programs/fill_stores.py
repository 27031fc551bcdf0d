"""Stores that have recorded for a while: python -m tests.e2e.programs.fill_stores DATA_DIR CALLS

As many calls of the last half hour as told, with all that the recorder keeps of them: half in runs of 40 that the
client named, half lone chats; every hundredth chat still waits for its tool. The rows are made by the engines
themselves, so that it takes seconds. A process of its own: an engine opens one directory in its life.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg

from watchllm_proxy.store.clickhouse import AsyncEventStore
from watchllm_proxy.store.embedded import EmbeddedClickHouse, EmbeddedPostgres
from watchllm_proxy.store.migrate import migrate

CALLS_PER_RUN = 40
SPAN_US = 30 * 60 * 1_000_000

CALLS = f"""
CREATE TEMPORARY TABLE calls AS
SELECT n, md5('call ' || n)::uuid AS call_id,
    now() - ((%(calls)s - n) * {SPAN_US}::bigint / %(calls)s) * interval '1 us' AS at,
    CASE WHEN n %% 2 = 0 THEN 'before-' || n / {2 * CALLS_PER_RUN} ELSE md5('run ' || n) END AS run_id,
    n %% 2 = 0 AS is_named, n %% 200 = 1 AS is_waiting,
    CASE WHEN n %% 2 = 0 THEN n %% {2 * CALLS_PER_RUN} / 2 ELSE 0 END AS place
FROM generate_series(0, %(calls)s::bigint - 1) AS n
"""

RUNS = """
INSERT INTO agent_debug_logs (
    project_id, run_id, session_id, title, status, started_at, ended_at, last_activity_at, is_agent, total_steps,
    total_calls, error_count, input_tokens, output_tokens, cache_read_input_tokens, unpriced_calls, tags, flags,
    is_explicit
)
SELECT 'default', run_id, run_id, 'Question ' || min(n),
    CASE WHEN bool_or(is_waiting) THEN 'running' ELSE 'completed' END, min(at),
    CASE WHEN bool_or(is_waiting) THEN NULL ELSE max(at) END, max(at), bool_or(is_named), 2 * count(*), count(*),
    0, 0, 0, 0, 0, '[]', '[]', bool_or(is_named)
FROM calls GROUP BY run_id
"""

STEPS = """
INSERT INTO agent_debug_steps (
    project_id, run_id, step_index, type, started_at, is_duration_inferred, summary, call_id, is_priced, tool,
    occurrence
)
SELECT 'default', run_id, 2 * place + part, type, at, false, 'Question ' || n, call_id,
    type IN ('decision', 'model_response'), CASE WHEN type = 'tool_call' THEN 'search' END,
    CASE WHEN type = 'user_input' THEN left(md5('input ' || n), 24) END
FROM calls,
    LATERAL (VALUES
        (0, CASE WHEN is_waiting THEN 'decision' ELSE 'user_input' END),
        (1, CASE WHEN is_waiting THEN 'tool_call' ELSE 'model_response' END)
    ) AS steps (part, type)
"""

LINKS = """
INSERT INTO run_links (project_id, call_id, ordinal, run_id, kind, value, confidence)
SELECT 'default', call_id, 0, run_id, CASE WHEN is_named THEN 'explicit_run' ELSE 'new_run' END, '', 'certain'
FROM calls
"""

ANCHORS = """
INSERT INTO run_anchors (project_id, kind, value, run_id, call_id, step_index, at, session_id, seq)
SELECT 'default', kind, convert_to(value, 'UTF8'), run_id, call_id, 0, at, run_id, 4 * n + turn
FROM calls,
    LATERAL (SELECT '127.0.0.1:4000 0123456789abcdef ' || call_id || ' ' AS head) AS texts,
    LATERAL (VALUES
        (1, 'issued_id', 'chatcmpl-' || md5('answer ' || n)),
        (2, 'state', head || left(md5('state ' || n), 16)),
        (3, 'said', head || {said}),
        (4, 'asked', head || {asked} || ' ' || left(md5('line ' || n), 16))
    ) AS made (turn, kind, value)
""".format(  # sketches of 16 and 8 fingerprints
    said=" || ".join(f"md5('said {part} ' || n)" for part in range(8)),
    asked=" || ".join(f"md5('asked {part} ' || n)" for part in range(4)),
)

NAMES = """
INSERT INTO run_anchors (project_id, kind, value, run_id, call_id, step_index, at, session_id, seq)
SELECT DISTINCT ON (run_id) 'default', 'run', convert_to(run_id, 'UTF8'), run_id, call_id, 0, at, run_id, 4 * n + 1
FROM calls WHERE is_named ORDER BY run_id, n DESC
"""

EVENTS = """
INSERT INTO events (project_id, call_id, started_at, ended_at, stored_at, run_id, session_id, api, method, target,
    end, http_status, is_stream, request_model, request_skeleton, cost_source, is_usage_estimated, expires_on)
SELECT 'default', UUIDNumToString(hash), at, at, at, run_id, run_id, 'chat_completions', 'POST',
    '/v1/chat/completions', 'complete', 200, false, 'gpt-4o-mini', '{{}}', 'unknown', false, today() + 90
FROM (
    SELECT number AS n, MD5(concat('call ', toString(n))) AS hash,
        now64(6) - toIntervalMicrosecond(intDiv(({calls} - n) * {span_us}, {calls})) AS at,
        if(n % 2 = 0, concat('before-', toString(intDiv(n, {pair}))), lower(hex(MD5(concat('run ', toString(n))))))
            AS run_id
    FROM numbers({calls})
)
"""


def fill(data_dir: Path, calls: int) -> None:
    postgres = EmbeddedPostgres(data_dir / "postgres")
    postgres.start()
    try:
        for engine in _opened(data_dir):
            asyncio.run(_fill(postgres.owner_dsn, engine, calls))
    finally:
        postgres.stop()


def _opened(data_dir: Path) -> Iterator[EmbeddedClickHouse]:
    engine = EmbeddedClickHouse(data_dir / "clickhouse")
    try:
        yield engine
    finally:
        engine.close()


async def _fill(owner_dsn: str, engine: EmbeddedClickHouse, calls: int) -> None:
    events = AsyncEventStore(engine.connect())
    try:
        await migrate(owner_dsn, events)
        await events.execute(EVENTS.format(calls=calls, span_us=SPAN_US, pair=2 * CALLS_PER_RUN))
    finally:
        await events.close()
    connection = await asyncpg.connect(owner_dsn)
    try:
        async with connection.transaction():
            await connection.execute("SET LOCAL row_security = off")
            await connection.execute(CALLS % {"calls": calls})
            for statement in (RUNS, STEPS, LINKS, ANCHORS, NAMES):
                await connection.execute(statement)
        await connection.execute("ANALYZE")
    finally:
        await connection.close()


if __name__ == "__main__":
    fill(Path(sys.argv[1]), int(sys.argv[2]))
