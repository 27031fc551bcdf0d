"""What people said about runs: asked for through the console, carried out by the recorder, obeyed ever after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from watchllm_proxy.records import (
    Anchor,
    CarriedOut,
    Correction,
    CorrectionKind,
    Explanation,
    Flag,
    Link,
    Run,
    RunChanges,
    Step,
)
from watchllm_proxy.store import run_rows, views
from watchllm_proxy.store.postgres import RunKey, RunStore
from watchllm_proxy.store.run_rows import Stored, uuid_from
from watchllm_proxy.store.sql import queries
from watchllm_proxy.store.transactions import QUESTION, STATE, Role, Work, transaction

ASKING = Work(
    Role.RECORDER, statement_timeout_ms=10_000, lock_timeout_ms=3_000, idle_timeout_ms=10_000, is_readonly=False
)
"""Somebody waits for the answer. Readers may not write, so it is the recorder's right, for one row."""

MAX_IN_FORCE = 100_000
MAX_WAITING = 20
MAX_REMOVES = 64


@dataclass(frozen=True, slots=True)
class CorrectionState:
    """A correction and how it stands: waiting, carried out, or refused."""

    correction: Correction
    carried_out: CarriedOut | None
    refusal: tuple[str, str] | None  # code and words
    is_undone: bool


@dataclass(frozen=True, slots=True)
class StoredSessions:
    """The rows that a correction is about, all of one project."""

    runs: Mapping[str, Run]
    steps: Mapping[str, tuple[Step, ...]]  # of the runs that were asked for
    calls: Mapping[UUID, tuple[str, tuple[Link, ...]]]  # of all `runs`: the call's run and links
    anchors: tuple[Anchor, ...]
    in_force: tuple[CarriedOut, ...]


