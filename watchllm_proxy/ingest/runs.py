"""All that was told of a run -> the run and its steps. Pure, and the same whatever came first.

A run is told by reports of it, by events that carry its id, or by both. Steps that were reported keep the index
that they were told under; events (`agent_step`, `prompt_call`) follow them in order of time. So nothing depends on
the order in which they arrive, except that of two tellings of one field, step or event the newer one wins.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from decimal import Decimal

import msgspec

from watchllm_proxy.ingest.making import Priced, event_at_us, event_step, reported_step, text_of
from watchllm_proxy.ingest.shapes import AgentStep, Change, PromptCall
from watchllm_proxy.ingest.tellings import Counts, EventTelling, Fields, Kept, RunTelling, document_of, fields_of
from watchllm_proxy.records import Run, RunStatus, Step, StepType, record

MADE_OF_EVENTS = frozenset({"agent_step", "prompt_call"})
"""Event types of which a run is made."""

_ZERO = Decimal(0)


@record
class ToldRun:
    """Everything that was told of a run so far. `first_at_us`: when the first of it was taken."""

    first_at_us: int
    fields: Fields = field(default_factory=dict)
    redacted: dict[str, Counts] = field(default_factory=dict)  # what was taken out of each of the fields
    steps: dict[int, Kept] = field(default_factory=dict)
    events: dict[str, Kept] = field(default_factory=dict)

    def with_run(self, telling: RunTelling) -> ToldRun:
        """What is told anew replaces what was told before: field by field of the run, a step as a whole."""
        return replace(
            self,
            first_at_us=min(self.first_at_us, telling.at_us),
            fields={**self.fields, **telling.fields},
            redacted=_newer(self.redacted, telling.redacted, telling.fields),
            steps={**self.steps, **telling.steps},
        )

    def with_all(self, more: ToldRun) -> ToldRun:
        """What `more` tells wins."""
        return ToldRun(
            min(self.first_at_us, more.first_at_us),
            {**self.fields, **more.fields},
            _newer(self.redacted, more.redacted, more.fields),
            {**self.steps, **more.steps},
            {**self.events, **more.events},
        )

    def with_event(self, telling: EventTelling) -> ToldRun:
        return replace(
            self,
            first_at_us=min(self.first_at_us, telling.at_us),
            events={**self.events, telling.event_id: Kept(telling.fields, telling.redacted)},
        )


def _newer(known: dict[str, Counts], told: dict[str, Counts], fields: Fields) -> dict[str, Counts]:
    """A field that is told anew is counted anew."""
    return {name: counts for name, counts in known.items() if name not in fields} | told


def told_of(run: Run, steps: Iterable[Step]) -> ToldRun:
    """As it was stored. Raises for a run that was not reported."""
    known = _RUN_NOTE.decode(run.reported or "")
    told = ToldRun(known.first_at_us, fields_of(known.told), known.redacted)
    for step in steps:
        note = _STEP_NOTE.decode(step.reported or "")
        kept = Kept(fields_of(note.told), note.redacted)
        if note.event_id is None:
            told.steps[step.step_index] = kept
        else:
            told.events[note.event_id] = kept
    return told


def make_run(
    project_id: str, run_id: str, told: ToldRun, price: Priced, *, parent_run_id: str | None = None
) -> tuple[Run, tuple[Step, ...]]:
    """`parent_run_id`: where the client names none."""
    change = _CHANGE.decode(document_of(told.fields))
    steps = _steps(told, price)
    calls = [step for step in steps if step.is_priced]
    costs = [step.cost_usd for step in calls if step.cost_usd is not None]
    events = [_event_of(kept.fields) for kept in told.events.values()]
    first = min(events, key=lambda event: (event.timestamp.isoformat(), event.event_id), default=None)
    ends = [step.started_at_us + (step.duration_us or 0) for step in steps]
    started_at_us = _started_at_us(told, change, steps)
    ended_at_us = None if change.ended_at is None else event_at_us(change.ended_at)
    status = _status(change, ended_at_us)
    last_at_us = max([started_at_us, *ends] if ended_at_us is None else [started_at_us, ended_at_us])
    if ended_at_us is None and status is not RunStatus.RUNNING:
        ended_at_us = last_at_us
    run = Run(
        project_id=project_id,
        run_id=run_id,
        session_id=change.session_id or run_id,
        parent_run_id=change.parent_run_id or parent_run_id,
        agent_name=change.agent_name,
        agent_version=change.agent_version or (first.release if first else None),
        user_id=change.user_id or (first.user_id if first else None),
        title=change.title or _title(steps),
        status=status,
        started_at_us=started_at_us,
        ended_at_us=ended_at_us,
        last_activity_at_us=last_at_us,
        is_agent=True,
        total_steps=len(steps),
        total_calls=len(calls),
        error_count=sum(step.type is StepType.ERROR or step.is_tool_error is True for step in steps),
        input_tokens=sum(step.input_tokens or 0 for step in calls),
        output_tokens=sum(step.output_tokens or 0 for step in calls),
        cache_read_input_tokens=0,
        total_cost_usd=sum(costs, _ZERO) if costs else change.total_cost_usd,
        unpriced_calls=len(calls) - len(costs),
        tags=_tags(first),
        is_explicit=True,
        reported=_note(
            _RunNote(
                told.first_at_us,
                msgspec.Raw(document_of(dict(sorted(told.fields.items())))),
                _in_order(told.redacted),
            )
        ),
    )
    return run, steps


def _started_at_us(told: ToldRun, change: Change, steps: Iterable[Step]) -> int:
    """As told, else with its first step, else when it was first heard of."""
    if change.started_at is not None:
        return event_at_us(change.started_at)
    return min((step.started_at_us for step in steps), default=told.first_at_us)


def _steps(told: ToldRun, price: Priced) -> tuple[Step, ...]:
    steps = [
        replace(reported_step(kept.fields, price), reported=_note(_step_note(kept)))
        for _, kept in sorted(told.steps.items())
    ]
    following = steps[-1].step_index + 1 if steps else 0
    events = [(_event_of(kept.fields), kept) for kept in told.events.values()]
    events.sort(key=lambda each: _order(each[0]))
    for place, (event, kept) in enumerate(events, start=following):
        note = _note(_step_note(kept, event.event_id))
        steps.append(replace(event_step(event, place, price), reported=note))
    return tuple(steps)


def _order(event: AgentStep | PromptCall) -> tuple[int, int, str]:
    number = event.step_number if isinstance(event, AgentStep) else -1
    return event_at_us(event.timestamp), number, event.event_id


def _status(change: Change, ended_at_us: int | None) -> RunStatus:
    if change.status is not None:
        return RunStatus(change.status)
    return RunStatus.RUNNING if ended_at_us is None else RunStatus.COMPLETED


def _title(steps: Iterable[Step]) -> str:
    """What set it off: the user's first words, else the first words at all."""
    said = [step for step in steps if step.summary]
    asked = [step for step in said if step.type is StepType.USER_INPUT]
    return text_of((asked or said)[0].summary, 200) if said else ""


