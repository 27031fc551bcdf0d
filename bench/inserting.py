"""Rows a second and core into each store: the recorder's own batches, thought about before, one after another.

Into the embedded ClickHouse, into a ClickHouse server by the native protocol, and into Postgres. The CPU is that
of this process, which encodes the rows, and of the store, with what it does in the background meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import conversations, stores
from bench.apart import in_a_process_of_its_own
from bench.processes import cpu_ns, tree
from bench.servers import servers
from watchllm_proxy.decode import KnownMessages, decode
from watchllm_proxy.enrich.flags import find_flags
from watchllm_proxy.enrich.prices import price
from watchllm_proxy.insights.explain import explain
from watchllm_proxy.recorder import BATCH_RECORDS
from watchllm_proxy.records import (
    BatchBounds,
    Call,
    Exchange,
    Explanation,
    Flag,
    LogPosition,
    Placement,
    RunChanges,
)
from watchllm_proxy.sessionize import Sessionizer
from watchllm_proxy.store.clickhouse import AsyncEventStore
from watchllm_proxy.store.event_rows import Insert, RecentMessages, event_inserts
from watchllm_proxy.store.migrate import migrate_clickhouse
from watchllm_proxy.store.postgres import RunStore

CONVERSATIONS = 500
WARM_UP = 1  # batches that are not counted

RunKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Inserted:
    store: str
    batches: int
    calls: int
    rows: Mapping[str, int]  # by table
    cpu_s: float
    wall_s: float


@dataclass(frozen=True, slots=True)
class Batch:
    """What the recorder has in its hands when it has thought."""

    bounds: BatchBounds
    calls: int
    inserts: Sequence[Insert]
    changes: RunChanges
    flags: Mapping[RunKey, Sequence[Flag]]
    explanations: Mapping[RunKey, Sequence[Explanation]]


def measure() -> list[Inserted]:
    return in_a_process_of_its_own(_measure, None)


def _measure(_: None) -> list[Inserted]:
    batches = _batches(list(conversations.log_of(conversations.SMALL, CONVERSATIONS)))
    with tempfile.TemporaryDirectory(prefix="watchllm-bench-") as folder:
        return asyncio.run(_into_each(Path(folder), batches))


async def _into_each(folder: Path, batches: Sequence[Batch]) -> list[Inserted]:
    async with stores.opened(folder / "embedded") as opened:

        def with_postgres_s() -> float:
            return time.process_time() + opened.postgres_cpu_ns() / 1e9

        embedded = await _clocked("ClickHouse, embedded", batches, _rows_of_events, _into(opened.events), _own_s)
        runs = await _clocked("Postgres", batches, _rows_of_runs, _commit_to(opened.runs), with_postgres_s)
    with servers(folder / "servers") as ours:
        events = ours.events()
        await migrate_clickhouse(events, ours.postgres.owner_dsn)
        server = await _clocked("ClickHouse, a server", batches, _rows_of_events, _into(events), _with_children_s)
        await events.close()
    return [embedded, server, runs]


def _own_s() -> float:
    return time.process_time()


def _with_children_s() -> float:
    """The server is a child of this process."""
    return time.process_time() + cpu_ns(tree(os.getpid())[1:]) / 1e9


def _into(events: AsyncEventStore) -> Callable[[Batch], Awaitable[None]]:
    async def insert(batch: Batch) -> None:
        for each in batch.inserts:
            await events.insert(*each)

    return insert


def _commit_to(runs: RunStore) -> Callable[[Batch], Awaitable[None]]:
    async def commit(batch: Batch) -> None:
        await runs.begin_batch(batch.bounds)
        await runs.commit_batch(batch.bounds, batch.changes, batch.flags, batch.explanations)

    return commit


async def _clocked(
    store: str,
    batches: Sequence[Batch],
    rows_of: Callable[[Batch], Mapping[str, int]],
    insert: Callable[[Batch], Awaitable[None]],
    cpu_s: Callable[[], float],
) -> Inserted:
    for batch in batches[:WARM_UP]:
        await insert(batch)
    counted = batches[WARM_UP:]
    cpu_before_s, began_s = cpu_s(), time.monotonic()
    for batch in counted:
        await insert(batch)
    spent_s, wall_s = cpu_s() - cpu_before_s, time.monotonic() - began_s
    rows: dict[str, int] = {}
    for batch in counted:
        for table, count in rows_of(batch).items():
            rows[table] = rows.get(table, 0) + count
    return Inserted(store, len(counted), sum(each.calls for each in counted), rows, spent_s, wall_s)


def _rows_of_events(batch: Batch) -> Mapping[str, int]:
    return {insert.table: len(insert.rows) for insert in batch.inserts if insert.rows}


def _rows_of_runs(batch: Batch) -> Mapping[str, int]:
    return {
        "runs": len(batch.changes.runs),
        "steps": len(batch.changes.steps),
        "links": sum(len(placement.links) for placement in batch.changes.placements),
        "anchors": len(batch.changes.anchors),
        "explanations": sum(map(len, batch.explanations.values())),
    }


# --- thinking, before the clock runs ------------------------------------------------------------------


def _batches(exchanges: Sequence[Exchange]) -> list[Batch]:
    sessionizer = Sessionizer(silence_us=stores.SILENCE_US)
    known, recent = KnownMessages(), RecentMessages()
    made = []
    for start in range(0, len(exchanges), BATCH_RECORDS):
        part = exchanges[start : start + BATCH_RECORDS]
        now_us = part[-1].ended_at_us
        calls = [price(decode(exchange, known=known)) for exchange in part]
        placed: list[tuple[Call, Placement]] = [(call, sessionizer.observe(call, now_us)) for call in calls]
        sessionizer.tick(now_us)
        changes = sessionizer.drain()
        bounds = BatchBounds({"w0": LogPosition(0, start)}, {"w0": LogPosition(0, start + len(part))}, now_us)
        inserts = event_inserts(placed, bounds, keep_raw_days=0, recent=recent)
        recent.remember(inserts)
        runs = {(run.project_id, run.run_id): run for run in changes.runs}
        flags = {key: find_flags(run, changes.all_steps[key]) for key, run in runs.items()}
        explanations = {key: explain(run, changes.all_steps[key], flags[key]) for key, run in runs.items()}
        made.append(Batch(bounds, len(part), inserts, changes, flags, explanations))
    return made
