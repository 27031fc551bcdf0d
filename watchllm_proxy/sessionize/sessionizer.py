"""The machine: calls in the order in which they ended, rows of runs and steps out.

    place = Sessionizer.observe(call, now_us)    which run, which session, and why
    Sessionizer.tick(now_us)                     runs that have been silent for long are ended
    changes = Sessionizer.drain()                rows that changed since the last drain, all of them upserts
    Sessionizer.load(runs, steps, anchors)       take up the state again from stored rows

Deterministic: the same calls in the same order make the same rows and ids, wherever batches are cut and
wherever a restart falls. So membership never depends on the clock that `now_us` comes from (a recorder that
was away for an hour works off an hour's calls in a minute): it depends on the calls' own times. `tick`
decides only how a silent run is shown, and a late call undoes that.

Memory is bounded. A run that has given its final answer is kept for another two times the silence, in
case a call without a new user message belongs to it; a run that may go on, or that the client named, is
kept for the horizon. Past `max_runs` the runs that were touched longest ago are let go, finished ones
first: a follow-up then starts the next run of the same session, which anchors remember.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from watchllm_proxy.records import (
    Anchor,
    Api,
    Call,
    ClientIdKind,
    Moved,
    Placement,
    Run,
    RunChanges,
    RunStatus,
    Step,
)
from watchllm_proxy.sessionize import families, rules
from watchllm_proxy.sessionize.anchoring import anchors_of
from watchllm_proxy.sessionize.anchors import AnchorIndex, AnchorKind
from watchllm_proxy.sessionize.children import Children
from watchllm_proxy.sessionize.families import Binding, Result
from watchllm_proxy.sessionize.person import SaidByPeople
from watchllm_proxy.sessionize.placing import Place, place
from watchllm_proxy.sessionize.recognition import Evidence
from watchllm_proxy.sessionize.run_state import RunKey, RunState
from watchllm_proxy.sessionize.text_index import INDEXED_KINDS, TextIndex

DAY_US = 24 * 3600 * 1_000_000


class Sessionizer:
    """Groups calls into runs. Not thread-safe. `silence_us` is the setting `run_silence`."""

    def __init__(
        self,
        *,
        silence_us: int,
        horizon_us: int = DAY_US,
        max_runs: int = 50_000,
        max_anchors: int = 200_000,
        max_texts: int = 20_000,
    ) -> None:
        self._silence_us = silence_us
        self._horizon_us = horizon_us
        self._max_runs = max_runs
        self._anchors = AnchorIndex(horizon_us=horizon_us, max_anchors=max_anchors)
        self._texts = TextIndex(horizon_us=horizon_us, max_texts=max_texts)
        self._children = Children()
        self._runs: dict[RunKey, RunState] = {}
        self._may_go_on: OrderedDict[RunKey, None] = OrderedDict()  # by last touch
        self._settled: OrderedDict[RunKey, None] = OrderedDict()  # finished and not named; by last touch
        self._deadlines: list[tuple[int, RunKey]] = []  # heap; an entry counts if `_scheduled` agrees
        self._scheduled: dict[RunKey, int] = {}
        self._newest_us = 0  # end of the latest call: the log's own clock
        self._said = SaidByPeople()
        self._changed: dict[RunKey, RunState] = {}
        self._placements: dict[UUID, Placement] = {}
        self._relinked: dict[UUID, Placement] = {}
        self._moved: dict[UUID, RunKey] = {}  # calls of runs that were moved since the last drain
        self._sessions: dict[tuple[str, str], dict[RunKey, None]] = {}  # runs in memory by session
        self._new_anchors: dict[tuple[str, str, str], Anchor] = {}

    # --- calls

    def obey(self, said: SaidByPeople) -> None:
        """What people have said, in place of all that was known of it. It holds for calls observed from now on;
        for those observed before, `corrections` changes the stored rows, and they are to be loaded again."""
        self._said = said

    def observe(self, call: Call, now_us: int) -> Placement:
        """Place one call. `now_us` is taken for the contract's sake and not used: see the module's docstring."""
        del now_us
        if call.api is Api.OTHER and not any(i.kind is ClientIdKind.RUN for i in call.client_ids):
            return Placement(call.call_id, call.project_id, None, None, None, ())
        evidence = self._evidence(call)
        where = place(call, rules.collect(call, evidence), evidence)
        run = self._run_for(call, where)
        self._add(call, run, where)
        placement = Placement(
            call.call_id, call.project_id, run.run_id, run.session_id, run.parent_run_id, where.links
        )
        self._placements[call.call_id] = placement
        self._take_children(call, run, where)
        self._newest_us = max(self._newest_us, call.ended_at_us)
        self._touch(run)
        self._let_go()
        return placement

    def _evidence(self, call: Call) -> Evidence:
        """What is known, as it is for a call of this time."""
        return Evidence(
            anchors=self._anchors,
            texts=self._texts,
            children=self._children,
            silence_us=self._silence_us,
            find_run=lambda key: self._find_run(key, call.started_at_us),
            runs_of=lambda *session: [self._runs[key] for key in self._sessions.get(session, ())],
            said=self._said,
        )

    def missing_run(self, call: Call) -> RunKey | None:
        """The run that this call names, where it is not in memory. A recorder looks it up in the store and
        `load`s it as `named` before `observe`: else a run id that comes back after the horizon starts at step 0
        again, over the stored steps."""
        evidence = self._evidence(call)
        clue = next((clue for rule in (rules.person, rules.explicit_run) for clue in rule(call, evidence)), None)
        if clue is None or clue.names_run is None:
            return None
        key = (call.project_id, clue.names_run)
        return key if self._in_memory(key) is None and key not in self._changed else None

    def _run_for(self, call: Call, where: Place) -> RunState:
        key = (call.project_id, where.run_id)
        run = self._in_memory(key) or self._changed.get(key)  # let go, and not drained yet
        if run is None:
            run = RunState.begun(call, where.run_id, where.session_id, where.parent_run_id)
        self._runs[key] = run
        self._enter(run, run.session_id)
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
            is_asked_elsewhere=lambda value: self._issuer(call, value) is not None,
        )
        for anchor in anchors_of(call, run, where, model_index=model_index, find_issuer=self._issuer):
            self._put(anchor)

    def _previous(self, call: Call, where: Place) -> RunState | None:
        return self._in_memory((call.project_id, where.follows_run_id)) if where.follows_run_id else None

    def _close_previous(self, call: Call, where: Place) -> None:
        """The first request of a turn may bring what the turn before was still waiting for."""
        previous = self._previous(call, where)
        if previous is not None and previous.take_results(call):
            previous.judge()
            self._touch(previous)

    def _issuer(self, call: Call, value: str) -> Anchor | None:
        return next(
            (
                anchor
                for kind in (AnchorKind.REISSUED_ID, AnchorKind.ISSUED_ID)
                if (anchor := self._anchors.find(call.project_id, kind, value, call.started_at_us))
            ),
            None,
        )

    def _put(self, anchor: Anchor) -> None:
        self._new_anchors[anchor.project_id, anchor.kind, anchor.value] = anchor
        self._index(anchor)

    def _index(self, anchor: Anchor) -> None:
        if anchor.kind in INDEXED_KINDS:
            self._texts.put(anchor)
        elif anchor.kind in {AnchorKind.CHILD, AnchorKind.VERIFIED}:
            self._children.put(anchor)
        elif anchor.kind == AnchorKind.HELPER:
            self._children.put_helper(anchor)
        elif anchor.kind != AnchorKind.USER_INPUT:  # known by the run itself while it is in memory
            self._anchors.put(anchor)

    # --- sub-agents

    def _take_children(self, call: Call, run: RunState, where: Place) -> None:
        """Note which tool call started this run; and where this call brought results of tools, see whose
        answers they are."""
        if where.task is not None:
            self._put(
                replace(
                    where.task,
                    kind=AnchorKind.CHILD,
                    value=run.run_id,
                    call_id=call.call_id,
                    at_us=call.ended_at_us,
                )
            )
            for binding in list(families.in_order(run, self._evidence(call))):
                self._bind(call, binding)
        results = [
            Result(call, parent, step_index, text)
            for parent in (run, self._previous(call, where))
            if parent is not None
            for step_index, text in parent.take_filled()
        ]
        for settle in (families.corrections, families.confirmations):
            for result in results:
                for binding in list(settle(result, self._evidence(call))):
                    self._bind(call, binding)

    def _bind(self, call: Call, binding: Binding) -> None:
        """Hang a run under the tool call that started it, with all that belongs to it."""
        child, parent = binding.child, binding.parent
        kind = AnchorKind.VERIFIED if binding.is_verified else AnchorKind.CHILD
        first_call_id = child.first_call_id
        if first_call_id is None:
            return
        self._put(
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
        self._relinked[first_call_id] = Placement(
            first_call_id, child.project_id, child.run_id, child.session_id, child.parent_run_id, binding.links
        )

    def _move(self, run: RunState, session_id: str, at_us: int) -> None:
        """Put a run into another session, with the runs that it started and, where the session was its own,
        with its later turns."""
        former = (run.project_id, run.session_id)
        self._changed[run.key] = run
        if run.session_id == session_id:
            return
        queue = [run]
        moved: dict[RunKey, RunState] = {}
        while queue:
            each = queue.pop()
            if each.key in moved:
                continue
            moved[each.key] = each
            others = [self._runs[key] for key in self._sessions.get(former, ()) if key in self._runs]
            is_root = each.run_id == each.session_id
            queue += [o for o in others if o is not each and (is_root or o.parent_run_id == each.run_id)]
        for each in moved.values():
            self._enter(each, session_id)
            self._changed[each.key] = each
            self._put(
                Anchor(
                    each.project_id,
                    AnchorKind.MOVED,
                    each.run_id,
                    each.run_id,
                    run.call_ids[0],
                    None,
                    at_us,
                    session_id,
                )
            )
            self._moved.update((call_id, each.key) for call_id in each.call_ids)

    def _enter(self, run: RunState, session_id: str) -> None:
        """Keep the list of each session's runs in memory."""
        self._leave(run)
        run.session_id = session_id
        self._sessions.setdefault((run.project_id, session_id), {})[run.key] = None

    def _leave(self, run: RunState) -> None:
        members = self._sessions.get((run.project_id, run.session_id), {})
        members.pop(run.key, None)
        if not members:
            self._sessions.pop((run.project_id, run.session_id), None)

    # --- time

    def tick(self, now_us: int) -> None:
        """End the runs that have been silent for too long at `now_us`."""
        while self._deadlines and self._deadlines[0][0] <= now_us:
            due_us, key = heapq.heappop(self._deadlines)
            if self._scheduled.get(key) != due_us:
                continue
            del self._scheduled[key]
            run = self._runs.get(key)
            if run is None or run.status is not RunStatus.RUNNING:
                continue
            if run.deadline_us(self._silence_us) <= now_us:
                self._end(run)
            else:
                self._schedule(run)

    def _end(self, run: RunState) -> None:
        run.status = run.judged_after_silence()
        self._changed[run.key] = run

    def _schedule(self, run: RunState) -> None:
        due_us = run.deadline_us(self._silence_us)
        scheduled_us = self._scheduled.get(run.key)
        if run.status is RunStatus.RUNNING and (scheduled_us is None or due_us < scheduled_us):
            self._scheduled[run.key] = due_us
            heapq.heappush(self._deadlines, (due_us, run.key))

    # --- memory

    def _find_run(self, key: RunKey, at_us: int) -> RunState | None:
        """A run that a call of this time may continue on evidence."""
        run = self._in_memory(key)
        if run is None or (_is_settled(run) and at_us - run.last_activity_at_us > self._silence_us):
            return None
        return run

    def _in_memory(self, key: RunKey) -> RunState | None:
        """Runs past their time are gone, whether or not they have been removed yet; but a named one is the
        same in memory and in the store, wherever it is found."""
        run = self._runs.get(key)
        return None if run is None or (self._is_gone(run) and not run.is_explicit) else run

    def _is_gone(self, run: RunState) -> bool:
        kept_us = 2 * self._silence_us if _is_settled(run) else self._horizon_us
        return self._newest_us - run.last_activity_at_us > kept_us

    def _touch(self, run: RunState) -> None:
        self._changed[run.key] = run
        self._file(run)

    def _file(self, run: RunState) -> None:
        self._may_go_on.pop(run.key, None)
        self._settled.pop(run.key, None)
        (self._settled if _is_settled(run) else self._may_go_on)[run.key] = None
        self._schedule(run)

    def _let_go(self) -> None:
        for queue in (self._settled, self._may_go_on):
            while queue and self._is_gone(self._runs[next(iter(queue))]):
                self._forget(queue)
        self._keep_to_limits()
        self._texts.forget_before(self._newest_us - self._horizon_us)
        self._anchors.forget_before(self._newest_us - self._horizon_us)

    def _keep_to_limits(self) -> None:
        while len(self._runs) > self._max_runs:
            self._forget(self._settled or self._may_go_on)

    def _forget(self, queue: OrderedDict[RunKey, None]) -> None:
        key, _ = queue.popitem(last=False)
        run = self._runs.pop(key)
        self._leave(run)
        self._children.forget(key)
        self._scheduled.pop(key, None)
        if run.status is RunStatus.RUNNING:
            self._end(run)  # nobody will look at it again

    # --- rows

    def drain(self) -> RunChanges:
        """Rows of everything that changed since the last drain. `all_steps` holds every changed run whole."""
        changed = list(self._changed.values())
        changes = RunChanges(
            runs=tuple(run.row() for run in changed),
            steps=tuple((*run.key, step) for run in changed for step in run.take_changed_steps()),
            all_steps={run.key: tuple(run.steps) for run in changed},
            placements=self._final_placements(),
            moved=tuple(self._moved_calls()),
            anchors=tuple(self._new_anchors.values()),
        )
        self._changed = {}
        self._placements = {}
        self._relinked = {}
        self._moved = {}
        self._new_anchors = {}
        return changes

    def _final_placements(self) -> tuple[Placement, ...]:
        """Of the calls since the last drain, and of earlier ones whose links have changed."""
        placements = {**self._placements, **self._relinked}
        for call_id, key in self._moved.items():
            placement, run = placements.get(call_id), self._changed.get(key)
            if placement is not None and run is not None:
                placements[call_id] = replace(
                    placement, session_id=run.session_id, parent_run_id=run.parent_run_id
                )
        return tuple(placements.values())

    def _moved_calls(self) -> Iterator[Moved]:
        """Calls drained before whose run was hung elsewhere since."""
        for call_id, key in self._moved.items():
            run = self._changed.get(key)
            if run is not None and call_id not in self._placements:
                yield Moved(call_id, run.project_id, run.run_id, run.session_id, run.parent_run_id)

    def load(
        self,
        runs: Iterable[Run],
        steps_by_run: Mapping[RunKey, Sequence[Step]],
        anchors: Iterable[Anchor],
        *,
        named: Container[RunKey] = (),
    ) -> None:
        """Add stored rows to the state: after a restart those within the horizon, or one `missing_run`, which
        is then `named` (its anchors may have been pruned).

        A run comes with all of its steps or not at all: one with fewer than its row counts is left out, as
        runs are that finished longer than two silences ago.
        """
        explicit: set[RunKey] = set()
        inputs: dict[RunKey, set[str]] = {}
        for anchor in sorted(anchors, key=lambda a: (a.at_us, str(a.call_id))):
            key = (anchor.project_id, anchor.run_id)
            if anchor.kind == AnchorKind.USER_INPUT:
                inputs.setdefault(key, set()).add(anchor.value.rsplit(" ", 1)[1])
                continue
            if anchor.kind == AnchorKind.RUN:
                explicit.add(key)
            self._index(anchor)
            self._newest_us = max(self._newest_us, anchor.at_us)
        for row in sorted(runs, key=lambda r: (r.last_activity_at_us, r.run_id)):
            key = (row.project_id, row.run_id)
            steps = steps_by_run.get(key, ())
            self._newest_us = max(self._newest_us, row.last_activity_at_us)
            if len(steps) != row.total_steps:
                continue
            run = RunState.restored(
                row, steps, is_explicit=key in explicit or key in named, inputs=inputs.get(key, set())
            )
            self._runs[key] = run
            self._enter(run, run.session_id)
            self._file(run)
        self._children.keep_only(self._runs)
        self._keep_to_limits()


def _is_settled(run: RunState) -> bool:
    """It has given its final answer and nobody can name it: only a straggler could still belong to it."""
    return run.status is RunStatus.COMPLETED and not run.is_explicit
