"""CONDUCTOR of `watchllm replay --from`: stored calls -> today's rules and prices -> the same rows of both stores.

A day of calls at a time is thought about by a sessionizer of its own, which first saw the day before and all of
every session with a part in it. Of what it finds, *families* are written: runs that have a call or a session in
common, as they were stored or as they are found now. So whatever moves within a family, each of its calls is in
one run before and in one run after (decision 0165).

No recorder runs meanwhile. Every step may be repeated; a crash costs the day that was under way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from watchllm_proxy import crash_points
from watchllm_proxy.decode import KnownMessages, rebuild, recalled
from watchllm_proxy.enrich.flags import DEFAULT_THRESHOLDS, chosen, find_flags
from watchllm_proxy.histories import histories_of
from watchllm_proxy.insights.explain import explain
from watchllm_proxy.pricing import Pricing
from watchllm_proxy.records import Call, Cost, Moved, Placement, Run, RunChanges, Step
from watchllm_proxy.sessionize import Sessionizer, Shelf
from watchllm_proxy.sessionize.person import SaidByPeople
from watchllm_proxy.sessionize.sessionizer import DAY_US
from watchllm_proxy.store import project_settings, views
from watchllm_proxy.store.backfills import Backfills, Progress, WholeRuns
from watchllm_proxy.store.clickhouse import AsyncEventStore
from watchllm_proxy.store.event_rows import move_params, move_sql
from watchllm_proxy.store.postgres import RunStore
from watchllm_proxy.store.stored_calls import Place, StoredCall, StoredCalls
from watchllm_proxy.store.told_costs import reprice_params, reprice_sql

WINDOW_US = DAY_US
HORIZON_US = DAY_US
"""How far back a call's evidence may lie, but for names."""

MAX_SESSION_US = 7 * DAY_US
"""Sessions that last longer are left as they are: each of their days would be thought about with all others."""

WRITTEN_AT_ONCE = 500

RunKey = tuple[str, str]
"""(project_id, run_id)"""

Told = Callable[[int, int], None]
"""Progress: calls done, calls in all."""


class Thinking:
    """Calls thought about in order, and what came of them. Its own shelf: nothing that is stored is looked at."""

    def __init__(
        self, new_sessionizer: Callable[[Shelf], Sessionizer], said: SaidByPeople, pricing: Pricing
    ) -> None:
        self.new_costs: dict[UUID, Cost] = {}  # of calls that cost another sum now
        self._pricing = pricing
        self.runs: dict[RunKey, Run] = {}
        self.steps: dict[RunKey, tuple[Step, ...]] = {}
        self.placements: dict[UUID, Placement] = {}
        self._known = KnownMessages()
        self._sessionizer = new_sessionizer(self)
        self._sessionizer.obey(said)

    def fetch(self, keys: Sequence[RunKey]) -> list[tuple[Run, tuple[Step, ...]]]:
        return [(self.runs[key], self.steps[key]) for key in keys if key in self.runs]

    def take(self, page: Iterable[StoredCall], now_us: int) -> None:
        for stored in page:
            call = recalled(stored.call, stored.client_ids, stored.request, stored.answer, known=self._known)
            call = self._priced(call)
            placement = self._sessionizer.observe(call, now_us)
            self.placements[placement.call_id] = placement
        self._drain()

    def _priced(self, call: Call) -> Call:
        """By today's prices. The same sum from the same kind of source is no change."""
        priced = self._pricing.priced(call)
        old, new = call.cost, priced.cost
        if (views.picodollars(new.usd), new.source) == (views.picodollars(old.usd), old.source):
            return call
        self.new_costs[call.call_id] = new
        return priced

    def end(self, now_us: int) -> None:
        self._sessionizer.tick(now_us)
        self._drain()

    def _drain(self) -> None:
        changes = self._sessionizer.drain()
        self.runs.update({(run.project_id, run.run_id): run for run in changes.runs})
        self.steps.update(changes.all_steps)
        self.placements.update({placement.call_id: placement for placement in changes.placements})
        for moved in changes.moved:
            self.placements[moved.call_id] = replace(
                self.placements[moved.call_id],
                run_id=moved.run_id,
                session_id=moved.session_id,
                parent_run_id=moved.parent_run_id,
            )