def _tags(first: AgentStep | PromptCall | None) -> tuple[tuple[str, str], ...]:
    if first is None:
        return ()
    release = (("release", first.release),) if first.release else ()
    return (("env", first.env), *release, *((tag, "") for tag in first.tags))


# --- what is kept beside the columns


class _RunNote(msgspec.Struct, omit_defaults=True):
    first_at_us: int
    told: msgspec.Raw
    redacted: dict[str, Counts] = {}


class _StepNote(msgspec.Struct, omit_defaults=True):
    told: msgspec.Raw
    event_id: str | None = None
    redacted: Counts = {}


_RUN_NOTE = msgspec.json.Decoder(_RunNote)
_STEP_NOTE = msgspec.json.Decoder(_StepNote)
_CHANGE = msgspec.json.Decoder(Change)
_EVENT: msgspec.json.Decoder[AgentStep | PromptCall] = msgspec.json.Decoder(AgentStep | PromptCall)


def _step_note(kept: Kept, event_id: str | None = None) -> _StepNote:
    return _StepNote(msgspec.Raw(document_of(kept.fields)), event_id, dict(sorted(kept.redacted.items())))


def _in_order(redacted: Mapping[str, Counts]) -> dict[str, Counts]:
    return {name: dict(sorted(counts.items())) for name, counts in sorted(redacted.items())}


def _note(note: _RunNote | _StepNote) -> str:
    return msgspec.json.encode(note).decode()


def _event_of(fields: Mapping[str, bytes]) -> AgentStep | PromptCall:
    return _EVENT.decode(document_of(fields))
