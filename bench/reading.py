"""What a page takes with many runs stored: a million runs and millions of steps in Postgres, calls in ClickHouse.

The rows are made by the stores themselves out of numbers; what is measured is `StoreReading`, as the console asks
it: as the reader's role, under row security, over the embedded stores. Both stores are filled at the same time,
each on a core. A base that was filled may be kept, and asked again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID

import asyncpg
import orjson

from bench import stores
from bench.apart import in_a_process_of_its_own
from bench.storage import ACTIVE_PARTS, RUN_TABLES
from bench.stores import Stores
from watchllm_proxy.decode import rebuild
from watchllm_proxy.records import FlagKind, RunStatus
from watchllm_proxy.store.reading import StoreReading
from watchllm_proxy.store.shapes import RunQuery, RunSort

BIG = "project-0"
"""Four fifths of everything are of this project, which is the one that is asked."""

RUNS_A_CHUNK, EVENTS_A_CHUNK = 50_000, 1_000_000
ASKED, SLOWLY_ASKED = 200, 10
LIMIT_MS, SEARCH_LIMIT_MS = 100, 150
"""What p95 should stay below: a page that is there at once, and a search of everything."""
DELETED_RUNS, RUNS_A_DELETE = 20_000, 1_000

_FILLED = "filled.json"
"""In the directory of a base that is whole: how much is in it, and how long that took."""


@dataclass(frozen=True, slots=True)
class Amount:
    runs: int
    steps_each: int
    events: int


@dataclass(frozen=True, slots=True)
class Timed:
    what: str
    limit_ms: int  # what p95 should stay below
    milliseconds: tuple[float, ...]  # sorted

    def percentile(self, share: float) -> float:
        return self.milliseconds[min(len(self.milliseconds) - 1, int(share * len(self.milliseconds)))]


@dataclass(frozen=True, slots=True)
class Loaded:
    amount: Amount
    postgres_bytes: int
    clickhouse_bytes: int
    load_s: tuple[float, float]
    timed: tuple[Timed, ...]
    deleted_runs: int
    delete_s: float


@dataclass(frozen=True, slots=True)
class Plan:
    """`kept`: where the filled base is, or is put where there is none; None: nowhere, it goes again."""

    amount: Amount
    kept: Path | None = None


def measure(plan: Plan) -> Loaded:
    return in_a_process_of_its_own(_measure, plan)


def _measure(plan: Plan) -> Loaded:
    with _folder(plan.kept) as folder:
        folder.chmod(0o711)  # as root Postgres runs as another user
        return asyncio.run(_load_and_ask(folder, plan))


@contextlib.contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    if kept is None:
        with tempfile.TemporaryDirectory(prefix="watchllm-bench-") as folder:
            yield Path(folder)
        return
    kept.mkdir(parents=True, exist_ok=True)
    if any(kept.iterdir()) and not (kept / _FILLED).exists():
        raise SystemExit(f"bench: {kept} is neither empty nor a base that was filled to its end")
    yield kept.absolute()


async def _load_and_ask(folder: Path, plan: Plan) -> Loaded:
    async with stores.opened(folder) as opened:
        amount, load_s = await _filled(opened, folder, plan.amount)
        owner = await asyncpg.connect(opened.postgres.owner_dsn)
        timed = await _ask(opened, amount)
        postgres_bytes = int(await owner.fetchval(RUN_TABLES))
        delete_s = await _delete(owner)
        if plan.kept is not None:
            _say("putting back what was deleted")
            await _make_runs(owner, 0, DELETED_RUNS * 2, amount)
            await owner.execute("VACUUM ANALYZE")
        await owner.close()
        (parts,) = await opened.events.query(ACTIVE_PARTS)
        return Loaded(
            amount=amount,
            postgres_bytes=postgres_bytes,
            clickhouse_bytes=int(str(parts["bytes"])),
            load_s=load_s,
            timed=tuple(timed),
            deleted_runs=DELETED_RUNS,
            delete_s=delete_s,
        )


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


# --- the rows ---------------------------------------------------------------------------------------

_RUNS = """
INSERT INTO agent_debug_logs (
    project_id, run_id, session_id, parent_run_id, agent_name, title, status, started_at, ended_at,
    last_activity_at, is_agent, total_steps, total_calls, error_count, input_tokens, output_tokens,
    cache_read_input_tokens, total_cost_usd, unpriced_calls, tags, flags, user_id
)
SELECT CASE WHEN n % 5 < 4 THEN 'project-0' ELSE 'project-' || 1 + n % 9 END, 'run-' || n, 'session-' || n / 3,
    CASE WHEN n % 10 = 0 THEN 'run-' || n / 10 END, 'agent-' || n % 40,
    'Task ' || md5(n::text) || ' of somebody who wants something done',
    CASE WHEN n % 21 = 0 THEN 'failed' ELSE 'completed' END, at, at + n % 600 * interval '1 second', at, n % 4 > 0,
    $3, $3 / 2, 0, n % 100000, n % 5000, 0, CASE WHEN n % 10 > 0 THEN n % 9973 / 10000.0 END, 0, '[]',
    CASE WHEN n % 50 = 0
        THEN '[{"kind": "loop_detected", "message": "x", "step_indexes": [1], "severity": "warning"}]'::jsonb
        ELSE '[]' END, 'user-' || n % 5000