@dataclass(frozen=True, slots=True)
class Known:
    """What is kept in memory of a call of the range: where it is, and whether it can be thought about again."""

    place: Place  # in ClickHouse
    run_id: str  # in Postgres, which is told later
    ended_at_us: int
    is_whole: bool


@dataclass(slots=True)
class Family:
    """Calls that hang together by runs and sessions, old or new; `run_ids`, `session_ids`: both as well."""

    calls: set[UUID] = field(default_factory=set)
    run_ids: set[str] = field(default_factory=set)
    session_ids: set[str] = field(default_factory=set)


class Backfill:
    """Thinks about the stored calls of one project again. Whoever runs it holds the recorder's lock."""

    def __init__(
        self,
        runs: RunStore,
        events: AsyncEventStore,
        project_id: str,
        *,
        new_sessionizer: Callable[[Shelf], Sessionizer],
        said: SaidByPeople,
        pricing: Pricing,
        now_us: int,
        is_dry: bool = False,
    ) -> None:
        """`is_dry`: only count what would change."""
        self.rows = Backfills(runs, project_id)
        self._runs = runs
        self._calls = StoredCalls(events, project_id, rebuild=rebuild)
        self._events = events
        self._project_id = project_id
        self._pool = runs.pool
        self._thresholds = DEFAULT_THRESHOLDS
        self._new_sessionizer = new_sessionizer
        self._said = said
        self._pricing = pricing
        self._now_us = now_us
        self._is_dry = is_dry
        self._move_sql = move_sql()
        self._reprice_sql = reprice_sql()
        self._until_us = 0
        self._counted: set[UUID] = set()

    async def settled_until_us(self) -> int:
        """Calls that ended before have nothing to do any more with those to come, but by name."""
        return (await self.rows.latest_activity_us() or 0) - HORIZON_US

    async def run(self, from_us: int, to_us: int, told: Told = lambda done, total: None) -> Progress:
        """Think about the calls again that ended within [from_us, to_us), as far as they are settled.

        Goes on where one of the same bounds was cut short.
        """
        self._until_us = await self.settled_until_us()
        settings = await project_settings.of_project(self._pool, self._project_id)
        if settings is not None:
            self._thresholds = chosen(dict(settings.flag_thresholds))
        progress = Progress(from_us, to_us, from_us)
        stored = None if self._is_dry else await self.rows.progress()
        if stored is not None and (stored.from_us, stored.to_us) == (from_us, to_us):
            progress = stored
        end_us = min(to_us, self._until_us)
        total = await self._calls.count(from_us, end_us) if from_us < end_us else 0
        told(progress.thought_calls, total)
        while progress.done_until_us < end_us:
            progress = await self._window(progress, min(progress.done_until_us + WINDOW_US, end_us))
            if not self._is_dry:
                await self.rows.note(progress)
            told(progress.thought_calls, total)
        if not self._is_dry:
            await self.rows.end()
        return progress

    async def _window(self, progress: Progress, to_us: int) -> Progress:
        from_us = progress.done_until_us
        began_us, ended_us = await self.rows.extent(from_us, to_us, MAX_SESSION_US) or (from_us, to_us)
        first_us, last_us = min(began_us, from_us) - HORIZON_US, max(ended_us + 1, to_us)
        await self._pricing.follow()
        thinking = Thinking(self._new_sessionizer, self._said, self._pricing)
        known: dict[UUID, Known] = {}
        looked_at = 0
        async for page in self._calls.pages(first_us, last_us):
            run_ids = await self.rows.run_of_calls(stored.call.call_id for stored in page)
            placed = [stored for stored in page if stored.call.call_id in run_ids]  # the others are in no run
            for stored in placed:
                call = stored.call
                known[call.call_id] = Known(stored.place, run_ids[call.call_id], call.ended_at_us, stored.is_whole)
            looked_at += sum(from_us <= stored.call.ended_at_us < to_us for stored in page)
            await asyncio.to_thread(thinking.take, placed, self._now_us)
        await asyncio.to_thread(thinking.end, self._now_us)
        within = {call_id for call_id, each in known.items() if from_us <= each.ended_at_us < to_us}
        sessions = await self.rows.session_of_runs({each.run_id for each in known.values()})
        families = [each for each in families_of(known, sessions, thinking.placements) if within & each.calls]
        moved = left = repriced = 0
        for batch in _batches(families):
            written, new_places = await self._write(batch, known, thinking)
            moved += new_places
            repriced += sum(len(within & family.calls & thinking.new_costs.keys()) for family in written)
            left += sum(len(within & family.calls) for family in batch if family not in written)
        return replace(
            progress,
            done_until_us=to_us,
            thought_calls=progress.thought_calls + looked_at,
            moved_calls=progress.moved_calls + moved,
            repriced_calls=progress.repriced_calls + repriced,
            left_calls=progress.left_calls + left,
        )

    async def _write(
        self, families: Sequence[Family], known: dict[UUID, Known], thinking: Thinking
    ) -> tuple[list[Family], int]:
        """Write those of these families that may be; which, and how many of their calls changed their run."""
        sessions = set().union(*(family.session_ids for family in families))
        run_ids = set().union(*(family.run_ids for family in families))
        old = await self.rows.whole(sessions, run_ids)
        written = [family for family in families if self._may_be_written(family, old, known)]
        placements = [thinking.placements[call_id] for family in written for call_id in sorted(family.calls)]
        changed = {each.call_id for each in placements if _place(each)[0] != known[each.call_id].run_id}
        moved = len(changed - self._counted)
        self._counted |= changed
        if not self._is_dry and written:
            await self._replace(written, old, placements, known, thinking)
        return written, moved

    def _may_be_written(self, family: Family, old: WholeRuns, known: dict[UUID, Known]) -> bool:
        """All its calls can be thought about, are settled, and there is nothing else in its runs and sessions."""
        its_runs = {
            run_id
            for run_id, run in old.runs.items()
            if run_id in family.run_ids or run.session_id in family.session_ids
        }
        if {known[call_id].run_id for call_id in family.calls} - its_runs:
            return False  # deleted meanwhile
        stored = {call_id for call_id, (run_id, _) in old.calls.items() if run_id in its_runs}
        told = {step.call_id for run_id in its_runs for step in old.steps.get(run_id, ())}
        if not (stored | told) <= family.calls or not its_runs <= family.run_ids:
            return False
        mine = [known[call_id] for call_id in family.calls]
        return all(each.is_whole and each.ended_at_us < self._until_us for each in mine)

    async def _replace(
        self,
        families: Sequence[Family],
        old: WholeRuns,
        placements: Sequence[Placement],
        known: dict[UUID, Known],
        thinking: Thinking,
    ) -> None:
        """ClickHouse first: what it was told without Postgres it is told again by the next attempt."""
        mine = set().union(*(family.run_ids for family in families))
        changes = _changes(placements, old, thinking)
        moved = [_moved(each) for each in placements if _place(each) != known[each.call_id].place]
        for params in move_params(moved):
            await self._events.execute(self._move_sql, params)
        new_costs = {
            id_: thinking.new_costs[id_] for id_ in map(_call_id, placements) if id_ in thinking.new_costs
        }
        for params in reprice_params(self._project_id, new_costs):
            await self._events.execute(self._reprice_sql, params)
        crash_points.reach("backfill.after_events")
        histories = await histories_of(changes, self._runs)
        flags = {
            key: find_flags(run, changes.all_steps[key], self._thresholds, histories.get(key, ()))
            for key, run in _by_key(changes.runs)
        }
        explanations = {
            key: explain(run, changes.all_steps[key], flags[key]) for key, run in _by_key(changes.runs)
        }
        await self.rows.replace(_only(old, mine), changes, flags, explanations)
        crash_points.reach("backfill.after_runs")


