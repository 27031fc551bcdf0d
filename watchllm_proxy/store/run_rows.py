"""Records as Postgres rows and back. Pure. Columns stand in the order of `sql/postgres/queries.sql`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from operator import attrgetter
from typing import Any, TypeAlias
from uuid import UUID

import msgspec
import orjson

from watchllm_proxy.records import (
    Anchor,
    BatchBounds,
    Confidence,
    Explanation,
    Flag,
    FlagKind,
    Link,
    LinkKind,
    LogPosition,
    Placement,
    Run,
    RunOutline,
    RunStatus,
    Step,
    StepType,
    record,
)
from watchllm_proxy.store import views

Row: TypeAlias = tuple[object, ...]
Stored: TypeAlias = Mapping[str, Any]
"""A row as the driver gives it: its types are those of sql/postgres/schema.sql, which mypy cannot see."""


@record
class EarlierRun:
    """As much of a run as its agent's later runs are laid beside."""

    run_id: str
    started_at_us: int
    dearest_step_usd: Decimal


def run_row(run: Run, flags: Sequence[Flag], steps: Sequence[Step]) -> Row:
    """`steps`: all of the run."""
    return (
        views.key(run.project_id), views.key(run.run_id), views.key(run.session_id),
        views.optional_key(run.parent_run_id),
        views.optional_key(run.agent_name), views.optional_text(run.agent_version),
        views.optional_key(run.user_id), views.text(run.title), run.status.value,
        views.instant(run.started_at_us), views.optional_instant(run.ended_at_us),
        views.instant(run.last_activity_at_us), run.is_agent,
        views.integer(run.total_steps), views.integer(run.total_calls), views.integer(run.error_count),
        views.bigint(run.input_tokens), views.bigint(run.output_tokens), views.bigint(run.cache_read_input_tokens),
        views.usd(run.total_cost_usd), views.integer(run.unpriced_calls),
        _json(views.names_and_values(run.tags)), _json([_flag_object(flag) for flag in flags]), run.is_explicit,
        run.reported, views.usd(dearest_step_usd(steps)),
    )  # fmt: skip


def dearest_step_usd(steps: Iterable[Step]) -> Decimal | None:
    """What its dearest step cost; None: no step has a price."""
    return max((step.cost_usd for step in steps if step.is_priced and step.cost_usd is not None), default=None)


def run_from(row: Stored) -> Run:
    return Run(
        project_id=row["project_id"],
        run_id=row["run_id"],
        session_id=row["session_id"],
        parent_run_id=row["parent_run_id"],
        agent_name=row["agent_name"],
        agent_version=row["agent_version"],
        user_id=row["user_id"],
        title=row["title"],
        status=RunStatus(row["status"]),
        started_at_us=views.at_us(row["started_at"]),
        ended_at_us=views.optional_at_us(row["ended_at"]),
        last_activity_at_us=views.at_us(row["last_activity_at"]),
        is_agent=row["is_agent"],
        total_steps=row["total_steps"],
        total_calls=row["total_calls"],
        error_count=row["error_count"],
        input_tokens=row["input_tokens"],
        output_tokens=row["output_tokens"],
        cache_read_input_tokens=row["cache_read_input_tokens"],
        total_cost_usd=usd_from(row["total_cost_usd"]),
        unpriced_calls=row["unpriced_calls"],
        tags=tuple((name, value) for name, value in orjson.loads(row["tags"])),
        is_explicit=row["is_explicit"],
        reported=row["reported"],
    )


def outlines_from(columns: Stored) -> list[RunOutline]:
    """By columns, as `anchors_from`."""
    status_of = {status.value: status for status in RunStatus}
    return list(
        map(
            RunOutline,
            columns["project_ids"],
            columns["run_ids"],
            columns["session_ids"],
            map(status_of.__getitem__, columns["statuses"]),
            columns["times"],
            columns["explicit"],
        )
    )


def flags_from(row: Stored) -> tuple[Flag, ...]:
    return tuple(
        Flag(FlagKind(flag["kind"]), flag["message"], tuple(flag["step_indexes"]), flag["severity"])
        for flag in orjson.loads(row["flags"])
    )


def _flag_object(flag: Flag) -> dict[str, object]:
    return {
        "kind": flag.kind.value,
        "message": views.text(flag.message),
        "step_indexes": flag.step_indexes,
        "severity": flag.severity,
    }


