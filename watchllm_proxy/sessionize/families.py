"""Whose answer a tool's result is: binding runs to the tool calls that started them, and correcting it.

A sub-agent's first request tells only its task. Where equal tasks are open at once, which of them it serves is
a guess (`recognition.given_task`); the result settles it, for it equals or holds the sub-agent's answer:

    the result holds the answer of the run bound to it       verified
    ... of a run bound to an equal task of another parent    the two change places
    ... of a run that nobody started                         bound now: its task was worded otherwise
    the run bound to it is still at work                     changes places with one that is done
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from watchllm_proxy.records import Call, Confidence, Link, LinkKind, record
from watchllm_proxy.sessionize import recognition
from watchllm_proxy.sessionize.clients import Client
from watchllm_proxy.sessionize.marks import Mark
from watchllm_proxy.sessionize.recognition import Evidence
from watchllm_proxy.sessionize.run_state import RunState

MAX_DEPTH = 64

MAX_RIVALS = 256
"""Unverified sub-agents that are compared with a new one; the newest, and few wait at once."""

MAX_UNBOUND_CHARACTERS = 4 * 1024
"""Of a result whose tool call started no run that we know of: most of these are no agent's answer."""


@record
class Binding:
    """`child` was started by the tool call at `step_index` of `parent`."""

    child: RunState
    parent: RunState
    step_index: int
    is_verified: bool
    confidence: Confidence

    @property
    def links(self) -> tuple[Link, ...]:
        step = self.parent.steps[self.step_index]
        kind = LinkKind.TOOL_RESULT if self.is_verified else LinkKind.TOOL_ARGUMENT
        return (Link(kind, step.tool_call_id or "", self.confidence, step.call_id, self.step_index),)


@record
class Result:
    """A result of `parent`'s tool call at `step_index`, brought by `call`."""

    call: Call
    parent: RunState
    step_index: int
    text: str


def corrections(result: Result, evidence: Evidence) -> Iterator[Binding]:
    """Where the run bound here cannot have given this result, it changes places with one that can."""
    bound = _bound(result, evidence)
    displaced = next((run for run in bound if not evidence.children.is_verified(run.key)), None)
    if displaced is None:
        return
    answered = _answered_by(result, evidence)
    giver = _giver(answered, bound, evidence) or _done_elsewhere(result, bound, evidence)
    if giver is not None and giver not in bound:
        yield from exchanged(giver, displaced, evidence)


def confirmations(result: Result, evidence: Evidence) -> Iterator[Binding]:
    """The run bound here, whose answer this result holds; or one that came without a link and gave this answer."""
    bound = _bound(result, evidence)
    if not bound and len(result.text) > MAX_UNBOUND_CHARACTERS:
        result = replace(result, text=result.text[:MAX_UNBOUND_CHARACTERS])
    answered = _answered_by(result, evidence)
    giver = _giver(answered, bound, evidence) if answered.nested else None
    if giver is not None:
        yield Binding(giver, result.parent, result.step_index, True, answered.confidence)


def _bound(result: Result, evidence: Evidence) -> list[RunState]:
    keys = evidence.children.of_step(result.parent.key, result.step_index)
    return [run for key in keys if (run := evidence.find_run(key)) is not None]


def exchanged(one: RunState, other: RunState, evidence: Evidence) -> Iterator[Binding]:
    """Two runs with equal tasks change places, and with them what their parents asked for in the same breath."""
    for child, place in _pairs(one, other, evidence):
        if (task := evidence.children.task_of(place.key)) is None or task.step_index is None:
            continue
        parent = evidence.find_run((task.project_id, task.run_id))
        if parent is not None:
            yield Binding(child, parent, task.step_index, False, Confidence.PROBABLE)


def _pairs(one: RunState, other: RunState, evidence: Evidence) -> list[tuple[RunState, RunState]]:
    """Who takes whose place."""
    pairs = [(one, other), (other, one)]
    for sibling in _siblings(one, evidence):
        twin = next((r for r in _siblings(other, evidence) if r.inputs == sibling.inputs), None)
        if twin is not None:
            pairs += [(sibling, twin), (twin, sibling)]
    return pairs


def _siblings(run: RunState, evidence: Evidence) -> list[RunState]:
    """Runs that other tool calls of the same answer started, as far as is known now."""
    task = evidence.children.task_of(run.key)
    parent = evidence.find_run((task.project_id, task.run_id)) if task is not None else None
    if task is None or task.step_index is None or parent is None:
        return []
    keys = (
        key
        for step in parent.asked_with(task.step_index)
        for key in evidence.children.of_task(replace(task, step_index=step.step_index))
        if key != run.key and not evidence.children.is_verified(key)
    )
    return [found for key in keys if (found := evidence.find_run(key)) is not None]


def in_order(child: RunState, evidence: Evidence) -> Iterator[Binding]:
    """Equal open tasks: each to the run that shares a connection with its session alone, and the others in the
    order in which their runs began. A run is seen when its first call has ended, so runs that began later may
    have been bound before it."""
    places = sorted(_rival_places(child, evidence), key=_Place.order)
    waiting = sorted((place.run for place in places), key=lambda run: (run.started_at_us, run.run_id))
    sessions = {place.parent.session_id for place in places}
    taken: dict[str, _Place] = {}  # by the run
    for run in waiting if len(sessions) > 1 else ():
        connected = recognition.only_session(evidence.connections.sharing(run.key), sessions, evidence)
        free = (p for p in places if p.parent.session_id == connected and p not in taken.values())
        if (place := next(free, None)) is not None and place.opened_at_us <= run.started_at_us:
            taken[run.run_id] = place
    rest = iter([place for place in places if place not in taken.values()])
    for run in waiting:
        place = taken.get(run.run_id) or next(rest)
        if place.run is not run:
            yield Binding(run, place.parent, place.step_index, False, Confidence.PROBABLE)


