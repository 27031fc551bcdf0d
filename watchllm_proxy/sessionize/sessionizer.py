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
from collections.abc import Container, Iterable, Mapping, Sequence

from watchllm_proxy.records import (
    Anchor,
    Api,
    Call,
    ClientIdKind,
    Placement,
    Run,
    RunChanges,
    RunStatus,
    Step,
)
from watchllm_proxy.sessionize import rules, turns
from watchllm_proxy.sessionize.anchoring import anchors_of
from watchllm_proxy.sessionize.anchors import AnchorIndex, AnchorKind
from watchllm_proxy.sessionize.placing import Place, place
from watchllm_proxy.sessionize.rules import Evidence
from watchllm_proxy.sessionize.run_state import RunKey, RunState

DAY_US = 24 * 3600 * 1_000_000


class Sessionizer:
    """Groups calls into runs. Not thread-safe. `silence_us` is the setting `run_silence`."""

    def __init__(
        self,
        *,
        silence_us: int,
        horizon_us: int = DAY_US,
        max_runs: int = 50_000,
        max_anchors: int = 1_000_000,
    ) -> None:
        self._silence_us = silence_us
        self._horizon_us = horizon_us
        self._max_runs = max_runs
        self._anchors = AnchorIndex(horizon_us=horizon_us, max_anchors=max_anchors)
        self._evidence = Evidence(self._anchors, silence_us)
        self._runs: dict[RunKey, RunState] = {}
        self._may_go_on: OrderedDict[RunKey, None] = OrderedDict()  # by last touch
        self._settled: OrderedDict[RunKey, None] = OrderedDict()  # finished and not named; by last touch
        self._deadlines: list[tuple[int, RunKey]] = []  # heap; an entry counts if `_scheduled` agrees
        self._scheduled: dict[RunKey, int] = {}
        self._newest_us = 0  # end of the latest call: the log's own clock
        self._changed: dict[RunKey, RunState] = {}
        self._placements: list[Placement] = []
        self._new_anchors: dict[tuple[str, str, str], Anchor] = {}

    # --- calls

    def observe(self, call: Call, now_us: int) -> Placement:
        """Place one call. `now_us` is taken for the contract's sake and not used: see the module's docstring."""
        del now_us
        if call.api is Api.OTHER and not any(i.kind is ClientIdKind.RUN for i in call.client_ids):
            return Placement(call.call_id, call.project_id, None, None, None, ())
        clues = rules.collect(call, self._evidence)
        where = place(call, clues, self._anchors, lambda key: self._find_run(key, call.started_at_us))
        run = self._run_for(call, where)
        self._add(call, run, where)
        placement = Placement(
            call.call_id, call.project_id, run.run_id, run.session_id, run.parent_run_id, where.links
        )
        self._placements.append(placement)
        self._newest_us = max(self._newest_us, call.ended_at_us)
        self._touch(run)
        self._let_go()
        return placement

    def missing_run(self, call: Call) -> RunKey | None:
        """The run that this call names, where it is not in memory. A recorder looks it up in the store and
        `load`s it as `named` before `observe`: else a run id that comes back after the horizon starts at step 0
        again, over the stored steps."""
        clue = next(rules.explicit_run(call, self._evidence), None)
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
        run.is_explicit = run.is_explicit or where.is_explicit
        run.parent_run_id = run.parent_run_id or where.parent_run_id
        return run

    def _add(self, call: Call, run: RunState, where: Place) -> None:
        self._close_previous(call, where)
        inputs = [i for i in turns.user_inputs(call) if i.occurrence not in run.inputs]
        retried_step = where.retries.step_index if where.retries else None
        model_index = run.add(
            call,
            inputs,
            retried_step=retried_step,
            is_asked_elsewhere=lambda value: self._issuer(call, value) is not None,
        )
        for anchor in anchors_of(call, run, where, inputs, model_index=model_index, find_issuer=self._issuer):
            self._put(anchor)

    def _close_previous(self, call: Call, where: Place) -> None:
        """The first request of a turn may bring what the turn before was still waiting for."""
        previous = self._in_memory((call.project_id, where.follows_run_id)) if where.follows_run_id else None
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
        if anchor.kind != AnchorKind.USER_INPUT:  # known by the run itself while it is in memory
            self._anchors.put(anchor)

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
        self._anchors.forget_before(self._newest_us - self._horizon_us)

    def _keep_to_limits(self) -> None:
        while len(self._runs) > self._max_runs:
            self._forget(self._settled or self._may_go_on)

    def _forget(self, queue: OrderedDict[RunKey, None]) -> None:
        key, _ = queue.popitem(last=False)
        run = self._runs.pop(key)
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
            placements=tuple(self._placements),
            anchors=tuple(self._new_anchors.values()),
        )
        self._changed = {}
        self._placements = []
        self._new_anchors = {}
        return changes

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
            self._anchors.put(anchor)
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
            self._file(run)
        self._keep_to_limits()


def _is_settled(run: RunState) -> bool:
    """It has given its final answer and nobody can name it: only a straggler could still belong to it."""
    return run.status is RunStatus.COMPLETED and not run.is_explicit