class Corrections:
    """All methods raise `StoreUnavailable` or `StoreRejected`, nothing else."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._sql = queries("postgres")

    # --- for a person

    async def ask(self, correction: Correction) -> None:
        """Durable when it returns. The recorder comes to it."""
        arguments = (
            correction.correction_id,
            views.key(correction.project_id),
            correction.kind.value,
            views.key(correction.run_id),
            correction.call_id,
            correction.is_single,
            views.optional_key(correction.into_run_id),
            correction.undoes,
            views.instant(correction.at_us),
        )
        async with transaction(self._pool, ASKING) as connection:
            await connection.execute(self._sql["ask_for_correction"], *arguments)

    async def state(self, project_id: str, correction_id: UUID) -> CorrectionState | None:
        async with transaction(self._pool, QUESTION, project_id) as connection:
            row = await connection.fetchrow(self._sql["correction_by_id"], views.key(project_id), correction_id)
        return None if row is None else _state_from(row)

    async def of_run(self, project_id: str, run_id: str) -> Sequence[CarriedOut]:
        """Those in force that have to do with this run or its calls, in order."""
        async with transaction(self._pool, QUESTION, project_id) as connection:
            return await self._of_runs(connection, project_id, [views.key(run_id)])

    async def merged_into(self, project_id: str, run_id: str) -> str | None:
        """The run that the calls of this one went to, at any number of removes; None: it was not merged."""
        found: str | None = views.key(run_id)
        async with transaction(self._pool, QUESTION, project_id) as connection:
            for _ in range(MAX_REMOVES):
                into = await connection.fetchval(self._sql["run_merged_into"], views.key(project_id), found)
                if into is None:
                    break
                found = into
        return None if found == views.key(run_id) else found

    # --- for the recorder

    async def waiting(self) -> list[Correction]:
        async with transaction(self._pool, STATE) as connection:
            found = await connection.fetch(self._sql["waiting_corrections"], MAX_WAITING)
        return [_correction_from(row) for row in found]

    async def in_force(self) -> list[CarriedOut]:
        async with transaction(self._pool, STATE) as connection:
            found = await connection.fetch(self._sql["corrections_in_force"], MAX_IN_FORCE)
        return [_carried_out_from(row) for row in found]

    async def rows(self, correction: Correction) -> StoredSessions:
        """What a correction is about, as of one moment."""
        project_id = views.key(correction.project_id)
        async with transaction(self._pool, STATE) as connection:
            run_ids = await self._runs_named(connection, correction)
            in_force = await self._of_runs(connection, project_id, run_ids)
            sessions = {s for each in in_force for s in (each.left_session_id, each.to_session_id)}
            found = await connection.fetch(self._sql["runs_of_sessions"], project_id, sorted(sessions), run_ids)
            runs = {row["run_id"]: run_rows.run_from(row) for row in found}
            links = await connection.fetch(self._sql["links_of_runs"], project_id, sorted(runs))
            anchors = await connection.fetch(self._sql["anchors_about_runs"], project_id, run_ids)
            keys = [[project_id for _ in run_ids], run_ids]
            steps = await connection.fetch(self._sql["steps_of_runs"], *keys)
        return StoredSessions(
            runs=runs,
            steps=run_rows.steps_by_run(steps),
            calls=run_rows.links_by_call(links),
            anchors=tuple(map(run_rows.anchor_from, anchors)),
            in_force=tuple(in_force),
        )

    async def _runs_named(self, connection: asyncpg.Connection, correction: Correction) -> list[str]:
        named = {views.key(correction.run_id), views.key(correction.into_run_id or correction.run_id)}
        if correction.undoes is not None:
            row = await connection.fetchrow(
                self._sql["correction_by_id"], views.key(correction.project_id), correction.undoes
            )
            if row is not None and row["to_run_id"] is not None:
                named |= {row["run_id"], row["to_run_id"]}
        return sorted(named)

    async def _of_runs(
        self, connection: asyncpg.Connection, project_id: str, run_ids: Sequence[str]
    ) -> list[CarriedOut]:
        found = await connection.fetch(self._sql["corrections_of_runs"], views.key(project_id), run_ids)
        return [_carried_out_from(row) for row in found]


async def commit_correction(
    runs: RunStore,
    carried_out: CarriedOut,
    changes: RunChanges,
    flags: Mapping[RunKey, Sequence[Flag]],
    explanations: Mapping[RunKey, Sequence[Explanation]],
    *,
    gone: Sequence[str],
    hung: Sequence[tuple[str, str, str | None]],
    dropped_anchors: Sequence[tuple[str, str]],
    at_us: int,
) -> None:
    """All that a correction changes, or nothing of it. `hung`: run, session, parent."""
    correction = carried_out.correction
    project_id = views.key(correction.project_id)
    written_anew = [*gone, *(views.key(run.run_id) for run in changes.runs)]
    anew = [[project_id for _ in written_anew], written_anew]
    before: list[tuple[str, Sequence[object]]] = [
        ("drop_steps", anew),
        ("drop_explanations", anew),
        ("drop_runs", [[project_id for _ in gone], list(gone)]),
        ("drop_links", [project_id, [placement.call_id for placement in changes.placements]]),
        (
            "drop_anchors",
            [project_id, [kind for kind, _ in dropped_anchors], [_exact(value) for _, value in dropped_anchors]],
        ),
        (
            "hang_runs",
            [
                [project_id for _ in hung],
                [run_id for run_id, _, _ in hung],
                [session_id for _, session_id, _ in hung],
                [parent_run_id for _, _, parent_run_id in hung],
            ],
        ),
    ]
    after: list[tuple[str, Sequence[object]]] = [
        (
            "end_correction",
            [
                correction.correction_id,
                views.instant(at_us),
                list(carried_out.call_ids),
                carried_out.to_run_id,
                carried_out.to_session_id,
                carried_out.to_parent_run_id,
                carried_out.left_session_id,
                carried_out.left_parent_run_id,
                list(carried_out.stay_call_ids),
            ],
        )
    ]
    if correction.kind is CorrectionKind.UNDO:
        after.append(("undo_correction", [correction.undoes, correction.correction_id]))
    await runs.commit_changes(before, changes, flags, explanations, after)


async def refuse_correction(runs: RunStore, correction: Correction, code: str, words: str) -> None:
    arguments = [correction.correction_id, code, words]
    await runs.commit_changes([("refuse_correction", arguments)], RunChanges(), {}, {}, [])


def _exact(value: str) -> bytes:
    return value.encode("utf-8", "surrogatepass")


def _correction_from(row: Stored) -> Correction:
    return Correction(
        correction_id=uuid_from(row["correction_id"]),
        project_id=row["project_id"],
        kind=CorrectionKind(row["kind"]),
        run_id=row["run_id"],
        at_us=views.at_us(row["at"]),
        call_id=None if row["call_id"] is None else uuid_from(row["call_id"]),
        is_single=row["is_single"],
        into_run_id=row["into_run_id"],
        undoes=None if row["undoes"] is None else uuid_from(row["undoes"]),
    )


def _carried_out_from(row: Stored) -> CarriedOut:
    return CarriedOut(
        correction=_correction_from(row),
        call_ids=tuple(map(uuid_from, row["call_ids"])),
        to_run_id=row["to_run_id"],
        to_session_id=row["to_session_id"],
        to_parent_run_id=row["to_parent_run_id"],
        left_session_id=row["left_session_id"],
        left_parent_run_id=row["left_parent_run_id"],
        stay_call_ids=tuple(map(uuid_from, row["stay_call_ids"])),
    )


def _state_from(row: Stored) -> CorrectionState:
    is_carried_out = row["carried_out_at"] is not None
    return CorrectionState(
        correction=_correction_from(row),
        carried_out=_carried_out_from(row) if is_carried_out else None,
        refusal=None if row["refusal"] is None else (row["refusal_code"], row["refusal"]),
        is_undone=row["undone_by"] is not None,
    )