def families_of(
    known: Mapping[UUID, Known], sessions: Mapping[str, str], placements: Mapping[UUID, Placement]
) -> list[Family]:
    """All calls, in families. `sessions`: of the runs as they are stored."""
    by_name: dict[tuple[str, str], Family] = {}
    families: dict[int, Family] = {}
    for call_id, each in known.items():
        new_run, new_session, _ = _place(placements[call_id])
        runs = {name for name in (each.run_id, new_run) if name is not None}
        of_sessions = {name for name in (sessions.get(each.run_id), new_session) if name is not None}
        names = [("run", name) for name in runs] + [("session", name) for name in of_sessions]
        joined = {id(by_name[name]): by_name[name] for name in names if name in by_name}
        family = max(joined.values(), key=lambda one: len(one.calls), default=Family())
        for other in joined.values():
            if other is not family:
                family.calls |= other.calls
                family.run_ids |= other.run_ids
                family.session_ids |= other.session_ids
                del families[id(other)]
                by_name.update({("run", name): family for name in other.run_ids})
                by_name.update({("session", name): family for name in other.session_ids})
        families[id(family)] = family
        family.calls.add(call_id)
        family.run_ids |= runs
        family.session_ids |= of_sessions
        by_name.update(dict.fromkeys(names, family))
    return list(families.values())


