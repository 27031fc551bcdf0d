"""The machine: calls in the order in which they ended, rows of runs and steps out.

    place = Sessionizer.observe(call, now_us)    which run, which session, and why
    Sessionizer.tick(now_us)                     runs that have been silent for long are ended
    changes = Sessionizer.drain()                rows that changed since the last drain, all of them upserts
    Sessionizer.load(outlines, anchors)          take up the state again after a restart
    Sessionizer.bring(calls)                     fetch what they need from the shelf at once, not one by one

Deterministic: the same calls in the same order make the same rows and ids, wherever batches are cut and
wherever a restart falls. So membership never depends on the clock that `now_us` comes from (a recorder that
was away for an hour works off an hour's calls in a minute): it depends on the calls' own times. `tick`
decides only how a silent run is shown, and a late call undoes that.

Memory is bounded. A run that has given its final answer is known for another two times the silence, in
case a call without a new user message belongs to it; a run that may go on, or that the client named, is
known for the horizon. Past `max_runs` the runs that were touched longest ago are let go, finished ones
first: a follow-up then starts the next run of the same session, which anchors remember. What is known is an
outline; the steps of runs that were not used lately are on the shelf (`runs`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from uuid import UUID

from watchllm_proxy.records import (
    Anchor,
    Api,
    Call,
    ClientIdKind,
    Link,
    Moved,
    Placement,
    RunChanges,
    RunOutline,
    Settlement,
)
from watchllm_proxy.sessionize import families, rules
from watchllm_proxy.sessionize.anchoring import anchors_of
from watchllm_proxy.sessionize.anchors import AnchorKind
from watchllm_proxy.sessionize.families import Binding, Result
from watchllm_proxy.sessionize.person import SaidByPeople
from watchllm_proxy.sessionize.placing import Place, place
from watchllm_proxy.sessionize.recognition import Evidence
from watchllm_proxy.sessionize.remembered import Remembered, moved_anchor
from watchllm_proxy.sessionize.run_state import RunKey, RunState
from watchllm_proxy.sessionize.runs import Runs, Shelf

DAY_US = 24 * 3600 * 1_000_000


class Sessionizer:
    """Groups calls into runs. Not thread-safe. `silence_us` is the setting `run_silence`."""

    def __init__(
        self,
        *,
        silence_us: int,
        horizon_us: int = DAY_US,
        max_runs: int = 50_000,
        max_anchors: int = 300_000,
        max_texts: int = 60_000,
        max_steps: int = 50_000,
        shelf: Shelf | None = None,
    ) -> None:
        self._silence_us = silence_us
        self._runs = Runs(
            silence_us=silence_us, horizon_us=horizon_us, max_runs=max_runs, max_steps=max_steps, shelf=shelf
        )
        self._remembered = Remembered(horizon_us=horizon_us, max_anchors=max_anchors, max_texts=max_texts)
        self._at_us = 0  # when the call at hand began
        self.obey(SaidByPeople())
        self._placements: dict[UUID, Placement] = {}
        self._relinked: dict[UUID, Placement] = {}
        self._moved: dict[UUID, RunState] = {}  # calls of runs that were moved since the last drain

    # --- calls

    def obey(self, said: SaidByPeople) -> None:
        """What people have said, in place of all that was known of it. It holds for calls observed from now on;
        for those observed before, `corrections` changes the stored rows, and they are to be loaded again."""
        self._said = said
        self._evidence = Evidence(
            anchors=self._remembered.anchors,
            texts=self._remembered.texts,
            children=self._remembered.children,
            connections=self._remembered.connections,
            silence_us=self._silence_us,
            find_run=lambda key: self._runs.find(key, self._at_us),
            runs_of=self._runs.of_session,
            said=said,
            expect=lambda keys: self._runs.expect(keys, self._at_us),
        )

    def observe(self, call: Call, now_us: int) -> Placement:
        """Place one call. `now_us` is taken for the contract's sake and not used: see the module's docstring."""
        del now_us
        if call.api is Api.OTHER and not any(i.kind is ClientIdKind.RUN for i in call.client_ids):
            return Placement(call.call_id, call.project_id, None, None, None, ())
        evidence = self._evidence_for(call)
        self._runs.name(_named_runs(call, evidence))
        where = place(call, rules.collect(call, evidence), evidence)
        run = self._run_for(call, where)
        self._add(call, run, where)
        self._runs.touch(run)
        placement = Placement(
            call.call_id, call.project_id, run.run_id, run.session_id, run.parent_run_id, where.links
        )
        self._placements[call.call_id] = placement
        self._take_follower(call, run, where)
        self._take_children(call, run, where, evidence)
        self._runs.pass_time(call.ended_at_us)
        self._let_go()
        return placement

    def bring(self, calls: Iterable[Call]) -> None:
        """Have the runs here that these calls name, or answer by their ids. Not needed, for `observe` fetches
        what is missing; but that is one look at the shelf for each run."""
        wanted: dict[RunKey, None] = {}
        for call in calls:
            evidence = self._evidence_for(call)
            named = _named_runs(call, evidence)
            led = (clue.leads_to for rule in rules.BY_ID for clue in rule(call, evidence))
            answered = [(call.project_id, anchor.run_id) for anchor in led if anchor is not None]
            wanted |= dict.fromkeys(named or answered)
        self._runs.bring(wanted)

    def _evidence_for(self, call: Call) -> Evidence:
        """What is known, as it is for a call of this time; until the next one is looked at."""
        self._at_us = call.started_at_us
        return self._evidence

    def _run_for(self, call: Call, where: Place) -> RunState:
        key = (call.project_id, where.run_id)
        run = self._runs.get(key)
        if run is None:
            run = RunState.begun(call, where.run_id, where.session_id, where.parent_run_id)
        run.is_explicit = run.is_explicit or where.is_explicit
        run.parent_run_id = run.parent_run_id or where.parent_run_id
        return run

    def _add(self, call: Call, run: RunState, where: Place) -> None:
        self._close_previous(call, where)
        retried_step = where.retries.step_index if where.retries else None
        model_index = run.add(
            call,
            where.inputs,
            retried_step=retried_step,
            is_asked_elsewhere=lambda value: self._remembered.issuer(call, value) is not None,
        )
        self._remembered.put_all(
            anchors_of(
                call,
                run,
                where,
                model_index=model_index,
                find_issuer=self._remembered.issuer,
                first_seq=self._remembered.next_seq,
            )
        )

    def _previous(self, call: Call, where: Place) -> RunState | None:
        return self._runs.get((call.project_id, where.follows_run_id)) if where.follows_run_id else None

    def _close_previous(self, call: Call, where: Place) -> None:
        """The first request of a turn may bring what the turn before was still waiting for."""
        previous = self._previous(call, where)
        if previous is not None and previous.take_results(call):
            previous.judge()
            self._runs.touch(previous)

    # --- figures that are told later

    def settle(self, told: Settlement, run_id: str | None) -> None:
        """What a call observed before really used and cost. `run_id`: of its run as it is stored; None where the
        call was observed since the last drain."""
        placement = self._placements.get(told.call_id)
        run_id = placement.run_id if placement is not None else run_id
        if run_id is None:
            return  # it is of no run, or is gone
        key = (told.project_id, run_id)
        self._runs.name([key])  # of any age
        run = self._runs.get(key)
        if run is not None and run.settle(told):
            self._runs.change(run)

    # --- late answers

    def _take_follower(self, call: Call, run: RunState, where: Place) -> None:
        """A call that was seen before goes on from this one: what it began belongs here."""
        awaited = where.follower
        follower = self._runs.get((call.project_id, awaited.run_id)) if awaited is not None else None
        if awaited is None or follower is None:
            return
        if follower is not run:
            if follower.session_id not in (follower.run_id, run.session_id):
                return  # somebody named its session
            run.take_told(follower.told_results)
            run.judge()
            self._runs.touch(run)
            self._move(follower, run.session_id, call.ended_at_us)
        link = next(link for link in where.links if link.to_call_id == awaited.call_id)
        step_index = next(step.step_index for step in run.steps if step.call_id == call.call_id and step.is_priced)
        self._relink(
            follower, awaited.call_id, (replace(link, to_call_id=call.call_id, to_step_index=step_index),)
        )

    # --- sub-agents

    def _take_children(self, call: Call, run: RunState, where: Place, evidence: Evidence) -> None:
        """Note which tool call started this run; and where this call brought results of tools, see whose
        answers they are."""
        if where.task is not None:
            self._remembered.put(
                replace(
                    where.task,
                    kind=AnchorKind.CHILD,
                    value=run.run_id,
                    call_id=call.call_id,
                    at_us=call.ended_at_us,
                )
            )
        if where.task is not None or self._may_be_misplaced(call, run):
            for binding in list(families.in_order(run, evidence)):
                self._bind(call, binding)
        results = [
            Result(call, parent, step_index, text)
            for parent in (run, self._previous(call, where))
            if parent is not None
            for step_index, text in parent.take_filled()
        ]
        if not results:
            return
        for settle in (families.corrections, families.confirmations):
            for result in results:
                for binding in list(settle(result, evidence)):
                    self._bind(call, binding)

    def _may_be_misplaced(self, call: Call, run: RunState) -> bool:
        """A sub-agent whose place is a guess, and which now shares a connection."""
        if not self._remembered.children.is_guess(run.key):
            return False
        return len(self._remembered.connections.users(call.project_id, call.client_address)) > 1

    def _bind(self, call: Call, binding: Binding) -> None:
        """Hang a run under the tool call that started it, with all that belongs to it."""
        child, parent = binding.child, binding.parent
        kind = AnchorKind.VERIFIED if binding.is_verified else AnchorKind.CHILD
        first_call_id = child.first_call_id
        if first_call_id is None:
            return
        self._remembered.put(
            Anchor(
                child.project_id,
                kind,
                child.run_id,
                parent.run_id,
                first_call_id,
                binding.step_index,
                call.ended_at_us,
                parent.session_id,
            )
        )
        child.parent_run_id = parent.run_id
        self._move(child, parent.session_id, call.ended_at_us)
        self._relink(child, first_call_id, binding.links)

    def _relink(self, run: RunState, call_id: UUID, links: tuple[Link, ...]) -> None:
        """A call of this run, seen before, has better evidence now. What a person said of it stays before that."""
        said = self._said.of_call(run.project_id, call_id)
        self._relinked[call_id] = Placement(
            call_id,
            run.project_id,
            run.run_id,
            run.session_id,
            run.parent_run_id,
            links if said is None else (said.link, *links),
        )

    def _move(self, run: RunState, session_id: str, at_us: int) -> None:
        """Put a run into another session, with the runs that it started and, where the session was its own,
        with its later turns."""
        former = run.session_id
        self._runs.change(run)
        if former == session_id:
            return
        members = [run, *self._runs.of_session(run.project_id, former)]
        queue = [run]
        moved: dict[RunKey, RunState] = {}
        while queue:
            each = queue.pop()
            if each.key in moved:
                continue
            moved[each.key] = each
            is_root = each.run_id == former
            queue += [o for o in members if o is not each and (is_root or o.parent_run_id == each.run_id)]
        for each in moved.values():
            self._runs.move(each, session_id)
            self._remembered.put(moved_anchor(each.key, session_id, run.call_ids[0], at_us))
            self._moved.update((call_id, each) for call_id in each.call_ids)

    # --- time and memory

    def tick(self, now_us: int) -> None:
        """End the runs that have been silent for too long at `now_us`."""
        self._runs.tick(now_us)

    @property
    def silence_us(self) -> int:
        """How long a run is waited for."""
        return self._silence_us

    @property
    def settled_for_us(self) -> int:
        """A finished run that nobody named is not needed for `load` when it is older, by the log's own time."""
        return self._runs.settled_for_us

    def _let_go(self) -> None:
        self._remembered.forget_runs(self._runs.let_go())
        self._remembered.forget_before(self._runs.newest_us)

    # --- rows

    def drain(self) -> RunChanges:
        """Rows of everything that changed since the last drain. `all_steps` holds every changed run whole."""
        changed = self._runs.drain()
        changes = RunChanges(
            runs=tuple(run.row() for run in changed),
            steps=tuple((*run.key, step) for run in changed for step in run.take_changed_steps()),
            all_steps={run.key: tuple(run.steps) for run in changed},
            placements=self._final_placements(),
            moved=tuple(self._moved_calls()),
            anchors=self._remembered.drain(),
        )
        self._placements = {}
        self._relinked = {}
        self._moved = {}
        return changes

    def _final_placements(self) -> tuple[Placement, ...]:
        """Of the calls since the last drain, and of earlier ones whose links have changed."""
        placements = {**self._placements, **self._relinked}
        for call_id, run in self._moved.items():
            if (placement := placements.get(call_id)) is not None:
                placements[call_id] = replace(
                    placement, session_id=run.session_id, parent_run_id=run.parent_run_id
                )
        return tuple(placements.values())

    def _moved_calls(self) -> Iterator[Moved]:
        """Calls drained before whose run was hung elsewhere since."""
        for call_id, run in self._moved.items():
            if call_id not in self._placements:
                yield Moved(call_id, run.project_id, run.run_id, run.session_id, run.parent_run_id)

    def load(self, outlines: Iterable[RunOutline], anchors: Sequence[Anchor]) -> None:
        """Take up the state after a restart, from rows of the store: outlines of runs within the horizon, and
        anchors by their numbers."""
        self._runs.load(outlines)
        self._remembered.load(anchors)
        self._remembered.keep_only(self._runs)


def _named_runs(call: Call, evidence: Evidence) -> list[RunKey]:
    if not call.client_ids and not evidence.said:
        return []
    clues = [*rules.person(call, evidence), *rules.explicit_run(call, evidence)]
    return [(call.project_id, clue.names_run) for clue in clues if clue.names_run is not None]