FROM generate_series($1::bigint, $2::bigint) AS n,
     LATERAL (SELECT timestamptz '2026-01-01' + n * interval '7 seconds' AS at)
ON CONFLICT DO NOTHING
"""
_OF_RUNS = {
    "agent_debug_steps": """
        INSERT INTO agent_debug_steps (
            project_id, run_id, step_index, type, started_at, duration_us, is_duration_inferred, summary, call_id,
            tool, tool_args, model, input_tokens, output_tokens, cost_usd, is_priced
        )
        SELECT project_id, run_id, i, (ARRAY['user_input', 'decision', 'tool_call', 'tool_result'])[1 + i % 4],
            started_at, 1000, false, 'Looked up ' || md5(run_id || i) || ' and found ' || md5(i || run_id),
            md5(run_id)::uuid, 'search', '{"query": "' || md5(run_id || i) || '"}', 'gpt-4.1-mini', 1200, 80,
            0.0004, true
        FROM agent_debug_logs, generate_series(0, $3 - 1) AS i
        WHERE started_at BETWEEN timestamptz '2026-01-01' + $1::bigint * interval '7 seconds'
            AND timestamptz '2026-01-01' + $2::bigint * interval '7 seconds'
        ON CONFLICT DO NOTHING
    """,
    "run_links": """
        INSERT INTO run_links
        SELECT project_id, md5(run_id || i)::uuid, 0, run_id, 'issued_id', 'call_' || md5(run_id), 'certain',
            md5(run_id)::uuid, i
        FROM agent_debug_logs, generate_series(1, $3 / 2) AS i
        WHERE started_at BETWEEN timestamptz '2026-01-01' + $1::bigint * interval '7 seconds'
            AND timestamptz '2026-01-01' + $2::bigint * interval '7 seconds'
        ON CONFLICT DO NOTHING
    """,
}

_EVENTS = """
INSERT INTO events (
    project_id, call_id, started_at, ended_at, stored_at, time_to_first_token_us, run_id, session_id, api, method,
    target, `end`, http_status, is_stream, request_model, response_model, request_skeleton, message_hashes,
    message_slots, input_tokens, output_tokens, total_tokens, cost_usd, cost_source, agent_name, request_bytes,
    response_bytes, expires_on
)
SELECT
    if(number % 5 < 4, 'project-0', concat('project-', toString(1 + number % 9))),
    toUUID(concat(
        substring(made_at, 1, 8), '-', substring(made_at, 9, 4), '-7', substring(chance, 1, 3), '-8',
        substring(chance, 4, 3), '-', substring(chance, 7, 12)
    )),
    toDateTime64('2026-01-01 00:00:00', 6, 'UTC') + toIntervalMillisecond(number * 350) AS at,
    at + toIntervalMillisecond(900), at + toIntervalMillisecond(1500), 400000,
    concat('run-', toString(intDiv(number, 20))), concat('session-', toString(intDiv(number, 60))),
    'chat_completions', 'POST', '/v1/chat/completions', 'complete', 200, number % 2, 'gpt-4.1-mini',
    'gpt-4.1-mini-2025-04-14', '{"model":"gpt-4.1-mini","temperature":0.2}',
    [toFixedString(MD5(concat('m', toString(number))), 16)], ['/messages/0'],
    1000 + number % 500, number % 200, 1000 + number % 500 + number % 200, 0.0004, 'price_table',
    concat('agent-', toString(number % 40)), 5000, 800, toDate(at) + 98 - toDayOfWeek(at)