def _batches(families: Iterable[Family]) -> Iterator[list[Family]]:
    """Few transactions for many small families."""
    batch: list[Family] = []
    for family in families:
        batch.append(family)
        if sum(len(each.calls) for each in batch) >= WRITTEN_AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def _changes(placements: Sequence[Placement], old: WholeRuns, thinking: Thinking) -> RunChanges:
    """Of these calls' runs, all rows that both stores are to hold."""
    keys = sorted({(each.project_id, each.run_id) for each in placements if each.run_id is not None})
    steps = {key: _as_occurred(thinking.steps[key], old) for key in keys}
    return RunChanges(
        runs=tuple(thinking.runs[key] for key in keys),
        steps=tuple((*key, step) for key in keys for step in steps[key]),
        all_steps=steps,
        placements=tuple(placements),
    )


def _as_occurred(steps: Sequence[Step], old: WholeRuns) -> tuple[Step, ...]:
    """With the marks by which later calls know user messages again: of what was redacted only the recorder, which
    saw the words, could make them."""
    known: dict[tuple[UUID | None, str], set[str]] = {}
    for step in (step for of_run in old.steps.values() for step in of_run if step.occurrence is not None):
        known.setdefault((step.call_id, step.summary), set()).add(step.occurrence or "")

    def as_before(step: Step) -> Step:
        marks = known.get((step.call_id, step.summary), set())
        return replace(step, occurrence=next(iter(marks))) if step.occurrence and len(marks) == 1 else step

    return tuple(map(as_before, steps))


def _only(old: WholeRuns, run_ids: set[str]) -> WholeRuns:
    return WholeRuns(
        {run_id: run for run_id, run in old.runs.items() if run_id in run_ids},
        {run_id: steps for run_id, steps in old.steps.items() if run_id in run_ids},
        {call_id: each for call_id, each in old.calls.items() if each[0] in run_ids},
    )


def _place(placement: Placement) -> Place:
    """As the stores write it."""
    ids = (placement.run_id, placement.session_id, placement.parent_run_id)
    run_id, session_id, parent_run_id = map(views.optional_key, ids)
    return run_id, session_id, parent_run_id


def _moved(placement: Placement) -> Moved:
    run_id, session_id, parent_run_id = _place(placement)
    return Moved(placement.call_id, placement.project_id, run_id or "", session_id or "", parent_run_id)


def _call_id(placement: Placement) -> UUID:
    return placement.call_id


def _by_key(runs: Iterable[Run]) -> list[tuple[RunKey, Run]]:
    return [((run.project_id, run.run_id), run) for run in runs]
