"""The JSON shapes of runs, steps and calls. Pure: records in, plain values out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from uuid import UUID

from watchllm_proxy.console.answers import raw_json
from watchllm_proxy.console.api.told import (
    cache_hit_of,
    meta_of,
    redacted_of,
    token_cost_of,
    told_of_run,
    told_of_step,
)
from watchllm_proxy.console.formats import instant
from watchllm_proxy.console.labels import link_sentence, redaction_note
from watchllm_proxy.console.loading import LoadedRun
from watchllm_proxy.console.reading import RedactedCalls
from watchllm_proxy.insights import costs
from watchllm_proxy.insights.caching import CacheBreak
from watchllm_proxy.insights.carried import NO_COST
from watchllm_proxy.insights.spending import Spending
from watchllm_proxy.records import CarriedOut, Explanation, Flag, FlagKind, Link, Run, Step, Usage
from watchllm_proxy.store.shapes import CallDetail, CallRow, RunList, RunQuery, RunRow

Json = dict[str, object]


def run_list(found: RunList, query: RunQuery) -> Json:
    return {
        "runs": [run_summary(row) for row in found.rows],
        "total": found.total,
        "is_total_exact": found.is_total_exact,
        "has_more": query.offset + len(found.rows) < found.total,
        "limit": query.limit,
        "offset": query.offset,
    }


def run_summary(row: RunRow) -> Json:
    run = row.run
    return {
        "run_id": run.run_id,
        "agent_name": run.agent_name,
        "agent_version": run.agent_version,
        "started_at": instant(run.started_at_us),
        "ended_at": instant(run.ended_at_us),
        "status": run.status,
        "duration_ms": duration_ms(run),
        "total_cost_usd": run.total_cost_usd,
        "total_steps": run.total_steps,
        "error_count": run.error_count,
        "flags_count": len(row.flags),
        "has_warnings": any(flag.severity != "info" for flag in row.flags),
        "title": run.title,
    }


def duration_ms(run: Run) -> int:
    """Of a run that has not ended: up to its last activity."""
    return max(0, (run.ended_at_us or run.last_activity_at_us) - run.started_at_us) // 1000


def debug_document(loaded: LoadedRun) -> Json:
    run = loaded.run
    summary = {
        "run_id": run.run_id,
        "agent_name": run.agent_name,
        "agent_version": run.agent_version,
        "session_id": run.session_id,
        "parent_run_id": run.parent_run_id,
        "title": run.title,
        "started_at": instant(run.started_at_us),
        "ended_at": instant(run.ended_at_us),
        "status": run.status,
        "duration_ms": duration_ms(run),
        "total_steps": run.total_steps,
        "error_count": run.error_count,
        "cost": _cost(loaded),
        "flags": [_flag(flag) for flag in loaded.flags],
        "meta": {
            "user_id": run.user_id,
            "tags": dict(run.tags),
            "total_calls": run.total_calls,
            **meta_of(run),
        },
        "reported": told_of_run(run),
        "links": _call_links(loaded.links),
        "corrections": [_correction(each) for each in loaded.corrections],
        "redacted": dict(loaded.redacted_values) if loaded.is_redaction_known else None,
        "redaction_note": redaction_note(loaded.redacted_values),
    }
    explanations = {e.step_index: e for e in loaded.explanations}
    flags = _flags_by_step(loaded.flags)
    steps = [
        {
            **_step(step, run, flags.get(step.step_index, ()), explanations.get(step.step_index)),
            "redacted": _redacted(step, loaded.redacted),
            **_carried(step, loaded.spending),
        }
        for step in loaded.steps
    ]
    return {
        "debug": {"summary": summary, "steps": steps, "children": [run_summary(row) for row in loaded.children]}
    }


def _cost(loaded: LoadedRun) -> Json:
    """The run's own total, and where it went by the steps and by what its messages cost."""
    report = costs.report(loaded.steps, loaded.spending)
    carried = loaded.spending.carried if loaded.spending else None
    return {
        "total_cost_usd": loaded.run.total_cost_usd,
        "wasted_spend_usd": report.wasted_spend_usd,
        "amount_saved_usd": report.amount_saved_usd,
        "potential_savings_usd": report.potential_savings_usd,
        "cache_hit_rate": report.cache_hit_rate,
        "unpriced_calls": loaded.run.unpriced_calls,
        "breakdown": {
            "tool_calls_cost": report.breakdown.tool_calls_cost,
            "model_responses_cost": report.breakdown.model_responses_cost,
            "retries_cost": report.breakdown.retries_cost,
        },
        "direct_cost_usd": carried.direct_usd if carried else None,
        "carried_cost_usd": carried.carried_usd if carried else None,
        "is_split_estimated": carried.is_split_estimated if carried else None,
        "cache_breaks": [_cache_break(each, loaded) for each in loaded.spending.breaks] if loaded.spending else [],
    }


