"""Somebody who corrects what a sessionizer found: stored rows in, stored rows out, as the recorder does it."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID, uuid5

from tests.unit.builders import SECOND_US, SILENCE_US, Rows
from watchllm_proxy.records import Anchor, Call, CarriedOut, Correction, CorrectionKind, Run
from watchllm_proxy.sessionize import Sessionizer
from watchllm_proxy.sessionize.corrections import PlacedCall, Told, plan, told_by
from watchllm_proxy.sessionize.corrections import Rows as RowsOfSessions
from watchllm_proxy.sessionize.person import SaidByPeople
from watchllm_proxy.sessionize.regrouping import Corrected, carry_out

NAMESPACE = UUID("5b1f4f0e-0d5b-5c55-9d0e-0e4a4f0f3a11")
LONG_AFTER_US = 10**18


class Person:
    """Corrects the runs of one project in `rows`. `calls` are those that were observed."""

    def __init__(self, rows: Rows, calls: list[Call], project_id: str = "default") -> None:
        self.rows = rows
        self.project_id = project_id
        self.done: list[CarriedOut] = []
        self.undone: set[UUID] = set()
        self._asked_us = max((call.ended_at_us for call in calls), default=0)
        self._told: dict[UUID, Told] = {call.call_id: told_by(call) for call in calls}
        self._count = 0

    def split(self, run_id: str, at: Call | UUID, *, single: bool = False) -> CarriedOut:
        call_id = at if isinstance(at, UUID) else at.call_id
        return self._do(CorrectionKind.SPLIT, run_id, call_id=call_id, is_single=single)

    def merge(self, run_id: str, into: str) -> CarriedOut:
        return self._do(CorrectionKind.MERGE, run_id, into_run_id=into)

    def undo(self, done: CarriedOut) -> CarriedOut:
        undoing = self._do(CorrectionKind.UNDO, done.to_run_id, undoes=done.correction.correction_id)
        self.undone.add(done.correction.correction_id)
        return undoing

    @property
    def said(self) -> SaidByPeople:
        return SaidByPeople(self.in_force)

    @property
    def in_force(self) -> list[CarriedOut]:
        return [
            each
            for each in self.done
            if each.correction.kind is not CorrectionKind.UNDO and each.correction.correction_id not in self.undone
        ]

    def restarted(self) -> Sessionizer:
        """A sessionizer that takes up the rows as they are now."""
        sessionizer = self.rows.restarted()
        sessionizer.obey(self.said)
        return sessionizer

    def run(self, run_id: str) -> Run:
        return self.rows.runs[self.project_id, run_id]

    def calls_of(self, run_id: str) -> list[UUID]:
        steps = self.rows.steps_of(self.run(run_id))
        return list(dict.fromkeys(step.call_id for step in steps if step.call_id is not None))

    def _do(self, kind: CorrectionKind, run_id: str, **about: object) -> CarriedOut:
        self._count += 1
        self._asked_us += SECOND_US
        correction = Correction(
            uuid5(NAMESPACE, str(self._count)), self.project_id, kind, run_id, self._asked_us, **about
        )  # type: ignore[arg-type]  # fields of Correction
        of_sessions = self._of_sessions(correction)
        planned = plan(correction, of_sessions)
        corrected = carry_out(planned, of_sessions, self._told, now_us=LONG_AFTER_US, silence_us=SILENCE_US)
        self._store(corrected)
        self.done.append(corrected.carried_out)
        return corrected.carried_out

    def _of_sessions(self, correction: Correction) -> RowsOfSessions:
        ours = {correction.run_id, correction.into_run_id or correction.run_id}
        ours |= {d.correction.run_id for d in self.done if d.correction.correction_id == correction.undoes}
        of_project = {
            run_id: run for (project_id, run_id), run in self.rows.runs.items() if project_id == self.project_id
        }
        theirs = {call_id for run_id in ours if run_id in of_project for call_id in self.calls_of(run_id)}
        about = [
            e
            for e in self.in_force
            if {e.correction.run_id, e.to_run_id} & ours or theirs.intersection(e.call_ids)
        ]
        sessions = {run.session_id for run_id, run in of_project.items() if run_id in ours}
        sessions |= {session for each in about for session in (each.left_session_id, each.to_session_id)}
        runs = {run_id: run for run_id, run in of_project.items() if run.session_id in sessions}
        return RowsOfSessions(
            runs=runs,
            steps={run_id: self.rows.steps_of(run) for run_id, run in runs.items() if run_id in ours},
            calls={
                call_id: PlacedCall(placement.run_id, placement.links)
                for call_id, placement in self.rows.placements.items()
                if placement.project_id == self.project_id and placement.run_id in runs
            },
            anchors=tuple(a for a in self._anchors() if a.run_id in ours or a.value in ours),
            in_force=tuple(about),
        )

    def _anchors(self) -> list[Anchor]:
        anchors = [anchor for anchor in self.rows.anchors.values() if isinstance(anchor, Anchor)]
        return [anchor for anchor in anchors if anchor.project_id == self.project_id]

    def _store(self, corrected: Corrected) -> None:
        rows, project_id = self.rows, self.project_id
        for run_id in (*corrected.gone, *(run.run_id for run in corrected.changes.runs)):
            rows.runs.pop((project_id, run_id), None)
            rows.steps.pop((project_id, run_id), None)
        for kind, value in corrected.dropped_anchors:
            rows.anchors.pop((project_id, kind, value))
        for hung in corrected.hung:
            run = rows.runs[project_id, hung.run_id]
            rows.runs[project_id, hung.run_id] = replace(
                run, session_id=hung.session_id, parent_run_id=hung.parent_run_id
            )
        rows.store(corrected.changes)
