"""How Postgres answers each query of ours with many rows: by an index, as the role that asks.

Rows are made once: enough that a plan which reads a whole table is dearer than one that does not.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from tests.fixtures import engines
from watchllm_proxy.records import FlagKind, RunStatus
from watchllm_proxy.store.embedded import EmbeddedPostgres
from watchllm_proxy.store.reading import _KNOWN_FIRST, _ORDERS
from watchllm_proxy.store.shapes import RunSort
from watchllm_proxy.store.sql import queries
from watchllm_proxy.store.transactions import BATCH, QUESTION, Work, open_pool, transaction

PROJECTS, RUNS_EACH, STEPS_EACH = 5, 6_000, 4
RUNS = PROJECTS * RUNS_EACH

BIG = {"agent_debug_logs", "agent_debug_steps", "agent_debug_explanations", "run_links", "run_anchors"}

FILL = f"""
INSERT INTO projects SELECT 'project-' || n, 'x', now() FROM generate_series(0, {PROJECTS - 1}) AS n;
INSERT INTO agent_debug_logs (
    project_id, run_id, session_id, parent_run_id, agent_name, title, status, started_at, ended_at,
    last_activity_at, is_agent, total_steps, total_calls, error_count, input_tokens, output_tokens,
    cache_read_input_tokens, total_cost_usd, unpriced_calls, tags, flags, is_explicit, user_id
)
SELECT 'project-' || n % {PROJECTS}, 'run-' || n, 'session-' || n / 20,
    CASE WHEN n % 7 = 0 THEN 'run-' || n / 7 END, 'agent-' || n % 30, 'Task ' || n,
    (ARRAY['completed', 'completed', 'completed', 'failed', 'abandoned'])[1 + n / 7 % 5],
    at, at + n % 300 * interval '1 second', at, n % 3 > 0, n % 40, n % 20, n % 5 / 4, n, n, 0,
    CASE WHEN n % 10 > 0 THEN n % 1000 / 1000.0 END, 0, '[]',
    CASE WHEN n % 25 = 0 THEN '[{{"kind": "loop_detected"}}]'::jsonb ELSE '[]' END, n % 4 = 0,
    CASE WHEN n % 2 = 0 THEN 'user-' || n % 500 END
FROM generate_series(1, {RUNS}) AS n, LATERAL (SELECT timestamptz '2026-01-01' + n * interval '10 seconds' AS at);
INSERT INTO agent_debug_steps (
    project_id, run_id, step_index, type, started_at, is_duration_inferred, summary, is_priced
)
SELECT project_id, run_id, n, 'decision', started_at, false, repeat('x', 100), false
FROM agent_debug_logs, generate_series(0, {STEPS_EACH - 1}) AS n;
INSERT INTO agent_debug_explanations
SELECT project_id, run_id, 1, 0, 'because', 1, 'deterministic', '[]' FROM agent_debug_logs;
INSERT INTO run_links
SELECT project_id, md5(run_id || n)::uuid, 0, run_id, 'issued_id', 'x', 'certain', NULL, NULL
FROM agent_debug_logs, generate_series(0, 1) AS n;
INSERT INTO run_anchors (project_id, kind, value, run_id, call_id, step_index, at, session_id, seq)
SELECT project_id, 'issued_id', convert_to(run_id || n, 'UTF8'), run_id, md5(run_id || n)::uuid, 0, started_at,
    session_id, row_number() OVER ()