@record
class _Place:
    """An open tool call and the run that is bound to it, the `turn`th of those that are."""

    run: RunState
    parent: RunState
    step_index: int
    opened_at_us: int
    turn: int

    def order(self) -> tuple[int, int, str, int]:
        return self.turn, self.opened_at_us, self.parent.run_id, self.step_index


def _rival_places(child: RunState, evidence: Evidence) -> Iterator[_Place]:
    """Of the runs of the same agent with the same task, this one among them, whose tool calls are still open."""
    rivals = evidence.children.unverified(child.project_id)[-MAX_RIVALS:]
    evidence.expect(rivals)
    for key in rivals:
        run = evidence.find_run(key)
        if run is None or (run.inputs, run.agent_version) != (child.inputs, child.agent_version):
            continue
        if (place := _place(run, evidence)) is not None:
            yield place


def _place(run: RunState, evidence: Evidence) -> _Place | None:
    task = evidence.children.task_of(run.key)
    parent = evidence.find_run((task.project_id, task.run_id)) if task is not None else None
    if task is None or parent is None or task.step_index is None or not parent.is_open(task.step_index):
        return None
    turn = evidence.children.of_task(task).index(run.key)
    return _Place(run, parent, task.step_index, parent.steps[task.step_index].started_at_us, turn)


@record
class Answered:
    """Runs whose last answer a result holds. `nested`: those that began and ended while the tool call was open."""

    nested: tuple[RunState, ...]
    strangers: frozenset[str]  # those of them that another kind of client called for
    is_only_one: bool  # nobody else has said this at all

    @property
    def confidence(self) -> Confidence:
        return Confidence.CERTAIN if len(self.nested) == 1 else Confidence.PROBABLE


NOBODY = Answered((), frozenset(), is_only_one=False)


def _answered_by(result: Result, evidence: Evidence) -> Answered:
    holders = recognition.holders_of(result.text, result.call, evidence)
    if not holders:
        return NOBODY
    client = Client.of(result.call)
    nested: dict[str, RunState] = {}
    strangers: set[str] = set()
    for anchor in holders:
        run = evidence.find_run((anchor.project_id, anchor.run_id))
        if run is None or run is result.parent or run.last_call_id != anchor.call_id:
            continue
        if _is_nested(run, result) and not _is_above(run, result.parent, evidence):
            nested[run.run_id] = run
            if not Mark.read(anchor).client.is_like(client):
                strangers.add(run.run_id)
    in_order = sorted(nested.values(), key=lambda run: (run.started_at_us, run.run_id))
    return Answered(tuple(in_order), frozenset(strangers), len({anchor.run_id for anchor in holders}) == 1)


def _is_nested(run: RunState, result: Result) -> bool:
    opened_at_us = result.parent.steps[result.step_index].started_at_us
    return opened_at_us <= run.started_at_us and run.last_activity_at_us <= result.call.started_at_us


def _is_above(run: RunState, parent: RunState, evidence: Evidence) -> bool:
    """The parent is a sub-agent of this run, at any depth: then this run cannot be the parent's."""
    above: RunState | None = parent
    for _ in range(MAX_DEPTH):
        if above is None or above.parent_run_id is None:
            return False
        if above.parent_run_id == run.run_id:
            return True
        above = evidence.find_run((above.project_id, above.parent_run_id))
    return True


def _giver(answered: Answered, bound: Sequence[RunState], evidence: Evidence) -> RunState | None:
    """The run whose answer this is. Of several with an equal task, the one that is bound here, if it can be it."""
    fitting = [
        run
        for run in answered.nested
        if not evidence.children.is_verified(run.key)
        and (any(run.inputs == other.inputs for other in bound) or _is_nobodys(run, answered, bound, evidence))
    ]

    def rank(run: RunState) -> tuple[bool, bool, int, str]:
        return run not in bound, run.run_id in answered.strangers, run.started_at_us, run.run_id

    return min(fitting, key=rank, default=None)


def _is_nobodys(run: RunState, answered: Answered, bound: Sequence[RunState], evidence: Evidence) -> bool:
    """It came without a link, and nobody else has said the like: its task was worded otherwise."""
    is_alone = run.parent_run_id is None and not run.is_explicit and run.session_id == run.run_id
    return not bound and is_alone and answered.is_only_one and evidence.children.task_of(run.key) is None


def _done_elsewhere(result: Result, bound: Sequence[RunState], evidence: Evidence) -> RunState | None:
    """One with an equal task that is done, where the run bound here is still at work though its result came."""
    if all(_is_nested(run, result) and run.is_finished for run in bound):
        return None
    rivals = [
        run
        for key in evidence.children.unverified(result.parent.project_id)
        if (run := evidence.find_run(key)) is not None
        and run not in bound
        and run.is_finished
        and run.inputs == bound[0].inputs
        and _is_nested(run, result)
    ]
    return min(rivals, key=lambda run: (run.last_activity_at_us, run.run_id), default=None)
