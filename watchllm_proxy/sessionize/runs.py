"""The runs that calls may belong to: an outline of each of them, and the bodies of those that were used lately.

An *outline* tells whether a run may be continued at all. Its *body*, all of its steps, is fetched from the
shelf (the store, behind a recorder) when evidence or a name leads to it, and goes back there after a drain
when too many are held. So a restart reads outlines only, and what is found never depends on which bodies
happen to be here (decision 0110).

    find     on evidence: not a run past its time
    name     by its id: whatever its age
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Protocol

from watchllm_proxy.records import Run, RunOutline, RunStatus, Step
from watchllm_proxy.sessionize.run_state import RETRY_GRACE_US, RunKey, RunState


class Shelf(Protocol):
    """Where the rows of every drain so far are kept."""

    def fetch(self, keys: Sequence[RunKey]) -> Iterable[tuple[Run, Sequence[Step]]]:
        """Those of these runs that are stored, each with all of its steps. Whatever it raises goes to the
        caller of `observe`, `bring` or `tick`; the state may then be half changed, and must be loaded anew."""


class Runs:
    """Bounded by age and by count: at most `max_runs` outlines, those that were touched longest ago are let go
    first, and of these the finished ones. At most `max_steps` steps are held across drains, where there is a
    shelf to take them."""

    def __init__(
        self, *, silence_us: int, horizon_us: int, max_runs: int, max_steps: int, shelf: Shelf | None
    ) -> None:
        self.settled_for_us = 2 * silence_us  # how long a finished run that nobody named waits for stragglers
        self._silence_us = silence_us
        self._horizon_us = horizon_us
        self._least_kept_us = min(self.settled_for_us, horizon_us)
        self._max_runs = max_runs
        self._max_steps = max_steps
        self._shelf = shelf
        self._outlines: dict[RunKey, RunOutline] = {}
        self._may_go_on: OrderedDict[RunKey, None] = OrderedDict()  # by last touch
        self._settled: OrderedDict[RunKey, None] = OrderedDict()  # finished and not named; by last touch
        self._sessions: dict[tuple[str, str], dict[RunKey, None]] = {}
        self._bodies: OrderedDict[RunKey, RunState] = OrderedDict()  # by last use
        self._changed: dict[RunKey, RunState] = {}
        self._absent: set[RunKey] = set()  # asked for since the last drain, and not on the shelf
        self._named: Sequence[RunKey] = ()
        self._deadlines: list[tuple[int, RunKey]] = []  # heap; an entry counts if `_scheduled` agrees
        self._scheduled: dict[RunKey, int] = {}
        self._newest_us = 0  # end of the latest call: the log's own clock

    def __len__(self) -> int:
        return len(self._outlines)

    def __contains__(self, key: object) -> bool:
        return key in self._outlines

    @property
    def newest_us(self) -> int:
        return self._newest_us

    def pass_time(self, ended_at_us: int) -> None:
        """A call that ended then has been seen."""
        self._newest_us = max(self._newest_us, ended_at_us)

    # --- finding

    def find(self, key: RunKey, at_us: int) -> RunState | None:
        """A run that a call of this time may continue on evidence."""
        return self._body(key) if self._may_go_on_at(key, at_us) else None

    def _may_go_on_at(self, key: RunKey, at_us: int) -> bool:
        outline = self._outlines.get(key)
        if outline is None or key in self._named:
            return outline is not None
        is_silent = at_us - outline.last_activity_at_us > self._silence_us
        return not (self._is_gone(outline) or (_is_settled(outline) and is_silent))

    def expect(self, keys: Iterable[RunKey], at_us: int) -> None:
        """`find` will be asked for these: all that it will give are fetched at once."""
        self.bring([key for key in keys if self._may_go_on_at(key, at_us)])

    def name(self, keys: Sequence[RunKey]) -> None:
        """The call at hand names these runs: of any age, for as long as the store has them."""
        self._named = keys
        if not keys:
            return
        unknown = [key for key in keys if key not in self._outlines]
        self.bring(unknown)
        for key in unknown:
            if (run := self._body(key)) is not None:
                self._file(run)

    def get(self, key: RunKey) -> RunState | None:
        """It as it stands, unless it is past its time and not named either."""
        outline = self._outlines.get(key)
        is_here = outline is not None and (key in self._named or not self._is_gone(outline))
        return self._body(key) if is_here else None

    def of_session(self, project_id: str, session_id: str) -> list[RunState]:
        members = self._sessions.get((project_id, session_id), {})
        keys = [key for key in members if not self._is_gone(self._outlines[key])]
        self.bring(keys)
        return [run for key in keys if (run := self._body(key)) is not None]

    def bring(self, keys: Iterable[RunKey]) -> None:
        """Have the bodies of these runs here: one look at the shelf, however many they are."""
        held = (self._bodies, self._changed, self._absent)
        missing = [key for key in dict.fromkeys(keys) if not any(key in each for each in held)]
        if not missing or self._shelf is None:
            return
        for row, steps in self._shelf.fetch(missing):
            if len(steps) == row.total_steps:  # else some are gone for good, and others would be numbered as they
                run = RunState.restored(row, steps)
                self._bodies[run.key] = run
        for key in missing:
            if key not in self._bodies:
                self._absent.add(key)
                self._drop(key)

    def _body(self, key: RunKey) -> RunState | None:
        if key not in self._bodies:
            self.bring([key])
        run = self._bodies.get(key)
        if run is None:
            return self._changed.get(key)
        self._bodies.move_to_end(key)
        return run

    # --- changing

    def touch(self, run: RunState) -> None:
        """Something happened to it, or it is new."""
        self._changed[run.key] = run
        self._file(run)

    def move(self, run: RunState, session_id: str) -> None:
        """Put it into another session."""
        self._leave(run.key)
        run.session_id = session_id
        self.change(run)

    def change(self, run: RunState) -> None:
        """Its row changed, though nothing happened to it."""
        self._changed[run.key] = run
        if run.key in self._outlines:
            self._outline(run)

    def _file(self, run: RunState) -> None:
        key = run.key
        outline = self._outline(run)
        self._may_go_on.pop(key, None)
        self._settled.pop(key, None)
        self._queue(outline)[key] = None
        self._schedule(key, run.status, run.deadline_us(self._silence_us))

    def _outline(self, run: RunState) -> RunOutline:
        outline = run.outline()
        former = self._outlines.get(run.key)
        if former is not None and former.session_id != outline.session_id:
            self._leave(run.key)
        self._bodies[run.key] = run
        self._bodies.move_to_end(run.key)
        self._enter(outline)
        return outline

    def _enter(self, outline: RunOutline) -> None:
        key = (outline.project_id, outline.run_id)
        self._outlines[key] = outline
        members = self._sessions.setdefault((outline.project_id, outline.session_id), {})
        members.pop(key, None)
        members[key] = None

    def _leave(self, key: RunKey) -> None:
        outline = self._outlines.get(key)
        if outline is None:
            return
        session = (outline.project_id, outline.session_id)
        members = self._sessions.get(session, {})
        members.pop(key, None)
        if not members:
            self._sessions.pop(session, None)

    def _queue(self, outline: RunOutline) -> OrderedDict[RunKey, None]:
        return self._settled if _is_settled(outline) else self._may_go_on

    # --- time

    def tick(self, now_us: int) -> None:
        """End the runs that have been silent for too long at `now_us`."""
        due = []
        while self._deadlines and self._deadlines[0][0] <= now_us:
            due_us, key = heapq.heappop(self._deadlines)
            if self._scheduled.get(key) == due_us:
                del self._scheduled[key]
                due.append(key)
        self.bring(due)
        for key in due:
            run = self._body(key)
            if run is None or run.status is not RunStatus.RUNNING:
                continue
            if run.deadline_us(self._silence_us) <= now_us:
                self._end(run)
            else:
                self._schedule(key, run.status, run.deadline_us(self._silence_us))

    def _end(self, run: RunState) -> None:
        run.status = run.judged_after_silence()
        self.change(run)

    def _schedule(self, key: RunKey, status: RunStatus, due_us: int) -> None:
        scheduled_us = self._scheduled.get(key)
        if status is RunStatus.RUNNING and (scheduled_us is None or due_us < scheduled_us):
            self._scheduled[key] = due_us
            heapq.heappush(self._deadlines, (due_us, key))

    # --- letting go

    def let_go(self) -> list[RunKey]:
        """Forget the outlines of runs past their time, and of too many; those that were forgotten."""
        forgotten = []
        for queue in (self._settled, self._may_go_on):
            while queue and self._is_gone(self._outlines[next(iter(queue))]):
                forgotten.append(self._forget(queue))
        while len(self._outlines) > self._max_runs:
            forgotten.append(self._forget(self._settled or self._may_go_on))
        return forgotten

    def _is_gone(self, outline: RunOutline) -> bool:
        """Runs past their time are gone, whether or not they have been removed yet."""
        silent_us = self._newest_us - outline.last_activity_at_us
        if silent_us <= self._least_kept_us:
            return False
        return silent_us > (self.settled_for_us if _is_settled(outline) else self._horizon_us)

    def _forget(self, queue: OrderedDict[RunKey, None]) -> RunKey:
        key = next(iter(queue))
        if self._outlines[key].status is RunStatus.RUNNING and (run := self._body(key)) is not None:
            self._end(run)  # nobody will look at it again
        self._drop(key)
        return key

    def _drop(self, key: RunKey) -> None:
        self._leave(key)
        self._outlines.pop(key, None)
        self._may_go_on.pop(key, None)
        self._settled.pop(key, None)
        self._scheduled.pop(key, None)
        if self._shelf is None and key not in self._changed:
            self._bodies.pop(key, None)

    # --- rows

    def drain(self) -> list[RunState]:
        """Those that changed since the last drain. From now on the shelf answers for them."""
        changed, self._changed = self._changed, {}
        self._absent = set()
        self._named = ()
        if self._shelf is not None:
            self._put_back()
        else:
            for key in changed.keys() - self._outlines.keys():
                del self._bodies[key]
        return list(changed.values())

    def _put_back(self) -> None:
        """Bodies that the shelf can give again, the longest unused first."""
        held = sum(len(run.steps) for run in self._bodies.values())
        while held > self._max_steps:
            _, run = self._bodies.popitem(last=False)
            held -= len(run.steps)

    def load(self, outlines: Iterable[RunOutline]) -> None:
        """Add those of stored runs, after a restart: all that are not past their time."""
        stored = sorted(outlines, key=lambda o: (o.last_activity_at_us, o.run_id))
        if stored:
            self.pass_time(stored[-1].last_activity_at_us)
        for outline in stored:
            if self._is_gone(outline):
                continue
            key = (outline.project_id, outline.run_id)
            self._enter(outline)
            self._queue(outline)[key] = None
            # Not later than `RunState.deadline_us` will tell.
            grace_us = min(RETRY_GRACE_US, self._silence_us)
            self._schedule(key, outline.status, outline.last_activity_at_us + grace_us)
        self.let_go()


def _is_settled(outline: RunOutline) -> bool:
    """It has given its final answer and nobody can name it: only a straggler could still belong to it."""
    return outline.status is RunStatus.COMPLETED and not outline.is_explicit
