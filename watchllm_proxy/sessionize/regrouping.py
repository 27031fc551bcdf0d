"""A plan of which calls go where, carried out: stored rows of runs in, changed rows out. Pure.

Calls move as they are stored, each with its steps, its traces for later calls (anchors) and its links, in front
of which stands that a person placed it. Nothing is thought again, so what a person did not touch stays as it was,
and taking a correction back gives the rows there were. With a call go the sub-agents that it started; with the
session of a call go the later turns that hang on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from uuid import UUID

from watchllm_proxy.records import (
    Anchor,
    CarriedOut,
    CorrectionKind,
    Link,
    LinkKind,
    Moved,
    Placement,
    Run,
    RunChanges,
    RunStatus,
    Step,
    StepType,
)
from watchllm_proxy.sessionize.anchors import AnchorKind
from watchllm_proxy.sessionize.corrections import Plan, Rows, Told
from watchllm_proxy.sessionize.families import MAX_DEPTH
from watchllm_proxy.sessionize.person import SaidByPeople
from watchllm_proxy.sessionize.run_state import MAX_TAGS, RunState

_STARTED_BY = frozenset({LinkKind.TOOL_ARGUMENT, LinkKind.TOOL_RESULT, LinkKind.EXPLICIT_PARENT})
"""Links of a sub-agent's call that may point at the call which asked for it."""

_OF_A_CHILD = frozenset({AnchorKind.CHILD, AnchorKind.VERIFIED})


@dataclass(frozen=True, slots=True)
class Hung:
    """A run whose calls stay, and which belongs to another session or parent now."""

    run_id: str
    session_id: str
    parent_run_id: str | None


@dataclass(frozen=True, slots=True)
class Corrected:
    """The rows that change. Of the runs in `changes` and `gone` all stored steps are to be replaced."""

    changes: RunChanges
    gone: tuple[str, ...]
    hung: tuple[Hung, ...]
    dropped_anchors: tuple[tuple[str, str], ...]  # kind, value
    carried_out: CarriedOut


def carry_out(plan: Plan, rows: Rows, told: Mapping[UUID, Told], *, now_us: int, silence_us: int) -> Corrected:
    """`told`: of the planned runs' calls, as far as it is known still. `now_us` and `silence_us` decide how a run
    that waits for something is shown, as ever."""
    regrouping = _Regrouping(plan, rows)
    runs = [_described(run, told, plan, regrouping) for run in regrouping.runs()]
    states = [_judged(RunState.restored(run, regrouping.steps[run.run_id]), now_us, silence_us) for run in runs]
    hung = tuple(regrouping.hung())
    dropped, anchors = regrouping.anchors()
    changes = RunChanges(
        runs=tuple(state.row() for state in states),
        steps=tuple((*state.key, step) for state in states for step in state.steps),
        all_steps={state.key: tuple(state.steps) for state in states},
        placements=tuple(regrouping.placements()),
        moved=tuple(regrouping.moved(hung)),
        anchors=(*anchors, *regrouping.moved_anchors(hung)),
    )
    gone = () if plan.source in plan.calls else (plan.source,)
    return Corrected(changes, gone, hung, tuple(dropped), regrouping.carried_out)