def _cache_break(broke: CacheBreak, loaded: LoadedRun) -> Json:
    return {
        "call_id": broke.call_id,
        "previous_call_id": broke.previous_call_id,
        "step_index": next(
            (s.step_index for s in loaded.steps if s.is_priced and s.call_id == broke.call_id), None
        ),
        "tokens_lost": broke.tokens_lost,
        "usd_lost": broke.usd_lost,
        "message_index": broke.message_index,
        "character": broke.character,
        "role": broke.previous.role if broke.previous else None,
    }


def _flag(flag: Flag) -> Json:
    return {
        "kind": flag.kind,
        "message": flag.message,
        "step_indexes": flag.step_indexes,
        "severity": flag.severity,
    }


def _correction(done: CarriedOut) -> Json:
    return {
        "correction_id": done.correction.correction_id,
        "kind": done.correction.kind,
        "at": instant(done.correction.at_us),
        "run_id": done.correction.run_id,
        "to_run_id": done.to_run_id,
        "call_ids": done.call_ids,
    }


def link_of(link: Link) -> Json:
    return {
        "kind": link.kind,
        "sentence": link_sentence(link),
        "value": link.value,
        "confidence": link.confidence,
        "to_call_id": link.to_call_id,
        "to_step_index": link.to_step_index,
    }


def _call_links(links: Mapping[UUID, Sequence[Link]]) -> list[Json]:
    return [{"call_id": call_id, **link_of(link)} for call_id, found in links.items() for link in found]


def _flags_by_step(flags: Sequence[Flag]) -> dict[int, tuple[FlagKind, ...]]:
    kinds: defaultdict[int, dict[FlagKind, None]] = defaultdict(dict)
    for flag in flags:
        for index in flag.step_indexes:
            kinds[index][flag.kind] = None
    return {index: tuple(found) for index, found in kinds.items()}


def _step(step: Step, run: Run, flags: Sequence[FlagKind], explanation: Explanation | None) -> Json:
    """A step that carries no call's figures costs nothing of its own: 0, not unknown."""
    total_usd = run.total_cost_usd
    return {
        "step_index": step.step_index,
        "timestamp": instant(step.started_at_us),
        "type": step.type,
        "summary": step.summary,
        "decision": step.decision,
        "tool": step.tool,
        "tool_args": raw_json(step.tool_args),
        "tool_output_summary": step.tool_output_summary,
        "token_cost": _token_cost(step),
        "api_cost_usd": step.cost_usd if step.is_priced else Decimal(0),
        "cache_hit": _cache_hit(step),
        "duration_ms": _ms(step.duration_us),
        "cost_percentage": costs.cost_percentage(step, total_usd) if step.is_priced else 0,
        "is_expensive": costs.is_expensive(step, total_usd),
        "why_explanation": explanation.text if explanation else None,
        "explain_confidence": explanation.confidence if explanation else None,
        "explain_source": explanation.source if explanation else None,
        "explain_rules_matched": explanation.rules_matched if explanation else (),
        "flags": flags,
        "call_id": step.call_id,
        "model": step.model,
        "input_tokens": step.input_tokens,
        "output_tokens": step.output_tokens,
        "cache_read_input_tokens": step.cache_read_input_tokens,
        "time_to_first_token_ms": _ms(step.time_to_first_token_us),
        "is_duration_inferred": step.is_duration_inferred,
        "is_tool_error": step.is_tool_error,
        "http_status": step.http_status,
        "error_type": step.error_type,
        "error_message": step.error_message,
        "reported": told_of_step(step),
    }