FROM agent_debug_logs, generate_series(0, 1) AS n;
"""


@dataclass(frozen=True, slots=True)
class Plan:
    tree: dict[str, Any]

    def nodes(self) -> Iterator[dict[str, Any]]:
        waiting = [self.tree]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += node.get("Plans", [])

    @property
    def whole_tables(self) -> set[str]:
        """Big tables that are read from end to end."""
        return {node["Relation Name"] for node in self.nodes() if node["Node Type"] == "Seq Scan"} & BIG

    @property
    def indexes(self) -> set[str]:
        return {node["Index Name"] for node in self.nodes() if "Index Name" in node}

    @property
    def sorts_everything(self) -> bool:
        """More than a handful at once, to show a page of them."""
        return any(node["Node Type"] == "Sort" and node["Plan Rows"] > 200 for node in self.nodes())


@pytest.fixture(scope="module")
def filled_dsn(postgres: EmbeddedPostgres) -> Iterator[str]:
    name = engines._fresh_database(postgres, template="watchllm")
    dsn = engines._with_database(postgres.dsn, name)
    asyncio.run(fill(engines._with_database(postgres.owner_dsn, name)))
    yield dsn
    engines._on_server(postgres, f"DROP DATABASE {name} WITH (FORCE)")


async def fill(owner_dsn: str) -> None:
    connection = await asyncpg.connect(owner_dsn)
    await connection.execute(FILL)
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


@pytest.fixture
async def pool(filled_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    opened = await open_pool(filled_dsn, max_size=1)
    yield opened
    await opened.close()


async def plan_of(pool: asyncpg.Pool, work: Work, sql: str, *arguments: object) -> Plan:
    """Of the very statement, with the very values, as the role that asks."""
    async with transaction(pool, work, "project-1") as connection:  # EXPLAIN does nothing of what it explains
        (explained,) = await connection.fetchrow(f"EXPLAIN (FORMAT JSON) {sql}", *arguments)
    return Plan(json.loads(explained)[0]["Plan"])


# --- the list of runs -------------------------------------------------------------------------------

FILTERS: dict[str, tuple[object, ...]] = {
    # $2 status, $3 agent, $4 flag, $5 session, $6 text, $7 since, $8 until, $9 with chats, $10 user, $11 errors
    "everything": (None, None, None, None, None, None, None, True, None, False),
    "agents": (None, None, None, None, None, None, None, False, None, False),
    "a status": (RunStatus.FAILED.value, None, None, None, None, None, None, False, None, False),
    "an agent": (None, "agent-11", None, None, None, None, None, False, None, False),
    "a flag": (None, None, FlagKind.LOOP_DETECTED.value, None, None, None, None, False, None, False),
    "a session": (None, None, None, "session-77", None, None, None, True, None, False),
    "errors": (None, None, None, None, None, None, None, False, None, True),
    "errors, chats too": (None, None, None, None, None, None, None, True, None, True),
    "a user": (None, None, None, None, None, None, None, False, "user-7", False),
}


def list_sql(order: RunSort = RunSort.NEWEST) -> str:
    sql = queries("postgres")
    if order in _KNOWN_FIRST:
        listed = sql["list_runs_known_first"].replace("/*key*/", _KNOWN_FIRST[order])
    else:
        listed = sql["list_runs"].replace("/*order*/", _ORDERS[order])
    return listed.replace("/*run_filter*/", sql["run_filter"])


@pytest.mark.parametrize("what", FILTERS)
async def test_a_page_of_runs_comes_out_of_an_index_in_its_order(pool: asyncpg.Pool, what: str) -> None:
    plan = await plan_of(pool, QUESTION, list_sql(), "project-1", *FILTERS[what], 51, 0)
    assert (plan.whole_tables, plan.sorts_everything) == (set(), False), plan.tree


@pytest.mark.parametrize("order", sorted(RunSort))
async def test_every_order_of_the_list_is_an_index_forwards_or_backwards(pool: asyncpg.Pool, order: str) -> None:
    plan = await plan_of(pool, QUESTION, list_sql(RunSort(order)), "project-1", *FILTERS["agents"], 51, 0)
    assert (plan.whole_tables, plan.sorts_everything) == (set(), False), plan.tree


@pytest.mark.parametrize("what", FILTERS)
async def test_counting_what_matches_reads_no_table(pool: asyncpg.Pool, what: str) -> None:
    sql = queries("postgres")["count_runs"].replace("/*run_filter*/", queries("postgres")["run_filter"])
    plan = await plan_of(pool, QUESTION, sql, "project-1", *FILTERS[what], 1_000)
    assert plan.whole_tables == set(), plan.tree


@pytest.mark.parametrize("what", FILTERS)
async def test_counting_looks_at_an_index_and_not_at_the_rows(pool: asyncpg.Pool, what: str) -> None:
    """Ten thousand rows lie on ten thousand pages."""
    sql = queries("postgres")["count_runs"].replace("/*run_filter*/", queries("postgres")["run_filter"])
    plan = await plan_of(pool, QUESTION, sql, "project-1", *FILTERS[what], 1_000)
    assert "Index Only Scan" in {node["Node Type"] for node in plan.nodes()}, plan.tree


# --- all others -------------------------------------------------------------------------------------

RUN_KEYS = (["project-1"] * 20, [f"run-{n}" for n in range(1, 100, 5)])

WITHOUT_TABLES_THAT_GROW = re.compile(r"\b(agent_debug_\w+|run_links|run_anchors)\b")

FRAGMENT = re.compile(r"/\*(\w+)\*/")
SEEN = {"list_runs", "list_runs_known_first", "count_runs"}
ABOUT_A_WHOLE_PROJECT = {"delete_leftovers_of_project"}


def questions() -> list[str]:
    """Every statement that reads or deletes rows of a table that grows with the runs."""
    fragments = {name for sql in queries("postgres").values() for name in FRAGMENT.findall(sql)}
    return sorted(
        name
        for name, sql in queries("postgres").items()
        if name not in SEEN | ABOUT_A_WHOLE_PROJECT | fragments
        and WITHOUT_TABLES_THAT_GROW.search(sql)
        and not sql.startswith("INSERT")
    )


def arguments_for(types: list[str]) -> list[object]:
    """Values of a small question: one project, one run, twenty runs, a short while, few rows."""
    values: list[object] = []
    texts, lists = iter(["project-1", "run-11", "x", "x"]), iter([*RUN_KEYS, [], []])
    for name in types:
        match name:
            case "text":
                values.append(next(texts))
            case "text[]":
                values.append(next(lists))
            case _:
                values.append(SAMPLES[name])
    return values


SAMPLES: dict[str, object] = {
    "bool": False,
    "int4": 100,
    "int8": 100,
    "uuid": "00000000-0000-0000-0000-000000000001",
    "uuid[]": ["00000000-0000-0000-0000-000000000001"],
    "int4[]": [1],
    "int8[]": [1],
    "bool[]": [False],
    "bytea[]": [b"x"],
    "timestamptz[]": [],
    "interval": timedelta(minutes=10),
    "timestamptz": datetime(2026, 1, 1, tzinfo=UTC),
    "jsonb": None,
    "bytea": b"x",
}


@pytest.mark.parametrize("name", questions())
async def test_a_question_about_few_rows_reads_no_whole_table(pool: asyncpg.Pool, name: str) -> None:
    sql = FRAGMENT.sub(lambda found: queries("postgres")[found[1]], queries("postgres")[name])
    async with transaction(pool, BATCH) as connection:
        types = [each.name for each in (await connection.prepare(sql)).get_parameters()]
    plan = await plan_of(pool, BATCH, sql, *arguments_for(types))
    assert plan.whole_tables == set(), plan.tree