def step_row(project_id: str, run_id: str, step: Step) -> Row:
    return (
        views.key(project_id), views.key(run_id), step.step_index, step.type.value,
        views.instant(step.started_at_us), views.optional_bigint(step.duration_us), step.is_duration_inferred,
        views.text(step.summary), step.call_id,
        views.optional_text(step.decision), views.optional_text(step.tool), views.optional_text(step.tool_call_id),
        views.optional_text(step.tool_args), views.optional_text(step.tool_output_summary), step.is_tool_error,
        views.optional_text(step.model),
        views.tokens(step.input_tokens), views.tokens(step.output_tokens),
        views.tokens(step.cache_read_input_tokens),
        views.usd(step.cost_usd), step.is_priced, views.tokens(step.time_to_first_token_us),
        views.optional_integer(step.http_status),
        views.optional_text(step.error_type), views.optional_text(step.error_message), step.occurrence,
        step.reported, views.optional_text(step.finish_reason), views.optional_bigint(step.output_chars),
        step.prompt_hash, views.optional_text(step.offered_tools), views.optional_text(step.contradiction),
    )  # fmt: skip


def step_from(row: Stored) -> Step:
    return Step(
        step_index=row["step_index"],
        type=StepType(row["type"]),
        started_at_us=views.at_us(row["started_at"]),
        duration_us=row["duration_us"],
        is_duration_inferred=row["is_duration_inferred"],
        summary=row["summary"],
        call_id=_optional_uuid(row["call_id"]),
        decision=row["decision"],
        tool=row["tool"],
        tool_call_id=row["tool_call_id"],
        tool_args=row["tool_args"],
        tool_output_summary=row["tool_output_summary"],
        is_tool_error=row["is_tool_error"],
        model=row["model"],
        input_tokens=row["input_tokens"],
        output_tokens=row["output_tokens"],
        cache_read_input_tokens=row["cache_read_input_tokens"],
        cost_usd=usd_from(row["cost_usd"]),
        is_priced=row["is_priced"],
        time_to_first_token_us=row["time_to_first_token_us"],
        http_status=row["http_status"],
        error_type=row["error_type"],
        error_message=row["error_message"],
        occurrence=row["occurrence"],
        reported=row["reported"],
        finish_reason=row["finish_reason"],
        output_chars=row["output_chars"],
        prompt_hash=row["prompt_hash"],
        offered_tools=row["offered_tools"],
        contradiction=row["contradiction"],
    )


_TYPES = {each.value: each for each in StepType}


def step_lines_from(rows: Sequence[Stored]) -> list[Step]:
    """By position: a run has thousands, and a page waits for them."""
    return [
        Step(
            index, _TYPES[kind], at_us, duration_us, inferred, summary, None, decision, tool, None, args, output,
            failed, model, sent, got, None, None if usd is None else Decimal(usd), priced, first_us, None, error,
            message, None, reported,
        )
        for (
            index, kind, at_us, duration_us, inferred, summary, _, decision, tool, _, args, output, failed, model,
            sent, got, _, usd, priced, first_us, _, error, message, _, reported,
        ) in map(_values, rows)
    ]  # fmt: skip


def _values(row: Stored) -> Iterable[Any]:
    """In the order of its columns."""
    return row.values()


def explanation_rows(project_id: str, run_id: str, explanations: Iterable[Explanation]) -> list[Row]:
    rows: list[Row] = []
    ordinals: dict[int, int] = {}
    for each in explanations:
        ordinal = ordinals.get(each.step_index, 0)
        ordinals[each.step_index] = ordinal + 1
        rules = _json([views.text(rule) for rule in each.rules_matched])
        rows.append(
            (
                views.key(project_id),
                views.key(run_id),
                each.step_index,
                ordinal,
                views.text(each.text),
                each.confidence,
                each.source,
                rules,
            )
        )
    return rows


def explanation_from(row: Stored) -> Explanation:
    return Explanation(
        step_index=row["step_index"],
        text=row["explanation"],
        confidence=row["confidence"],
        source=row["source"],
        rules_matched=tuple(orjson.loads(row["rules_matched"])),
    )


def link_rows(placement: Placement) -> list[Row]:
    """None for a call without a run: there is nothing to explain."""
    if placement.run_id is None:
        return []
    project_id, run_id = views.key(placement.project_id), views.key(placement.run_id)
    return [
        (
            project_id,
            placement.call_id,
            ordinal,
            run_id,
            link.kind.value,
            views.text(link.value),
            link.confidence.value,
            link.to_call_id,
            link.to_step_index,
        )
        for ordinal, link in enumerate(placement.links)
    ]


