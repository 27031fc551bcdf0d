"""The run store: what the recorder reads at start and commits with each batch, in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from types import MappingProxyType
from uuid import UUID

import asyncpg

from watchllm_proxy.outcomes import DeadLetterReason
from watchllm_proxy.records import (
    Anchor,
    BatchBounds,
    Explanation,
    Flag,
    LogPosition,
    Run,
    RunChanges,
    RunOutline,
    Step,
)
from watchllm_proxy.store import run_rows, views
from watchllm_proxy.store.postgres_errors import translated, until_no_conflict
from watchllm_proxy.store.sql import queries
from watchllm_proxy.store.transactions import BATCH, STATE, open_pool, transaction
from watchllm_proxy.store.usage import Spending, spending_writes

RunKey = tuple[str, str]
"""(project_id, run_id)"""

MAX_LIVE_RUNS = 50_000
KEPT_ANCHORS = 300_000
KEPT_TEXTS = 60_000
"""Of the newest anchors, and of these those of texts: not less than the sessionizer remembers."""

ANCHORS_AT_ONCE = 10_000
"""So many of them are one row at a start: some megabytes."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record of the log that was set aside. `detail` is for the operator: never a body, never a key."""

    log_name: str
    record_id: UUID
    reason: DeadLetterReason
    detail: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Tally:
    """What a batch counts of one log: its records that were stored, its damaged stretches stepped over."""

    stored: int = 0
    damaged_stretches: int = 0


_NOTHING_SPENT = Spending()
_NOTHING_COUNTED: Mapping[str, Tally] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class SessionizerState:
    """What `Sessionizer.load` takes, as of the last commit."""

    outlines: tuple[RunOutline, ...]
    anchors: tuple[Anchor, ...]  # by their numbers


@dataclass(frozen=True, slots=True)
class PendingBatch:
    """A batch that was begun and not committed, and how many starts have taken it up, or what it is a part of."""

    bounds: BatchBounds
    starts: int