FROM
(
    SELECT number, leftPad(lower(hex(toUInt64(1767225600000 + number * 350))), 12, '0') AS made_at,
        lower(hex(MD5(toString(number)))) AS chance
    FROM numbers({start:UInt64}, {count:UInt64})
)
"""
"""Twenty calls of a run within its seven seconds, and ids as the proxy makes them (UUIDv7)."""


async def _filled(opened: Stores, folder: Path, amount: Amount) -> tuple[Amount, tuple[float, float]]:
    """What is in the stores, and how many seconds it took to fill Postgres and ClickHouse, both at once."""
    note = folder / _FILLED
    if note.exists():
        found = orjson.loads(note.read_bytes())
        _say(f"the base in {folder} is asked: {found['amount']}")
        return Amount(**found["amount"]), (found["load_s"][0], found["load_s"][1])
    async with asyncio.TaskGroup() as filling_group:
        postgres = filling_group.create_task(_fill_postgres(opened.postgres.owner_dsn, amount))
        clickhouse = filling_group.create_task(_fill_clickhouse(opened, amount))
    load_s = postgres.result(), clickhouse.result()
    note.write_bytes(orjson.dumps({"amount": asdict(amount), "load_s": load_s}))
    return amount, load_s


async def _fill_postgres(dsn: str, amount: Amount) -> float:
    began = time.monotonic()
    owner = await asyncpg.connect(dsn)
    await owner.execute("SET synchronous_commit = off")
    await owner.execute("INSERT INTO projects SELECT 'project-' || n, 'x', now() FROM generate_series(0, 9) AS n")
    for first in range(0, amount.runs, RUNS_A_CHUNK):
        last = min(first + RUNS_A_CHUNK, amount.runs) - 1
        await _make_runs(owner, first, last, amount)
        _say(f"{last + 1:,} of {amount.runs:,} runs in Postgres after {time.monotonic() - began:.0f} s")
    await owner.execute("VACUUM ANALYZE")
    await owner.close()
    return time.monotonic() - began


async def _make_runs(owner: asyncpg.Connection, first: int, last: int, amount: Amount) -> None:
    """Those of these numbers that are not there, with what hangs on them."""
    for statement in (_RUNS, *_OF_RUNS.values()):
        await owner.execute(statement, first, last, amount.steps_each)


async def _fill_clickhouse(opened: Stores, amount: Amount) -> float:
    began = time.monotonic()
    for start in range(0, amount.events, EVENTS_A_CHUNK):
        count = min(EVENTS_A_CHUNK, amount.events - start)
        await opened.events.execute(_EVENTS, {"start": start, "count": count})
        _say(f"{start + count:,} of {amount.events:,} calls in ClickHouse after {time.monotonic() - began:.0f} s")
    return time.monotonic() - began


# --- the questions ----------------------------------------------------------------------------------


async def _ask(opened: Stores, amount: Amount) -> list[Timed]:
    chance = random.Random(7)
    reading = StoreReading(opened.runs.pool, opened.events, rebuild=rebuild)

    def some_run() -> str:
        return f"run-{chance.randrange(amount.runs) // 5 * 5}"

    def some_call() -> UUID:
        return call_id(chance.randrange(amount.events) // 5 * 5)

    async def runs_page(query: RunQuery) -> None:
        listed = await reading.list_runs(BIG, query)
        if not listed.rows:
            raise RuntimeError(f"nothing found for {query}")
        await reading.counts(BIG, with_chats=query.with_chats)

    async def run_page() -> None:
        run_id = some_run()
        steps = await reading.get_steps(BIG, run_id)
        found = await reading.get_run(BIG, run_id)
        if found is None or len(steps) != amount.steps_each:
            raise RuntimeError(f"{run_id} is not there")
        await reading.get_redacted(BIG, found.run)
        await reading.get_explanations(BIG, run_id)
        await reading.get_links(BIG, run_id)
        await reading.get_children(BIG, run_id)

    async def call_page() -> None:
        if await reading.get_call(BIG, some_call()) is None:
            raise RuntimeError("the call is not there")

    async def newest_calls() -> None:
        if len(await reading.recent_calls(BIG, None, 50)) != 50:
            raise RuntimeError("there are more calls")

    async def calls_after() -> None:
        after = call_id(amount.events // 5 * 5 - 100)
        if not await reading.recent_calls(BIG, after, 50):
            raise RuntimeError("there are calls after that one")

    async def no_match() -> None:
        if (await reading.list_runs(BIG, RunQuery(q="nowhere to be found"))).rows:
            raise RuntimeError("found what is not there")

    async def one_match() -> None:
        digest = hashlib.md5(some_run()[4:].encode(), usedforsecurity=False).hexdigest()
        if len((await reading.list_runs(BIG, RunQuery(q=digest[:12].upper(), with_chats=True))).rows) != 1:
            raise RuntimeError("it is in the title of one run")

    async def short_match() -> None:
        if (await reading.list_runs(BIG, RunQuery(q="zq"))).rows:
            raise RuntimeError("found what is not there")

    def page(**query: object) -> Callable[[], Awaitable[None]]:
        return lambda: runs_page(RunQuery(limit=50, **query))  # type: ignore[arg-type]

    questions: Sequence[tuple[str, int, Callable[[], Awaitable[None]], int]] = [
        ("runs list, newest", LIMIT_MS, page(), ASKED),
        ("… lone chats too", LIMIT_MS, page(with_chats=True), ASKED),
        ("… failed", LIMIT_MS, page(status=RunStatus.FAILED), ASKED),
        ("… of one agent", LIMIT_MS, page(agent="agent-11"), ASKED),
        ("… of one user", LIMIT_MS, page(user="user-11"), ASKED),
        ("… flagged", LIMIT_MS, page(flag=FlagKind.LOOP_DETECTED), ASKED),
        ("… dearest first", LIMIT_MS, page(sort=RunSort.DEAREST), ASKED),
        ("… page 200", LIMIT_MS, page(offset=10_000), SLOWLY_ASKED),
        ("… cheapest first", LIMIT_MS, page(sort=RunSort.CHEAPEST), ASKED),
        ("… a text that is in none of them", SEARCH_LIMIT_MS, no_match, SLOWLY_ASKED),
        ("… a text that is in one of them", SEARCH_LIMIT_MS, one_match, SLOWLY_ASKED),
        ("… a text that is in all of them", SEARCH_LIMIT_MS, page(q="somebody"), ASKED),
        ("… a text that is in one of forty", SEARCH_LIMIT_MS, page(q="AGENT-11", with_chats=True), SLOWLY_ASKED),
        ("… two letters that are in none of them", SEARCH_LIMIT_MS, short_match, SLOWLY_ASKED),
        ("run page, without the text of its calls", LIMIT_MS, run_page, ASKED),
        ("call page", LIMIT_MS, call_page, ASKED),
        ("the newest 50 calls", LIMIT_MS, newest_calls, ASKED),
        ("calls since one of a moment ago", LIMIT_MS, calls_after, ASKED),
    ]
    timed = []
    for question in questions:
        timed.append(await _timed(*question))
        p50, p95 = timed[-1].percentile(0.5), timed[-1].percentile(0.95)
        _say(f"{timed[-1].what}: p50 {p50:.1f} ms, p95 {p95:.1f} ms (wanted below {timed[-1].limit_ms} ms)")
    return timed


def call_id(number: int) -> UUID:
    """As `_EVENTS` makes it."""
    made_at = 1_767_225_600_000 + number * 350
    chance = hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()
    return UUID(f"{made_at:012x}7{chance[:3]}8{chance[3:6]}{chance[6:18]}")


async def _timed(what: str, limit_ms: int, ask: Callable[[], Awaitable[None]], times: int) -> Timed:
    await ask()  # the first comes from the disk
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        await ask()
        taken.append((time.perf_counter() - began) * 1000)
    return Timed(what, limit_ms, tuple(sorted(taken)))


# --- deleting ---------------------------------------------------------------------------------------

_OLDEST = """
    SELECT project_id, run_id FROM agent_debug_logs WHERE project_id = $1 ORDER BY started_at LIMIT $2
"""


async def _delete(owner: asyncpg.Connection) -> float:
    """The oldest runs of a project with all that hangs on them, a batch a transaction, until it is on the disk."""
    await owner.execute("SET synchronous_commit = on")
    began = time.monotonic()
    for _ in range(DELETED_RUNS // RUNS_A_DELETE):
        async with owner.transaction():
            old = await owner.fetch(_OLDEST, BIG, RUNS_A_DELETE)
            keys = [row["project_id"] for row in old], [row["run_id"] for row in old]
            for table in ("agent_debug_steps", "run_links", "agent_debug_explanations", "agent_debug_logs"):
                await owner.execute(  # a name of ours
                    f"DELETE FROM {table} AS t USING unnest($1::text[], $2::text[]) AS old (project_id, run_id) "
                    "WHERE t.project_id = old.project_id AND t.run_id = old.run_id",
                    *keys,
                )
    return time.monotonic() - began