def _carried(step: Step, spending: Spending | None) -> Json:
    """What the messages cost that the step brought up; of all steps it adds up to the run's total."""
    cost = None if spending is None else spending.carried.steps.get(step.step_index, NO_COST)
    return {
        "direct_cost_usd": cost.direct_usd if cost else None,
        "carried_cost_usd": cost.carried_usd if cost else None,
        "carried_times": cost.carried_times if cost else None,
    }


def _redacted(step: Step, calls: RedactedCalls | None) -> Json | None:
    """In the call of the step, its request and its answer, or in what was told of the step; null is not known."""
    if step.reported is not None:
        return dict(redacted_of(step))
    if calls is None or step.call_id is None:
        return None
    return dict(calls.get(step.call_id, ()))


def _ms(duration_us: int | None) -> int | None:
    return None if duration_us is None else duration_us // 1000


def _token_cost(step: Step) -> int | None:
    if not step.is_priced:
        return 0
    if (told := token_cost_of(step)) is not None:
        return told
    if step.input_tokens is None and step.output_tokens is None:
        return None
    return (step.input_tokens or 0) + (step.output_tokens or 0)


def _cache_hit(step: Step) -> bool | None:
    if (told := cache_hit_of(step)) is not None:
        return told
    if not step.is_priced:
        return False
    return None if step.cache_read_input_tokens is None else step.cache_read_input_tokens > 0


def call_row(row: CallRow) -> Json:
    return {
        "call_id": row.call_id,
        "run_id": row.run_id,
        "api": row.api,
        "method": row.method,
        "target": row.target,
        "started_at": instant(row.started_at_us),
        "duration_ms": row.duration_us // 1000,
        "http_status": row.http_status,
        "end": row.end,
        "agent_name": row.agent_name,
        "request_model": row.request_model,
        "response_model": row.response_model,
        "usage": usage_of(row.usage),
        "cost_usd": row.cost.usd,
        "cost_source": row.cost.source,
        "error": {"type": row.error.type, "message": row.error.message, "code": row.error.code}
        if row.error
        else None,
    }


def usage_of(usage: Usage) -> Json:
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "cache_read_input_tokens": usage.cache_read_input_tokens,
        "cache_creation_input_tokens": usage.cache_creation_input_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "is_estimated": usage.is_estimated,
    }


def call_document(call: CallDetail) -> Json:
    row = call.row
    first_us = call.time_to_first_token_us
    return {
        "call": {
            **call_row(row),
            "provider_name": call.provider_name,
            "is_stream": call.is_stream,
            "finish_reasons": call.finish_reasons,
            "response_id": call.response_id,
            "user_agent": call.user_agent,
            "price_provider": row.cost.price_provider,
            "price_date": row.cost.price_date,
            "timing": {
                "started_at": instant(row.started_at_us),
                "ended_at": instant(row.started_at_us + row.duration_us),
                "duration_ms": row.duration_us // 1000,
                "time_to_first_token_ms": None if first_us is None else first_us // 1000,
            },
            "request_bytes": call.request_bytes,
            "response_bytes": call.response_bytes,
            "request": raw_json(call.request),
            "answer": raw_json(call.answer),
            "response_metadata": raw_json(call.response_metadata),
            "opaque_reason": call.opaque_reason,
            "is_truncated": call.is_truncated,
            "redacted": dict(call.redacted),
            "redaction_note": redaction_note(call.redacted),
            "links": [link_of(link) for link in call.links],
        }
    }
