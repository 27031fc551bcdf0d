"""CONDUCTOR of reports, behind the log: what was told now, with what was told before -> runs, steps and events.

What was told of a run stands in its rows, so the state is that of the last commit, and a batch that is taken again
after a crash gives the same. A run that was captured keeps its id: one that was reported under the same id stands
beside it, as its child `<id>~reported` (decision 0170).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from watchllm_proxy.ingest.events import reported_event
from watchllm_proxy.ingest.runs import MADE_OF_EVENTS, ToldRun, make_run, told_of
from watchllm_proxy.ingest.tellings import EventTelling, RunTelling, Telling
from watchllm_proxy.patience import Patience
from watchllm_proxy.pricing import Pricing
from watchllm_proxy.records import TOLD_BESIDE, Explanation, Flag, Report, ReportedEvent, Run, RunChanges, Step
from watchllm_proxy.store import views
from watchllm_proxy.store.postgres import RunStore

RunKey = tuple[str, str]
"""(project_id, run_id)"""

Insights = Callable[[RunChanges], tuple[dict[RunKey, tuple[Flag, ...]], dict[RunKey, tuple[Explanation, ...]]]]
Reports = Sequence[tuple[Report, Sequence[Telling]]]


@dataclass(frozen=True, slots=True)
class Reported:
    """What the reports of a batch come to. `displaced`: reported runs that stand under another id from now on."""

    changes: RunChanges = field(default_factory=RunChanges)
    events: tuple[ReportedEvent, ...] = ()
    displaced: tuple[RunKey, ...] = ()
    redacted: tuple[tuple[str, int], ...] = ()  # what was taken out of them, by kind


class Reporting:
    """For one batch at a time."""

    def __init__(self, runs: RunStore, pricing: Pricing, patience: Patience) -> None:
        self._runs = runs
        self._pricing = pricing
        self._patience = patience

    async def reported(self, reports: Reports, captured: Iterable[Run]) -> Reported:
        """`captured`: the runs that calls of the same batch changed."""
        told = _by_run(reports)
        captured_keys = {(views.key(run.project_id), views.key(run.run_id)) for run in captured}
        if not reports and not captured_keys:
            return Reported()
        displaced = await self._patience.on_postgres(partial(self._runs.reported_among, sorted(captured_keys)))
        keys = sorted(told.keys() | displaced)
        wanted = [*keys, *map(beside, keys)]
        stored = await self._patience.on_postgres(partial(self._runs.load_any_runs, wanted)) if keys else {}
        made = [self._made(key, told.get(key, ()), stored, captured_keys) for key in keys]
        return Reported(
            changes=RunChanges(
                runs=tuple(run for run, _, _ in made),
                steps=tuple((run.project_id, run.run_id, step) for run, _, changed in made for step in changed),
                all_steps={(run.project_id, run.run_id): steps for run, steps, _ in made},
            ),
            events=tuple(self._events(reports)),
            displaced=tuple(sorted(displaced)),
            redacted=_redacted(reports),
        )

    def _made(
        self,
        key: RunKey,
        tellings: Sequence[Telling],
        stored: dict[RunKey, tuple[Run, tuple[Step, ...]]],
        captured: set[RunKey],
    ) -> tuple[Run, tuple[Step, ...], list[Step]]:
        """The run, its steps, and those of them that changed."""
        project_id, run_id = key
        is_taken = key in captured or (key in stored and stored[key][0].reported is None)
        target = beside(key) if is_taken else key
        before = [each for each in (stored.get(beside(key)), stored.get(key)) if each and each[0].reported]
        told = _told(before, tellings)
        run, steps = make_run(
            project_id,
            target[1],
            told,
            partial(self._pricing.of_report, project_id),
            parent_run_id=run_id if is_taken else None,
        )
        known = set(stored[target][1]) if target in stored else set()
        return run, steps, [step for step in steps if step not in known]

    def _events(self, reports: Reports) -> Iterable[ReportedEvent]:
        for report, tellings in reports:
            price = partial(self._pricing.of_report, report.project_id)
            for telling in tellings:
                if isinstance(telling, EventTelling):
                    yield reported_event(report.project_id, telling, price)


def _redacted(reports: Reports) -> tuple[tuple[str, int], ...]:
    counts: Counter[str] = Counter()
    for telling in (telling for _, tellings in reports for telling in tellings):
        for some in telling.counts():
            counts.update(some)
    return tuple(sorted(counts.items()))


def beside(key: RunKey) -> RunKey:
    """Where a reported run stands whose id is that of a captured one."""
    project_id, run_id = key
    return project_id, views.key(f"{run_id}{TOLD_BESIDE}")


def joined(captured: RunChanges, reported: RunChanges) -> RunChanges:
    """The changes of both. No run is in both."""
    return replace(
        captured,
        runs=(*captured.runs, *reported.runs),
        steps=(*captured.steps, *reported.steps),
        all_steps={**captured.all_steps, **reported.all_steps},
    )


def _by_run(reports: Reports) -> dict[RunKey, list[Telling]]:
    """What was told of each run, in order. Events of other types tell of a run, but make none."""
    told: defaultdict[RunKey, list[Telling]] = defaultdict(list)
    for report, tellings in reports:
        for telling in tellings:
            run_id = telling.run_id
            if isinstance(telling, EventTelling) and telling.event_type not in MADE_OF_EVENTS:
                continue
            if run_id is not None:
                told[views.key(report.project_id), views.key(run_id)].append(telling)
    return dict(told)


def _told(before: Sequence[tuple[Run, tuple[Step, ...]]], tellings: Sequence[Telling]) -> ToldRun:
    known = [told_of(run, steps) for run, steps in before]
    told = known[0] if known else ToldRun(min(telling.at_us for telling in tellings))
    for more in known[1:]:
        told = told.with_all(more)
    for telling in tellings:
        told = told.with_run(telling) if isinstance(telling, RunTelling) else told.with_event(telling)
    return told