class _Regrouping:
    """Where each call and each step of before is now, and what follows from it."""

    def __init__(self, plan: Plan, rows: Rows) -> None:
        self._plan = plan
        self._rows = rows
        self.steps: dict[str, list[Step]] = {run_id: [] for run_id in plan.calls}
        self._run_of = {call_id: run_id for run_id, calls in plan.calls.items() for call_id in calls}
        self._step_now: dict[tuple[str, int], tuple[str, int]] = {}
        self._calls_of: dict[str, list[UUID]] = {}
        for call_id, placed in rows.calls.items():
            self._calls_of.setdefault(placed.run_id, []).append(call_id)
        self._renumber()

    def _renumber(self) -> None:
        of_call: dict[UUID, list[tuple[str, Step]]] = {}
        for run_id, steps in self._rows.steps.items():
            for step in steps:
                if step.call_id is not None:
                    of_call.setdefault(step.call_id, []).append((run_id, step))
        for call_id, run_id in self._run_of.items():
            made = self.steps[run_id]
            for former, step in of_call[call_id]:
                self._step_now[former, step.step_index] = run_id, len(made)
                made.append(replace(step, step_index=len(made)))

    @property
    def carried_out(self) -> CarriedOut:
        plan, left = self._plan, self._rows.runs[self._plan.source]
        return CarriedOut(
            correction=plan.correction,
            call_ids=plan.moved,
            to_run_id=plan.target,
            to_session_id=plan.session_id,
            to_parent_run_id=plan.parent_run_id,
            left_session_id=left.session_id,
            left_parent_run_id=left.parent_run_id,
            stay_call_ids=plan.stay,
        )

    # --- runs

    def runs(self) -> Iterator[Run]:
        """Those between which calls moved, as their rows were, with the new number of steps."""
        source = self._rows.runs[self._plan.source]
        for run_id, steps in self.steps.items():
            run = self._rows.runs.get(run_id) or replace(
                source,
                run_id=run_id,
                session_id=self._plan.session_id,
                parent_run_id=self._plan.parent_run_id,
            )
            models = [step for step in steps if step.is_priced] or steps
            yield replace(
                run,
                total_steps=len(steps),
                started_at_us=min(step.started_at_us for step in models),
                last_activity_at_us=max(step.started_at_us + (step.duration_us or 0) for step in models),
                is_explicit=self._is_named(run_id),
            )

    def _is_named(self, run_id: str) -> bool:
        """A client named it, by its own id or by that of a run that is part of it now."""
        said, project_id = SaidByPeople(self._in_force()), self._plan.correction.project_id
        links = (link for call_id in self._plan.calls[run_id] for link in self._links_of(call_id))
        named = {link.value for link in links if link.kind is LinkKind.EXPLICIT_RUN}
        return any(said.run_now(project_id, value) == run_id for value in named)

    def _in_force(self) -> tuple[CarriedOut, ...]:
        """Of the corrections about these runs, once this one is carried out."""
        if self._plan.correction.kind is not CorrectionKind.UNDO:
            return (*self._rows.in_force, self.carried_out)
        undone = self._plan.correction.undoes
        return tuple(each for each in self._rows.in_force if each.correction.correction_id != undone)

    def hung(self) -> Iterator[Hung]:
        """Runs that go along: sub-agents with what asked for them, later turns with the call they hang on."""
        ours = (self._plan.source, self._plan.target)
        others = [run for run in self._rows.runs.values() if run.run_id not in ours]
        others.sort(key=lambda run: (run.started_at_us, run.run_id))
        now = {run.run_id: Hung(run.run_id, run.session_id, run.parent_run_id) for run in self._rows.runs.values()}
        now[self._plan.target] = Hung(self._plan.target, self._plan.session_id, self._plan.parent_run_id)
        for _ in range(MAX_DEPTH):
            before = dict(now)
            for run in others:
                now[run.run_id] = self._hangs(run, now)
            if now == before:
                break
        for run in others:
            if now[run.run_id] != Hung(run.run_id, run.session_id, run.parent_run_id):
                yield now[run.run_id]

    def _hangs(self, run: Run, now: Mapping[str, Hung]) -> Hung:
        decisive = [links[0] for links in map(self._links_of, self._calls_of.get(run.run_id, ())) if links]
        as_it_is = now[run.run_id]
        if any(link.kind is LinkKind.PERSON for link in decisive):
            return as_it_is
        if (parent_run_id := self._parent_of(run)) is not None:
            session_id = now[parent_run_id].session_id if parent_run_id in now else as_it_is.session_id
            return Hung(run.run_id, session_id, parent_run_id)
        if self._names_session(run):
            return as_it_is
        for link in decisive:
            former = self._rows.calls.get(link.to_call_id) if link.to_call_id is not None else None
            if link.to_call_id is None or former is None or former.run_id == run.run_id:
                continue
            if self._rows.runs[former.run_id].session_id == run.session_id:
                followed = self._run_of.get(link.to_call_id, former.run_id)
                return Hung(run.run_id, now[followed].session_id, None)
        return as_it_is

    def _names_session(self, run: Run) -> bool:
        links = (link for call_id in self._calls_of.get(run.run_id, ()) for link in self._links_of(call_id))
        return any(link.kind is LinkKind.EXPLICIT_SESSION for link in links)

    def _parent_of(self, run: Run) -> str | None:
        if run.parent_run_id not in {self._plan.source, self._plan.target}:
            return run.parent_run_id
        asked_in = self._asked_in(run.run_id)
        if asked_in is not None:
            return asked_in
        return run.parent_run_id if run.parent_run_id in self.steps else self._plan.target

    def _asked_in(self, child: str) -> str | None:
        """The run that holds now what asked for this sub-agent; None: that is not known."""
        for anchor in self._rows.anchors:
            if anchor.kind in _OF_A_CHILD and anchor.value == child and anchor.step_index is not None:
                place = self._step_now.get((anchor.run_id, anchor.step_index))
                if place is not None:
                    return place[0]
        links = [link for call_id in self._calls_of.get(child, ()) for link in self._links_of(call_id)]
        for link in links:
            if link.kind in _STARTED_BY and link.to_call_id in self._run_of:
                return self._run_of[link.to_call_id]
        said, project_id = SaidByPeople(self._in_force()), self._plan.correction.project_id
        named = [said.run_now(project_id, link.value) for link in links if link.kind is LinkKind.EXPLICIT_PARENT]
        return next((run_id for run_id in named if run_id in self.steps), None)

    # --- calls

    def _links_of(self, call_id: UUID) -> tuple[Link, ...]:
        placed = self._rows.calls.get(call_id)
        return () if placed is None else placed.links

    def placements(self) -> Iterator[Placement]:
        """Of the calls that moved, and of those that point at steps with another number now."""
        moved = frozenset(self._plan.moved)
        for call_id, placed in self._rows.calls.items():
            links = tuple(map(self._renumbered, placed.links))
            run_id = placed.run_id
            if call_id in moved:
                run_id = self._plan.target
                found = (link for link in links if link.kind is not LinkKind.PERSON)
                links = (*self._said_of(call_id), *found)
            if call_id in moved or links != placed.links:
                yield self._placement(call_id, run_id, links)

    def _placement(self, call_id: UUID, run_id: str, links: tuple[Link, ...]) -> Placement:
        plan, run = self._plan, self._rows.runs.get(run_id)
        session_id = plan.session_id if run is None else run.session_id
        parent_run_id = plan.parent_run_id if run is None else run.parent_run_id
        return Placement(call_id, plan.correction.project_id, run_id, session_id, parent_run_id, links)

    def _said_of(self, call_id: UUID) -> tuple[Link, ...]:
        """What people say of a call that moved: this, or what had been said before the undone."""
        said = SaidByPeople(self._in_force()).of_call(self._plan.correction.project_id, call_id)
        return () if said is None or said.is_left else (said.link,)

    def _renumbered(self, link: Link) -> Link:
        former = self._rows.calls.get(link.to_call_id) if link.to_call_id is not None else None
        if former is None or link.to_step_index is None:
            return link
        place = self._step_now.get((former.run_id, link.to_step_index))
        return link if place is None else replace(link, to_step_index=place[1])

    def moved(self, hung: Iterable[Hung]) -> Iterator[Moved]:
        """Every call whose run, session or parent is another now."""
        plan, project_id = self._plan, self._plan.correction.project_id
        for call_id in plan.moved:
            yield Moved(call_id, project_id, plan.target, plan.session_id, plan.parent_run_id)
        for run in hung:
            for call_id in self._calls_of.get(run.run_id, ()):
                yield Moved(call_id, project_id, run.run_id, run.session_id, run.parent_run_id)

    # --- what later calls hang on

    def anchors(self) -> tuple[list[tuple[str, str]], list[Anchor]]:
        """Those that are there no more, by kind and value; and those that lead elsewhere now."""
        dropped: list[tuple[str, str]] = []
        changed: list[Anchor] = []
        for anchor in self._rows.anchors:
            now = self._anchor_now(anchor)
            if now is None or now.value != anchor.value:
                dropped.append((anchor.kind, anchor.value))
            if now is not None and now != anchor:
                changed.append(now)
        return dropped, changed

    def _anchor_now(self, anchor: Anchor) -> Anchor | None:
        """None: what it is about is there no more."""
        plan = self._plan
        is_about_run = anchor.kind in {AnchorKind.RUN, AnchorKind.MOVED} or anchor.kind in _OF_A_CHILD
        if is_about_run and anchor.value == plan.source and plan.source not in self.steps:
            if anchor.kind != AnchorKind.RUN:
                return None
            return replace(anchor, value=plan.target, run_id=plan.target, session_id=plan.session_id)
        if anchor.kind in {AnchorKind.RUN, AnchorKind.MOVED}:
            return anchor
        if anchor.step_index is None:
            run_id, step_index = self._run_of.get(anchor.call_id, anchor.run_id), None
        else:
            here = (anchor.run_id, anchor.step_index)
            run_id, step_index = self._step_now.get(here, here)
        session_id = plan.session_id if run_id == plan.target else anchor.session_id
        return replace(anchor, run_id=run_id, step_index=step_index, session_id=session_id)

    def moved_anchors(self, hung: Iterable[Hung]) -> Iterator[Anchor]:
        """So that all that leads to a run which went along leads to its session now."""
        last = max((anchor.seq for anchor in self._rows.anchors), default=0)
        for each in hung:
            run, calls = self._rows.runs[each.run_id], self._calls_of.get(each.run_id, ())
            if each.session_id != run.session_id and calls:
                yield Anchor(
                    run.project_id,
                    AnchorKind.MOVED,
                    each.run_id,
                    each.run_id,
                    calls[0],
                    None,
                    run.last_activity_at_us,
                    each.session_id,
                    last,
                )


