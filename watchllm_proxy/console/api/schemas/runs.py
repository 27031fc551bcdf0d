"""What a run is, its cost, its steps, its calls, and how a person corrects which belong together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from watchllm_proxy.console.api.schemas.words import (
    ANYTHING,
    BOOLEAN,
    COUNT,
    INSTANT,
    MAYBE_COUNT,
    MAYBE_INSTANT,
    MAYBE_UUID,
    STRING,
    TEXT,
    USD,
    UUID,
    Schema,
    closed,
    list_of,
    one_of,
    or_null,
    ref,
)
from watchllm_proxy.records import (
    Api,
    Confidence,
    CorrectionKind,
    CostSource,
    ExchangeEnd,
    FlagKind,
    LinkKind,
    RunStatus,
    StepType,
)

_REDACTED: Final[Schema] = {
    "type": ["object", "null"],
    "additionalProperties": COUNT,
    "description": "Values put behind tags, by kind: of a step in its call, of a run the most in one.",
}
_CORRECTION: Final = {
    "correction_id": UUID,
    "kind": one_of(CorrectionKind),
    "at": INSTANT,
    "run_id": STRING,
    "to_run_id": TEXT,
    "call_ids": list_of(UUID),
}

_LINK: Final = {
    "kind": one_of(LinkKind),
    "sentence": STRING,
    "value": STRING,
    "confidence": one_of(Confidence),
    "to_call_id": MAYBE_UUID,
    "to_step_index": MAYBE_COUNT,
}
_CALL_ROW: Final = {
    "call_id": UUID,
    "run_id": TEXT,
    "api": one_of(Api),
    "method": STRING,
    "target": STRING,
    "started_at": INSTANT,
    "duration_ms": COUNT,
    "http_status": MAYBE_COUNT,
    "end": one_of(ExchangeEnd),
    "agent_name": TEXT,
    "request_model": TEXT,
    "response_model": TEXT,
    "usage": ref("Usage"),
    "cost_usd": USD,
    "cost_source": one_of(CostSource),
    "error": or_null(closed({"type": STRING, "message": STRING, "code": TEXT})),
}

SCHEMAS: Final[Mapping[str, Schema]] = {
    "RunSummary": closed(
        {
            "run_id": STRING,
            "agent_name": TEXT,
            "agent_version": TEXT,
            "started_at": INSTANT,
            "ended_at": MAYBE_INSTANT,
            "status": one_of(RunStatus),
            "duration_ms": COUNT,
            "total_cost_usd": USD,
            "total_steps": COUNT,
            "error_count": COUNT,
            "flags_count": COUNT,
            "has_warnings": BOOLEAN,
            "title": STRING,
        }
    ),
    "RunList": closed(
        {
            "runs": list_of(ref("RunSummary")),
            "total": COUNT,
            "is_total_exact": BOOLEAN,
            "has_more": BOOLEAN,
            "limit": COUNT,
            "offset": COUNT,
        }
    ),
    "Flag": closed(
        {
            "kind": one_of(FlagKind),
            "message": STRING,
            "step_indexes": list_of(COUNT),
            "severity": {"enum": ["info", "warning", "error"]},
        }
    ),
    "Cost": closed(
        {
            "total_cost_usd": USD,
            "wasted_spend_usd": USD,
            "amount_saved_usd": USD,
            "potential_savings_usd": USD,
            "cache_hit_rate": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
            "unpriced_calls": COUNT,
            "breakdown": closed({"tool_calls_cost": USD, "model_responses_cost": USD, "retries_cost": USD}),
            # What messages cost in the first request that sent them, and in all later ones. The two are the total.
            "direct_cost_usd": USD,
            "carried_cost_usd": USD,
            "is_split_estimated": {"type": ["boolean", "null"]},
            "cache_breaks": list_of(
                closed(
                    {
                        "call_id": UUID,
                        "previous_call_id": UUID,
                        "step_index": MAYBE_COUNT,
                        "tokens_lost": COUNT,
                        "usd_lost": USD,
                        "message_index": MAYBE_COUNT,
                        "character": MAYBE_COUNT,
                        "role": TEXT,
                    }
                )
            ),
        }
    ),
    "Step": closed(
        {
            "step_index": COUNT,
            "timestamp": INSTANT,
            "type": one_of(StepType),
            "summary": STRING,
            "decision": TEXT,
            "tool": TEXT,
            "tool_args": ANYTHING,
            "tool_output_summary": TEXT,
            "token_cost": MAYBE_COUNT,
            "api_cost_usd": USD,
            "cache_hit": {"type": ["boolean", "null"]},
            "duration_ms": MAYBE_COUNT,
            "cost_percentage": {"type": ["number", "null"], "minimum": 0},
            "is_expensive": BOOLEAN,
            "direct_cost_usd": USD,
            "carried_cost_usd": USD,
            "carried_times": MAYBE_COUNT,
            "why_explanation": TEXT,
            "explain_confidence": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
            "explain_source": TEXT,
            "explain_rules_matched": list_of(STRING),
            "flags": list_of(one_of(FlagKind)),
            "call_id": MAYBE_UUID,
            "model": TEXT,
            "input_tokens": MAYBE_COUNT,
            "output_tokens": MAYBE_COUNT,
            "cache_read_input_tokens": MAYBE_COUNT,
            "time_to_first_token_ms": MAYBE_COUNT,
            "is_duration_inferred": BOOLEAN,
            "is_tool_error": {"type": ["boolean", "null"]},
            "http_status": MAYBE_COUNT,
            "error_type": TEXT,
            "error_message": TEXT,
            "redacted": _REDACTED,
            "reported": or_null(
                closed(
                    {
                        "source": {"enum": ["run", "event"]},
                        "event_id": TEXT,
                        "raw": ANYTHING,
                        "context": {"type": "object"},
                    }
                )
            ),
        }
    ),
    "Debug": closed(
        {
            "debug": closed(
                {
                    "summary": closed(
                        {
                            "run_id": STRING,
                            "agent_name": TEXT,
                            "agent_version": TEXT,
                            "session_id": STRING,
                            "parent_run_id": TEXT,
                            "title": STRING,
                            "started_at": INSTANT,
                            "ended_at": MAYBE_INSTANT,
                            "status": one_of(RunStatus),
                            "duration_ms": COUNT,
                            "total_steps": COUNT,
                            "error_count": COUNT,
                            "cost": ref("Cost"),
                            "flags": list_of(ref("Flag")),
                            "meta": {"type": "object"},
                            "reported": or_null(closed({"total_cost_usd": USD, "context": {"type": "object"}})),
                            "links": list_of(closed({"call_id": UUID, **_LINK})),
                            "corrections": list_of(closed({**_CORRECTION, "to_run_id": STRING})),
                            "redacted": _REDACTED,
                            "redaction_note": TEXT,
                        }
                    ),
                    "steps": list_of(ref("Step")),
                    "children": list_of(ref("RunSummary")),
                }
            )
        }
    ),
    "Correction": closed(
        {
            "correction": closed(
                {**_CORRECTION, "status": {"enum": ["carried_out", "waiting"]}, "to_session_id": TEXT}
            )
        }
    ),
    "MergeRequest": closed({"into": {**STRING, "minLength": 1}}),
    "SplitRequest": {
        "type": "object",
        "properties": {"call_id": UUID, "only": {**BOOLEAN, "default": False}},
        "required": ["call_id"],
        "additionalProperties": False,
    },
    "UndoRequest": closed({"correction_id": UUID}),
    "Usage": closed(
        {
            "input_tokens": MAYBE_COUNT,
            "output_tokens": MAYBE_COUNT,
            "total_tokens": MAYBE_COUNT,
            "cache_read_input_tokens": MAYBE_COUNT,
            "cache_creation_input_tokens": MAYBE_COUNT,
            "reasoning_tokens": MAYBE_COUNT,
            "is_estimated": BOOLEAN,
        }
    ),
    "CallRow": closed(_CALL_ROW),
    "CallList": closed({"calls": list_of(ref("CallRow")), "next_after": MAYBE_UUID}),
    "Call": {
        "type": "object",
        "required": ["call"],
        "additionalProperties": False,
        "properties": {
            "files": ref("Files"),
            "call": closed(
                {
                    **_CALL_ROW,
                    "provider_name": TEXT,
                    "is_stream": BOOLEAN,
                    "finish_reasons": list_of(STRING),
                    "response_id": TEXT,
                    "user_agent": TEXT,
                    "price_provider": TEXT,
                    "price_date": TEXT,
                    "timing": closed(
                        {
                            "started_at": INSTANT,
                            "ended_at": INSTANT,
                            "duration_ms": COUNT,
                            "time_to_first_token_ms": MAYBE_COUNT,
                        }
                    ),
                    "request_bytes": COUNT,
                    "response_bytes": COUNT,
                    "request": ANYTHING,
                    "answer": ANYTHING,
                    "response_metadata": ANYTHING,
                    "opaque_reason": TEXT,
                    "is_truncated": BOOLEAN,
                    "redacted": {"type": "object", "additionalProperties": COUNT},
                    "redaction_note": TEXT,
                    "links": list_of(closed(_LINK)),
                }
            ),
        },
    },
}
