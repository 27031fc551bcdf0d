"""CONDUCTOR of the core: records -> decode -> price -> redact -> sessionize -> flags and explanations.

The order of the pure stages, and what becomes of a record that one of them fails on. Same records, same state of
the sessionizer, same time: same thoughts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from uuid import UUID

import structlog

from watchllm_proxy import setting_aside
from watchllm_proxy.capture.merge import Batch, MergedRecord
from watchllm_proxy.decode import KnownMessages, decode, settlement_of
from watchllm_proxy.enrich.flags import DEFAULT_THRESHOLDS, Thresholds, chosen, find_flags
from watchllm_proxy.enrich.tokens import estimate_usage
from watchllm_proxy.enrich.withhold import withhold_content
from watchllm_proxy.errors import StoreRejected
from watchllm_proxy.histories import Histories
from watchllm_proxy.ingest.tellings import Telling, tellings
from watchllm_proxy.insights.explain import explain
from watchllm_proxy.patience import Stopping
from watchllm_proxy.pricing import Pricing
from watchllm_proxy.recorder_stats import RecorderStats
from watchllm_proxy.records import (
    Call,
    Exchange,
    Explanation,
    Flag,
    Placement,
    Report,
    ReportedEvent,
    RunChanges,
    Settlement,
)
from watchllm_proxy.redacting import Redacting
from watchllm_proxy.reporting import Reported, joined
from watchllm_proxy.sessionize import Sessionizer
from watchllm_proxy.spending import spending_of
from watchllm_proxy.store.postgres import DeadLetter, Tally
from watchllm_proxy.store.usage import Spending

log = structlog.get_logger(__name__)

RunKey = tuple[str, str]
"""(project_id, run_id)"""

_NONE: Mapping[UUID, str] = MappingProxyType({})

Flags = dict[RunKey, tuple[Flag, ...]]
Explanations = dict[RunKey, tuple[Explanation, ...]]


@dataclass(frozen=True, slots=True)
class Thought:
    """What thinking about a batch gave: everything that the two stores are to hold."""

    calls: tuple[tuple[Call, Placement], ...]
    dead_letters: tuple[DeadLetter, ...]
    changes: RunChanges
    flags: Flags = field(default_factory=dict)
    explanations: Explanations = field(default_factory=dict)
    tallies: dict[str, Tally] = field(default_factory=dict)  # by log
    settlements: tuple[Settlement, ...] = ()  # of calls of this batch, or stored before
    spending: Spending = field(default_factory=Spending)
    events: tuple[ReportedEvent, ...] = ()  # that clients told of
    displaced: tuple[RunKey, ...] = ()  # reported runs that stand under another id from now on
    redacted_in_reports: tuple[tuple[str, int], ...] = ()  # values, by kind

    @classmethod
    def of_nothing_but(cls, letter: DeadLetter, batch: Batch) -> Thought:
        """The one record of this batch was set aside."""
        return cls((), (letter,), RunChanges(), tallies=setting_aside.tallies(batch, [letter]))

    @classmethod
    def of_time(cls, changes: RunChanges) -> Thought:
        """Time passed, and no records came."""
        return cls((), (), changes)

    def with_reported(self, reported: Reported) -> Thought:
        """Runs that were told of are runs like any others."""
        return replace(
            self,
            changes=joined(self.changes, reported.changes),
            events=reported.events,
            displaced=reported.displaced,
            redacted_in_reports=reported.redacted,
        )


@dataclass(frozen=True, slots=True)
class Understood:
    """A batch before anybody asks which runs its calls belong to."""

    batch: Batch
    calls: tuple[tuple[MergedRecord, Call], ...]
    dead_letters: tuple[DeadLetter, ...]
    settlements: tuple[Settlement, ...] = ()
    reports: tuple[tuple[Report, tuple[Telling, ...]], ...] = ()


class Thinker:
    """`redacting` None: everything is stored as it was."""

    def __init__(
        self,
        stats: RecorderStats,
        pricing: Pricing,
        *,
        keep_raw: bool = False,
        redacting: Redacting | None = None,
    ) -> None:
        self._stats = stats
        self._keep_raw = keep_raw
        self._pricing = pricing
        self._redacting = redacting
        self._known_messages = KnownMessages()

    def forget(self) -> None:
        """What is remembered of earlier batches may be gone from the stores."""
        self._known_messages = KnownMessages()

    def understand(self, batch: Batch) -> Understood:
        """Decode, price and redact each record; one that cannot be is set aside and holds up nothing.

        From here on there is nothing in a call that may not be stored (decision 0160).
        """
        calls: list[tuple[MergedRecord, Call]] = []
        dead: list[DeadLetter] = []
        settlements: list[Settlement] = []
        reports: list[tuple[Report, tuple[Telling, ...]]] = []
        for record in batch.records:
            if record.exchange is None and record.report is None:
                dead.append(self.as_kept(setting_aside.unreadable(record), record))
                continue
            try:
                if record.exchange is None:
                    reports.append(self._told(record.report))
                    continue
                call = decode(record.exchange, keep_raw=self._keep_raw, known=self._known_messages)
                call = self._pricing.priced(estimate_usage(call))
                if self._redacting is not None:
                    call = self._redacting.call(call)
                calls.append((record, withhold_content(call)))
                if (told := settlement_of(record.exchange)) is not None:
                    settlements.append(told)
            except Exception as exc:
                dead.append(self.as_kept(setting_aside.crashed(record, exc), record))
        return Understood(batch, tuple(calls), tuple(dead), tuple(settlements), tuple(reports))

    def _told(self, report: Report | None) -> tuple[Report, tuple[Telling, ...]]:
        """As it may be stored."""
        assert report is not None  # noqa: S101 - a record that can be read is one of the two
        redacting = self._redacting
        if redacting is None:
            return report, tuple(tellings(report, lambda document: (document, ())))
        report = redacting.report(report)
        return report, tuple(tellings(report, partial(redacting.document, project_id=report.project_id)))

    def place(
        self, understood: Understood, sessionizer: Sessionizer, runs_of_settled: Mapping[UUID, str] = _NONE
    ) -> Thought:
        """Give each call its run. Touches nothing but the sessionizer's state, which asks its shelf for runs.

        `runs_of_settled`: the run of each call that a settlement is about, as far as it is stored.
        """
        now_us = understood.batch.bounds.now_us
        sessionizer.bring(call for _, call in understood.calls)
        placed: list[tuple[Call, Placement]] = []
        paid: list[tuple[Exchange | None, Call]] = []
        dead = list(understood.dead_letters)
        for record, call in understood.calls:
            try:
                placed.append((call, sessionizer.observe(call, now_us)))
                paid.append((record.exchange, call))
            except (Stopping, StoreRejected):
                raise  # the record is not to blame
            except Exception as exc:
                dead.append(self.as_kept(setting_aside.crashed(record, exc), record))
        for told in understood.settlements:
            sessionizer.settle(told, runs_of_settled.get(told.call_id))
        sessionizer.tick(now_us)
        changes = sessionizer.drain()
        final = {placement.call_id: placement for placement in changes.placements}
        return Thought(
            tuple((call, final.get(call.call_id, placement)) for call, placement in placed),
            tuple(dead),
            changes,
            tallies=setting_aside.tallies(understood.batch, dead),
            settlements=understood.settlements,
            spending=spending_of(paid, understood.settlements),
        )

    def with_insights(self, thought: Thought, histories: Histories) -> Thought:
        """With what is worth a look in the runs that changed, captured or told of."""
        flags, explanations = self.insights(thought.changes, histories)
        return replace(thought, flags=flags, explanations=explanations)

    def insights(self, changes: RunChanges, histories: Histories) -> tuple[Flags, Explanations]:
        """A bug here costs a run its flags, never its calls. `histories`: `histories_of` these changes."""
        flags: Flags = {}
        explanations: Explanations = {}
        for run in changes.runs:
            key = (run.project_id, run.run_id)
            steps = changes.all_steps[key]
            flags[key], explanations[key] = (), ()
            try:
                flags[key] = find_flags(run, steps, self._thresholds(run.project_id), histories.get(key, ()))
                explanations[key] = explain(run, steps, flags[key])
            except Exception as exc:
                self._stats.insight_crashes += 1
                log.error("recorder.insight_crashed", error=type(exc).__name__, exc_info=exc)
        return flags, explanations

    def _thresholds(self, project_id: str) -> Thresholds:
        settings = None if self._redacting is None else self._redacting.settings.get(project_id)
        return DEFAULT_THRESHOLDS if settings is None else chosen(dict(settings.flag_thresholds))

    def as_kept(self, letter: DeadLetter, record: MergedRecord) -> DeadLetter:
        """With no bytes but those that may be stored."""
        return letter if self._redacting is None else self._redacting.dead_letter(letter, record)