class RunStore:
    """The recorder's side of Postgres. All methods raise `StoreUnavailable` or `StoreRejected`, nothing else.

    `recorder` names the one whose pending batch this is; each has its own logs.
    """

    def __init__(self, pool: asyncpg.Pool, *, recorder: str = "local", horizon_us: int = 86_400_000_000) -> None:
        self._pool = pool
        self._recorder = recorder
        self._horizon = timedelta(microseconds=horizon_us)
        self._sql = queries("postgres")

    @classmethod
    async def open(cls, dsn: str) -> RunStore:
        return cls(await open_pool(dsn))

    @property
    def pool(self) -> asyncpg.Pool:
        """For the other readers of this Postgres in the same process."""
        return self._pool

    async def close(self) -> None:
        """Waits for what is under way."""
        await self._pool.close()

    async def ping(self) -> None:
        async with translated():
            await self._pool.execute("SELECT 1")

    async def load_state(self, *, settled_for_us: int) -> SessionizerState:
        """Outlines of the runs of the horizon, and anchors: one consistent view of them. Bounded, however much is
        stored. Runs that settled longer ago than `settled_for_us` are left out."""
        ages = self._horizon, timedelta(microseconds=settled_for_us)
        async with transaction(self._pool, STATE) as connection:
            outlines = await connection.fetchrow(self._sql["live_outlines"], *ages, MAX_LIVE_RUNS)
            kept = self._horizon, KEPT_TEXTS, KEPT_ANCHORS, ANCHORS_AT_ONCE
            anchors = await connection.fetch(self._sql["live_anchors"], *kept)
        return await asyncio.to_thread(_state_from, outlines, anchors)

    async def load_runs(self, keys: Sequence[RunKey]) -> list[tuple[Run, tuple[Step, ...]]]:
        """Those of these runs that are stored, whole, however old."""
        asked = {(views.key(project_id), views.key(run_id)): (project_id, run_id) for project_id, run_id in keys}
        wanted = _columns(list(asked), 2)
        async with transaction(self._pool, STATE) as connection:
            found = await connection.fetch(self._sql["runs_by_id"], *wanted)
            steps = await connection.fetch(self._sql["steps_of_runs"], *wanted) if found else []
        steps_by_run: dict[RunKey, list[Step]] = {}
        for row in steps:
            steps_by_run.setdefault((row["project_id"], row["run_id"]), []).append(run_rows.step_from(row))
        runs = []
        for row in found:
            key = (row["project_id"], row["run_id"])
            run = replace(run_rows.run_from(row), run_id=asked[key][1])  # the id as the client gave it
            runs.append((run, tuple(steps_by_run.get(key, ()))))
        return runs

    async def runs_of_calls(self, project_id: str, call_ids: Sequence[UUID]) -> dict[UUID, str]:
        """Of those of these calls that are in a run."""
        async with transaction(self._pool, STATE) as connection:
            found = await connection.fetch(self._sql["runs_of_calls"], views.key(project_id), list(call_ids))
        return {run_rows.uuid_from(row["call_id"]): row["run_id"] for row in found}

    async def earlier_runs(
        self, asked: Sequence[tuple[str, str, int]], at_most: int
    ) -> list[list[run_rows.EarlierRun]]:
        """For each (project, agent, when): the agent's newest runs that began and were over before then."""
        rows = [(project_id, agent, views.instant(at_us)) for project_id, agent, at_us in asked]
        async with transaction(self._pool, STATE) as connection:
            found = await connection.fetch(self._sql["earlier_runs_of_agents"], *_columns(rows, 3), at_most)
        earlier: list[list[run_rows.EarlierRun]] = [[] for _ in asked]
        for row in found:
            at_us = views.at_us(row["started_at"])
            earlier[row["asked"] - 1].append(run_rows.EarlierRun(row["run_id"], at_us, row["dearest_step_usd"]))
        return earlier

    async def reported_among(self, keys: Sequence[RunKey]) -> set[RunKey]:
        """Those of these runs, by their keys, that were reported."""
        async with transaction(self._pool, STATE) as connection:
            found = await connection.fetch(self._sql["reported_among"], *_columns(keys, 2))
        return {(row["project_id"], row["run_id"]) for row in found}

    async def load_any_runs(self, keys: Sequence[RunKey]) -> dict[RunKey, tuple[Run, tuple[Step, ...]]]:
        """Those of these runs, by their keys, that are stored; only reported ones with their steps."""
        async with transaction(self._pool, STATE) as connection:
            found = await connection.fetch(self._sql["told_runs"], *_columns(keys, 2))
            told = [(row["project_id"], row["run_id"]) for row in found if row["reported"] is not None]
            rows = await connection.fetch(self._sql["steps_of_runs"], *_columns(told, 2))
        steps: dict[RunKey, list[Step]] = {}
        for row in rows:
            steps.setdefault((row["project_id"], row["run_id"]), []).append(run_rows.step_from(row))
        runs = [run_rows.run_from(row) for row in found]
        return {key: (run, tuple(steps.get(key, ()))) for run in runs for key in [(run.project_id, run.run_id)]}

    async def offsets(self) -> dict[str, LogPosition]:
        """How far each log is stored, by its name."""
        async with transaction(self._pool, STATE) as connection:
            found = await connection.fetch(self._sql["offsets"])
        return {row["log_name"]: LogPosition(row["segment"], row["offset_bytes"]) for row in found}

    async def pending(self) -> BatchBounds | None:
        """The batch that was begun and not committed: a crash came between."""
        async with transaction(self._pool, STATE) as connection:
            row = await connection.fetchrow(self._sql["pending_batch"], self._recorder)
        return None if row is None else run_rows.bounds_from(row)

    async def take_up_pending(self) -> PendingBatch | None:
        """The same, to be stored now: counted as one more start of it."""
        async with transaction(self._pool, BATCH) as connection:
            row = await connection.fetchrow(self._sql["take_up_batch"], self._recorder)
        return None if row is None else PendingBatch(run_rows.bounds_from(row), row["starts"])

    async def begin_batch(self, bounds: BatchBounds) -> None:
        await self._write([self._beginning(bounds)])

    async def cut_batch(self, whole: BatchBounds, part: BatchBounds) -> None:
        """`part` is pending in place of `whole`, and how far that reached is noted. Starts count on."""
        reached = _columns([(name, at.segment, at.offset_bytes) for name, at in whole.ends.items()], 3)
        await self._write([self._beginning(part), ("note_tried", reached)])

    async def tried(self) -> dict[str, LogPosition]:
        """By log, how far batches reached that were cut: of records before it ClickHouse may hold rows that were
        inserted with others, under another token. Only where not all of them are stored yet."""
        async with transaction(self._pool, STATE) as connection:
            found = await connection.fetch(self._sql["tried"])
        return {row["log_name"]: LogPosition(row["tried_segment"], row["tried_offset_bytes"]) for row in found}

    def _beginning(self, bounds: BatchBounds) -> tuple[str, Sequence[object]]:
        return "begin_batch", [self._recorder, run_rows.bounds_json(bounds), bounds.now_us]

    async def commit_batch(
        self,
        bounds: BatchBounds | None,
        changes: RunChanges,
        flags: Mapping[RunKey, Sequence[Flag]],
        explanations: Mapping[RunKey, Sequence[Explanation]],
        dead_letters: Sequence[DeadLetter] = (),
        *,
        tallies: Mapping[str, Tally] = _NOTHING_COUNTED,
        spending: Spending = _NOTHING_SPENT,
        displaced: Sequence[RunKey] = (),
    ) -> None:
        """All of it and the offsets, or nothing. Without `bounds` (time passed, no records) no offset moves.

        `tallies` counts, for each log, what became of its records. `displaced` runs go first, by their keys.
        `spending` is added to what was spent.
        """
        writes: list[tuple[str, Sequence[object]]] = [*spending_writes(spending)]
        if displaced:
            gone = _columns(displaced)
            writes += [(name, gone) for name in ("drop_runs", "drop_steps", "drop_explanations")]
        writes += self._writes(changes, flags, explanations)
        if bounds is not None:
            writes += self._closing_writes(bounds, dead_letters, tallies)
        await self._write(writes)

    async def commit_changes(
        self,
        before: Sequence[tuple[str, Sequence[object]]],
        changes: RunChanges,
        flags: Mapping[RunKey, Sequence[Flag]],
        explanations: Mapping[RunKey, Sequence[Explanation]],
        after: Sequence[tuple[str, Sequence[object]]],
    ) -> None:
        """Rows that no batch made, between other named statements: all of it, or nothing."""
        await self._write([*before, *self._writes(changes, flags, explanations), *after])

    async def _write(self, writes: Sequence[tuple[str, Sequence[object]]]) -> None:
        """In one transaction; again where another one came first, for nothing of it is stored then."""

        async def write() -> None:
            async with transaction(self._pool, BATCH) as connection:
                for name, arguments in writes:
                    await connection.execute(self._sql[name], *arguments)

        await until_no_conflict(write)

    def _writes(
        self,
        changes: RunChanges,
        flags: Mapping[RunKey, Sequence[Flag]],
        explanations: Mapping[RunKey, Sequence[Explanation]],
    ) -> list[tuple[str, Sequence[object]]]:
        """Named statements and their arguments, in order. Rows are made here, before a connection is taken."""
        runs = [
            run_rows.run_row(run, flags.get(key, ()), changes.all_steps.get(key, ()))
            for key, run in (((run.project_id, run.run_id), run) for run in changes.runs)
        ]
        explained = [(views.key(project_id), views.key(run_id)) for project_id, run_id in explanations]
        writes: list[tuple[str, Sequence[object]]] = []
        for name, new_rows, key_width in (
            ("save_runs", runs, 2),
            ("save_steps", [run_rows.step_row(*step) for step in changes.steps], 3),
            ("drop_explanations", explained, 2),
            (
                "save_explanations",
                _flat(run_rows.explanation_rows(*key, each) for key, each in explanations.items()),
                4,
            ),
            ("save_links", _flat(run_rows.link_rows(placement) for placement in changes.placements), 3),
            ("save_anchors", [run_rows.anchor_row(anchor) for anchor in changes.anchors], 3),
        ):
            if new_rows:
                writes.append((name, _columns(_last_of_each(new_rows, key_width))))
        return writes

    def _closing_writes(
        self, bounds: BatchBounds, dead_letters: Sequence[DeadLetter], tallies: Mapping[str, Tally]
    ) -> list[tuple[str, Sequence[object]]]:
        now = views.instant(bounds.now_us)
        dead = [
            (
                letter.record_id,
                letter.log_name,
                letter.reason.value,
                views.text(letter.detail),
                letter.payload,
                now,
            )
            for letter in dead_letters
        ]
        ends = [(name, at.segment, at.offset_bytes) for name, at in bounds.ends.items()]
        writes: list[tuple[str, Sequence[object]]] = [
            ("prune_old_anchors", [self._horizon]),
            ("prune_texts", [KEPT_TEXTS]),
            ("prune_ids", [KEPT_ANCHORS]),
        ]
        if dead:
            writes.append(("save_dead_letters", _columns(_last_of_each(dead, 1))))
        if ends:
            writes.append(("save_offsets", _columns(ends)))
        if stored_at_last := set(bounds.retried) - {letter.record_id for letter in dead_letters}:
            writes.append(("forget_dead_letters", [list(stored_at_last)]))
        if tallies:
            counts = [(name, tally.stored, tally.damaged_stretches) for name, tally in tallies.items()]
            writes.append(("add_to_accounts", [*_columns(counts), self._recorder]))
        writes.append(("end_batch", [self._recorder]))
        return writes


def _state_from(outlines: run_rows.Stored, anchors: Sequence[run_rows.Stored]) -> SessionizerState:
    return SessionizerState(tuple(run_rows.outlines_from(outlines)), tuple(run_rows.anchors_from(anchors)))


def _flat(lists: Iterable[list[run_rows.Row]]) -> list[run_rows.Row]:
    return [row for each in lists for row in each]


def _last_of_each(new_rows: Sequence[run_rows.Row], key_width: int) -> list[run_rows.Row]:
    """One row for each key, the last given: a statement may not touch a row twice."""
    return list({row[:key_width]: row for row in new_rows}.values())


def _columns(new_rows: Sequence[run_rows.Row], width: int = 0) -> list[list[object]]:
    """Rows turned into one array for each column; `width` columns where there may be no rows."""
    if not new_rows:
        return [[] for _ in range(width)]
    return [list(column) for column in zip(*new_rows, strict=True)]