# --- how a run is shown -----------------------------------------------------------------------------


def _described(run: Run, told: Mapping[UUID, Told], plan: Plan, regrouping: _Regrouping) -> Run:
    """As all of its calls tell of it, and one with another first call than before is called as that says. Where
    nothing of them is kept any more, as the run was described that they were in."""
    calls = plan.calls[run.run_id]
    of_it = [told[call_id] for call_id in calls if call_id in told]
    is_agent = run.is_explicit or _looks_like_agent(regrouping.steps[run.run_id], of_it)
    if len(of_it) < len(calls):
        return replace(run, is_agent=is_agent or run.is_agent)
    tags = dict(chain.from_iterable(each.tags for each in of_it))
    run = replace(
        run,
        is_agent=is_agent,
        user_id=next((each.user_id for each in of_it if each.user_id), None),
        tags=tuple(tags.items())[:MAX_TAGS],
    )
    begun = of_it[0]
    if run.run_id not in plan.renamed or begun.title is None:
        return run
    return replace(run, title=begun.title, agent_name=begun.agent_name, agent_version=begun.agent_version)


def _looks_like_agent(steps: Sequence[Step], of_it: Iterable[Told]) -> bool:
    """The rule of `RunState`, for a run as a whole."""
    if any(step.type is StepType.TOOL_CALL for step in steps) or any(each.offers_tools for each in of_it):
        return True
    attempts = sum(step.is_priced for step in steps)
    return attempts - sum(step.type is StepType.RETRY for step in steps) > 1


def _judged(state: RunState, now_us: int, silence_us: int) -> RunState:
    state.judge()
    if state.status is RunStatus.RUNNING and state.deadline_us(silence_us) <= now_us:
        state.status = state.judged_after_silence()
    return state
