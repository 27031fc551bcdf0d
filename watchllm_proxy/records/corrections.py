"""Correction: what a person says of which calls belong together, and what came of it."""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

from watchllm_proxy.records.frozen import record


class CorrectionKind(StrEnum):
    SPLIT = "split"  # calls leave their run for one of their own, in a session of its own
    MERGE = "merge"  # all calls of a run join another run
    UNDO = "undo"  # the calls of an earlier correction go back to where it took them from


@record
class Correction:
    """What a person asks for. The console keeps it; the recorder, which alone writes runs, carries it out."""

    correction_id: UUID
    project_id: str
    kind: CorrectionKind
    run_id: str  # whose calls are to go elsewhere
    at_us: int
    call_id: UUID | None = None  # SPLIT: this call and those after it in its run
    is_single: bool = False  # SPLIT: this call and no other
    into_run_id: str | None = None  # MERGE: the run that they join
    undoes: UUID | None = None  # UNDO: the correction that is taken back


@record
class CarriedOut:
    """What a correction came to: its calls belong to `to_run_id` whatever other evidence says, until it is undone
    or a later correction says otherwise."""

    correction: Correction
    call_ids: tuple[UUID, ...]
    to_run_id: str
    to_session_id: str
    to_parent_run_id: str | None
    left_session_id: str  # of the run that they were taken from, as it was then
    left_parent_run_id: str | None
    stay_call_ids: tuple[UUID, ...] = ()  # calls after them that stay in that run, though they may lean on them
