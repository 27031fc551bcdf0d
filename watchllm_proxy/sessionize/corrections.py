"""What a person said, as a plan: which calls go where. Pure; `regrouping` turns it into rows.

plan(correction, rows) -> Plan      raises `Refused` where it cannot be carried out
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from uuid import UUID, uuid5

from watchllm_proxy.records import (
    Anchor,
    Call,
    CarriedOut,
    Correction,
    CorrectionKind,
    Link,
    LinkKind,
    Run,
    Step,
)
from watchllm_proxy.sessionize import names, turns
from watchllm_proxy.sessionize.families import MAX_DEPTH
from watchllm_proxy.sessionize.person import SaidByPeople
from watchllm_proxy.sessionize.placing import RUN_NAMESPACE


class Refused(Exception):
    """It cannot be carried out. `code` is for programs, `str()` for the person who asked."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class PlacedCall:
    """A call's run and why it is there, as stored."""

    run_id: str
    links: tuple[Link, ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """What is stored of the sessions that a correction is about, and of those that `in_force` took calls from or
    brought calls to; all of one project."""

    runs: Mapping[str, Run]
    steps: Mapping[str, tuple[Step, ...]]  # of the one or two runs whose calls change
    calls: Mapping[UUID, PlacedCall]  # of all `runs`
    anchors: tuple[Anchor, ...]  # that lead to the runs of `steps`, or are about them
    in_force: tuple[
        CarriedOut, ...
    ]  # earlier corrections of these runs, or of calls that are in them now; in order


@dataclass(frozen=True, slots=True)
class Told:
    """What a call tells about the run that it is part of. `title` only of a run's first call."""

    title: str | None = None
    agent_name: str | None = None
    agent_version: str | None = None
    user_id: str | None = None
    tags: tuple[tuple[str, str], ...] = ()
    offers_tools: bool = False


def told_by(call: Call) -> Told:
    return Told(
        title=names.title(call, turns.user_inputs(call)),
        agent_name=names.agent_name(call),
        agent_version=names.agent_version(call),
        user_id=call.user_id,
        tags=call.tags,
        offers_tools=bool(call.tool_names),
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """Which calls go where. `calls`: of each run that has some afterwards, in order."""

    correction: Correction
    source: str
    target: str
    session_id: str  # of the target
    parent_run_id: str | None
    moved: tuple[UUID, ...]
    calls: Mapping[str, tuple[UUID, ...]]
    renamed: frozenset[str]  # runs with another first call than before: it tells their title and agent
    stay: tuple[
        UUID, ...
    ] = ()  # calls after one that is taken out alone: else they would follow it when read again


# --- which calls go where ---------------------------------------------------------------------------


def plan(correction: Correction, rows: Rows) -> Plan:
    """Raises `Refused`."""
    if correction.kind is CorrectionKind.SPLIT:
        return _planned_split(correction, rows)
    if correction.kind is CorrectionKind.MERGE:
        return _planned_merge(correction, rows)
    return _planned_undo(correction, rows)


def _planned_split(correction: Correction, rows: Rows) -> Plan:
    calls = _calls_of(correction.run_id, rows)
    if correction.call_id is None or correction.call_id not in calls:
        raise Refused("call_not_found", "This run has no such call.")
    at = calls.index(correction.call_id)
    moved = calls[at : at + 1] if correction.is_single else calls[at:]
    if len(moved) == len(calls):
        raise Refused(
            "first_call", "The run begins with this call: nothing would be left of it. Name a later one."
        )
    run_id = split_run_id(correction)
    session_id = rows.runs[correction.run_id].session_id if _names_session(moved, rows) else run_id
    planned = _planned(
        correction, rows, moved, correction.run_id, run_id, session_id=session_id, parent_run_id=None
    )
    return replace(planned, stay=calls[at + 1 :]) if correction.is_single else planned


def _names_session(call_ids: Iterable[UUID], rows: Rows) -> bool:
    """The client's word for the session holds: the person spoke of the run. Later calls will name it, too."""
    links = (link for call_id in call_ids if call_id in rows.calls for link in rows.calls[call_id].links)
    return any(link.kind is LinkKind.EXPLICIT_SESSION for link in links)


def split_run_id(correction: Correction) -> str:
    return str(uuid5(RUN_NAMESPACE, str(correction.correction_id)))


def _planned_merge(correction: Correction, rows: Rows) -> Plan:
    source, into = correction.run_id, correction.into_run_id or ""
    if source == into:
        raise Refused("same_run", "A run cannot be merged into itself. Name another run.")
    moved = _calls_of(source, rows)
    _calls_of(into, rows)
    if source in _above(into, rows) or into in _above(source, rows):
        raise Refused("own_family", "One of the two is a sub-agent of the other: they are linked as they are.")
    run = rows.runs[into]
    return _planned(
        correction, rows, moved, source, into, session_id=run.session_id, parent_run_id=run.parent_run_id
    )


def _planned_undo(correction: Correction, rows: Rows) -> Plan:
    undone = next((c for c in rows.in_force if c.correction.correction_id == correction.undoes), None)
    if undone is None:
        raise Refused("not_in_force", "This correction is not in force: it has been taken back.")
    source, target = undone.to_run_id, undone.correction.run_id
    here = set(_calls_of(source, rows))
    if not here.issuperset(undone.call_ids):
        raise Refused("corrected_since", "Calls of it have been put elsewhere since. Take that back first.")
    run = rows.runs.get(target)
    others = (c for c in rows.in_force if c is not undone)
    if run is None and any(_is_merge_of(target, each) for each in others):
        raise Refused("corrected_since", "The run they came from has been merged since. Take that back first.")
    return _planned(
        correction,
        rows,
        _with_followers(undone, rows),
        source,
        target,
        session_id=run.session_id if run else undone.left_session_id,
        parent_run_id=run.parent_run_id if run else undone.left_parent_run_id,
    )


def _with_followers(undone: CarriedOut, rows: Rows) -> tuple[UUID, ...]:
    """The calls of a correction, and those that have come since and are here for its sake: they name the run that
    those left, or go on from one of them."""
    source, target = undone.to_run_id, undone.correction.run_id
    others = [each for each in rows.in_force if each is not undone]
    said, project_id = SaidByPeople(others), undone.correction.project_id
    put_there = {call_id for each in others if each.to_run_id == source for call_id in each.call_ids}
    began_us = {s.call_id: s.started_at_us for s in rows.steps[source] if s.is_priced}
    found = list(undone.call_ids)
    for call_id in _calls_of(source, rows):
        if call_id in {*found, *put_there} or began_us.get(call_id, 0) <= undone.correction.at_us:
            continue
        links = rows.calls[call_id].links if call_id in rows.calls else ()
        named = {said.run_now(project_id, link.value) for link in links if link.kind is LinkKind.EXPLICIT_RUN}
        pointed = next((link.to_call_id for link in links if link.to_call_id is not None), None)
        if target in named or (not named and pointed in found):
            found.append(call_id)
    return tuple(found)


def _is_merge_of(run_id: str, each: CarriedOut) -> bool:
    return each.correction.kind is CorrectionKind.MERGE and each.correction.run_id == run_id


def _planned(
    correction: Correction,
    rows: Rows,
    moved: tuple[UUID, ...],
    source: str,
    target: str,
    *,
    session_id: str,
    parent_run_id: str | None,
) -> Plan:
    left = tuple(call_id for call_id in _calls_of(source, rows) if call_id not in moved)
    joined = moved if target not in rows.runs else _in_time((*_calls_of(target, rows), *moved), rows)
    calls = {run_id: of_it for run_id, of_it in ((source, left), (target, joined)) if of_it}
    renamed = {run_id for run_id, of_it in calls.items() if _first_call(run_id, rows) != of_it[0]}
    return Plan(correction, source, target, session_id, parent_run_id, moved, calls, frozenset(renamed))


def _calls_of(run_id: str, rows: Rows) -> tuple[UUID, ...]:
    """In the order of the run. Raises `Refused` for a run that is not there, or is not made of captured calls."""
    if run_id not in rows.runs:
        raise Refused("run_not_found", "There is no such run any more: it has been merged into another.")
    call_ids = [step.call_id for step in rows.steps.get(run_id, ())]
    found = tuple(dict.fromkeys(call_id for call_id in call_ids if call_id is not None))
    if None in call_ids or not found:
        raise Refused(
            "not_captured", "This run was reported step by step, not captured: it is as it was reported."
        )
    return found


def _first_call(run_id: str, rows: Rows) -> UUID | None:
    return _calls_of(run_id, rows)[0] if run_id in rows.runs else None


def _in_time(call_ids: tuple[UUID, ...], rows: Rows) -> tuple[UUID, ...]:
    """As the log told of them: by the time at which they ended."""
    ends: dict[UUID, int] = {}
    for step in chain.from_iterable(rows.steps.values()):
        if step.call_id is not None and (step.is_priced or step.call_id not in ends):
            ends[step.call_id] = step.started_at_us + (step.duration_us or 0 if step.is_priced else 0)
    return tuple(sorted(call_ids, key=lambda call_id: (ends[call_id], str(call_id))))


def _above(run_id: str, rows: Rows) -> set[str]:
    """The runs that this one is a sub-agent of, at any depth."""
    found: set[str] = set()
    run = rows.runs.get(run_id)
    while run is not None and run.parent_run_id is not None and len(found) < MAX_DEPTH:
        found.add(run.parent_run_id)
        run = rows.runs.get(run.parent_run_id)
    return found