def link_from(row: Stored) -> Link:
    return Link(
        kind=LinkKind(row["kind"]),
        value=row["value"],
        confidence=Confidence(row["confidence"]),
        to_call_id=_optional_uuid(row["to_call_id"]),
        to_step_index=row["to_step_index"],
    )


def steps_by_run(found: Sequence[Stored]) -> dict[str, tuple[Step, ...]]:
    steps: dict[str, list[Step]] = {}
    for row in found:
        steps.setdefault(row["run_id"], []).append(step_from(row))
    return {run_id: tuple(of_run) for run_id, of_run in steps.items()}


def links_by_call(found: Sequence[Stored]) -> dict[UUID, tuple[str, tuple[Link, ...]]]:
    links: dict[UUID, tuple[str, list[Link]]] = {}
    for row in found:
        links.setdefault(uuid_from(row["call_id"]), (row["run_id"], []))[1].append(link_from(row))
    return {call_id: (run_id, tuple(of_call)) for call_id, (run_id, of_call) in links.items()}


def anchor_row(anchor: Anchor) -> Row:
    """The value is kept exactly, not as a view: a later call is compared with it."""
    return (
        views.key(anchor.project_id),
        anchor.kind,
        anchor.value.encode("utf-8", "surrogatepass"),
        views.key(anchor.run_id),
        anchor.call_id,
        anchor.step_index,
        views.instant(anchor.at_us),
        views.key(anchor.session_id),
        anchor.seq,
    )


def anchors_from(chunks: Iterable[Stored]) -> list[Anchor]:
    """In the order in which they were put. By columns, for there may be hundreds of thousands, and a start waits
    for them: nothing here runs in Python for each. Ids that come again and again are held once."""
    once = dict[str, str]().setdefault
    anchors: list[Anchor] = []
    for chunk in chunks:
        projects, kinds, runs, sessions = (
            map(once, chunk[name], chunk[name]) for name in ("project_ids", "kinds", "run_ids", "session_ids")
        )
        values = [value.decode("utf-8", "surrogatepass") for value in chunk["values"]]
        call_ids = _uuids(chunk["call_ids"])
        anchors += map(
            Anchor,
            projects, kinds, values, runs, call_ids, chunk["step_indexes"], chunk["times"], sessions,
            chunk["numbers"],
        )  # fmt: skip
    return sorted(anchors, key=attrgetter("seq"))


def _uuids(texts: Sequence[str]) -> Iterator[UUID]:
    """Made by msgspec, in a tenth of the time that `UUID` takes."""
    distinct = list(dict.fromkeys(texts))
    made = dict(zip(distinct, msgspec.convert(distinct, list[UUID]), strict=True))
    return map(made.__getitem__, texts)


def anchor_from(row: Stored) -> Anchor:
    return Anchor(
        project_id=row["project_id"],
        kind=row["kind"],
        value=row["value"].decode("utf-8", "surrogatepass"),
        run_id=row["run_id"],
        call_id=uuid_from(row["call_id"]),
        step_index=row["step_index"],
        at_us=row["at_us"],
        session_id=row["session_id"],
        seq=row["seq"],
    )


def bounds_json(bounds: BatchBounds) -> str:
    return _json(
        {
            "starts": {name: (at.segment, at.offset_bytes) for name, at in bounds.starts.items()},
            "ends": {name: (at.segment, at.offset_bytes) for name, at in bounds.ends.items()},
            "retried": bounds.retried,
        }
    )


def bounds_from(row: Stored) -> BatchBounds:
    told = orjson.loads(row["bounds"])
    return BatchBounds(
        starts={name: LogPosition(*at) for name, at in told["starts"].items()},
        ends={name: LogPosition(*at) for name, at in told["ends"].items()},
        now_us=row["now_us"],
        retried=tuple(UUID(record_id) for record_id in told.get("retried", ())),
    )


def uuid_from(value: UUID) -> UUID:
    """The driver gives a subclass, which equals a UUID but is none to orjson and to an eye in a log."""
    return UUID(int=value.int)


def _optional_uuid(value: UUID | None) -> UUID | None:
    return None if value is None else uuid_from(value)


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


def usd_from(value: Decimal | None) -> Decimal | None:
    """As Python made it: the twelve places of the column without their empty ones."""
    return None if value is None else value.normalize() + 0
