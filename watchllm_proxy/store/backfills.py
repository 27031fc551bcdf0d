"""Rows of runs that are thought about again: what is there of them, and how they are written anew."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import asyncpg

from watchllm_proxy.records import Explanation, Flag, Link, Run, RunChanges, Step
from watchllm_proxy.store import run_rows, views
from watchllm_proxy.store.postgres import RunKey, RunStore
from watchllm_proxy.store.run_rows import uuid_from
from watchllm_proxy.store.sql import queries
from watchllm_proxy.store.transactions import QUESTION, STATE, UPKEEP, transaction


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a backfill of [from_us, to_us) came, and what it did."""

    from_us: int
    to_us: int
    done_until_us: int
    thought_calls: int = 0
    moved_calls: int = 0
    left_calls: int = 0
    repriced_calls: int = 0


@dataclass(frozen=True, slots=True)
class WholeRuns:
    """Runs as they are stored, with all that is theirs."""

    runs: Mapping[str, Run]
    steps: Mapping[str, tuple[Step, ...]]
    calls: Mapping[UUID, tuple[str, tuple[Link, ...]]]  # run and links


class Backfills:
    """The rows of one project. Methods raise `StoreUnavailable` or `StoreRejected`."""

    def __init__(self, runs: RunStore, project_id: str) -> None:
        self._runs = runs
        self._pool = runs.pool
        self._project_id = views.key(project_id)
        self._sql = queries("postgres")

    async def latest_activity_us(self) -> int | None:
        """Of all projects; None: there is no run at all."""
        async with transaction(self._pool, STATE) as connection:
            return views.optional_at_us(await connection.fetchval(self._sql["latest_activity"]))

    async def extent(self, from_us: int, to_us: int, max_span_us: int) -> tuple[int, int] | None:
        """From when to when the sessions last that have a run in [from_us, to_us), without the longest ones."""
        arguments = (views.instant(from_us), views.instant(to_us), timedelta(microseconds=max_span_us))
        async with transaction(self._pool, STATE) as connection:
            row = await connection.fetchrow(self._sql["sessions_touched"], self._project_id, *arguments)
        return None if row is None else (views.at_us(row["began"]), views.at_us(row["ended"]))

    async def run_of_calls(self, call_ids: Iterable[UUID]) -> dict[UUID, str]:
        async with transaction(self._pool, STATE) as connection:
            found = await connection.fetch(self._sql["runs_of_calls"], self._project_id, list(call_ids))
        return {uuid_from(row["call_id"]): row["run_id"] for row in found}

    async def session_of_runs(self, run_ids: Iterable[str]) -> dict[str, str]:
        async with transaction(self._pool, STATE) as connection:
            found = await connection.fetch(self._sql["sessions_of_runs"], self._project_id, sorted(run_ids))
        return {row["run_id"]: row["session_id"] for row in found}

    async def whole(self, session_ids: Iterable[str], run_ids: Iterable[str]) -> WholeRuns:
        """All runs of these sessions, and of those that these runs are in."""
        asked = self._project_id, sorted(session_ids), sorted(run_ids)
        async with transaction(self._pool, STATE) as connection:
            found = await connection.fetch(self._sql["runs_of_sessions"], *asked)
            runs = {row["run_id"]: run_rows.run_from(row) for row in found}
            links = await connection.fetch(self._sql["links_of_runs"], self._project_id, sorted(runs))
            steps = await connection.fetch(
                self._sql["steps_of_runs"], [self._project_id for _ in runs], list(runs)
            )
        return WholeRuns(runs, run_rows.steps_by_run(steps), run_rows.links_by_call(links))

    async def replace(
        self,
        old: WholeRuns,
        changes: RunChanges,
        flags: Mapping[RunKey, Sequence[Flag]],
        explanations: Mapping[RunKey, Sequence[Explanation]],
    ) -> None:
        """These runs in place of the old ones, or nothing of it. `changes` has every call that `old` has."""
        new = {views.key(run.run_id) for run in changes.runs}
        anew = sorted(new | old.runs.keys())
        gone = sorted(old.runs.keys() - new)
        call_ids = sorted({*old.calls, *(placement.call_id for placement in changes.placements)})
        project_id = self._project_id
        before: list[tuple[str, Sequence[object]]] = [
            ("drop_steps", [[project_id for _ in anew], anew]),
            ("drop_explanations", [[project_id for _ in anew], anew]),
            ("drop_runs", [[project_id for _ in gone], gone]),
            ("drop_links", [project_id, call_ids]),
            ("drop_anchors_of_runs", [project_id, anew]),
        ]
        await self._runs.commit_changes(before, changes, flags, explanations, [])

    # --- how far it came

    async def progress(self) -> Progress | None:
        async with transaction(self._pool, UPKEEP) as connection:
            return _progress(await connection.fetchrow(self._sql["backfill"], self._project_id))

    async def note(self, progress: Progress) -> None:
        at = (progress.from_us, progress.to_us, progress.done_until_us)
        done = (progress.thought_calls, progress.moved_calls, progress.left_calls, progress.repriced_calls)
        async with transaction(self._pool, UPKEEP) as connection:
            await connection.execute(self._sql["save_backfill"], self._project_id, *map(views.instant, at), *done)

    async def end(self) -> None:
        async with transaction(self._pool, UPKEEP) as connection:
            await connection.execute(self._sql["end_backfill"], self._project_id)


async def progress_of(pool: asyncpg.Pool, project_id: str) -> Progress | None:
    """For somebody who looks at this project alone."""
    async with transaction(pool, QUESTION, views.key(project_id)) as connection:
        return _progress(await connection.fetchrow(queries("postgres")["backfill"], views.key(project_id)))


def _progress(row: run_rows.Stored | None) -> Progress | None:
    if row is None:
        return None
    return Progress(
        views.at_us(row["from_at"]),
        views.at_us(row["to_at"]),
        views.at_us(row["done_until"]),
        row["thought_calls"],
        row["moved_calls"],
        row["left_calls"],
        row["repriced_calls"],
    )
