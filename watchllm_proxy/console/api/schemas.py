"""JSON schemas of our answers. Closed: a field that is not named here is a mistake, and a test finds it."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Final

from watchllm_proxy.console.account import MAX_CAP_USD, MAX_NAME, MAX_REQUESTS_PER_MINUTE, MAX_RETENTION_DAYS
from watchllm_proxy.console.keys import DEFAULT_GRACE_S, MAX_GRACE_S
from watchllm_proxy.console.redaction import MAX_TRIED_CHARACTERS
from watchllm_proxy.enrich.flags.thresholds import CHOICES as FLAG_CHOICES
from watchllm_proxy.enrich.redaction.kinds import RedactionMode
from watchllm_proxy.enrich.redaction.own import MAX_NAME_LETTERS, MAX_PATTERN_CHARACTERS, MAX_RULES
from watchllm_proxy.grants import Scope
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
from watchllm_proxy.sealing import MAX_PROVIDER_KEY_CHARACTERS
from watchllm_proxy.store.plans import Feature
from watchllm_proxy.store.project_settings import OverQuota
from watchllm_proxy.store.projects import PROJECT_ID

Schema = Mapping[str, object]


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(fields: Mapping[str, object]) -> Schema:
    """All fields are always there."""
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _threshold(least: Decimal, most: Decimal, is_whole: bool) -> Schema:
    if is_whole:
        return {"type": "integer", "minimum": int(least), "maximum": int(most)}
    return {"type": "number", "minimum": float(least), "maximum": float(most)}


def _enum(members: type[StrEnum]) -> Schema:
    return {"type": "string", "enum": list(members)}


STRING: Final[Schema] = {"type": "string"}
PROVIDER_KEY_PATTERN: Final = f"^[\\x21-\\x7e]{{1,{MAX_PROVIDER_KEY_CHARACTERS}}}$"
PROJECT_ID_PATTERN: Final = f"^{PROJECT_ID.pattern}$"
TEXT: Final[Schema] = {"type": ["string", "null"]}
BOOLEAN: Final[Schema] = {"type": "boolean"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
MAYBE_COUNT: Final[Schema] = {"type": ["integer", "null"], "minimum": 0}
USD: Final[Schema] = {"type": ["number", "null"], "description": "US dollars; null is not known, 0 is free."}
INSTANT: Final[Schema] = {"type": "string", "format": "date-time"}
MAYBE_INSTANT: Final[Schema] = {"type": ["string", "null"], "format": "date-time"}
UUID: Final[Schema] = {"type": "string", "format": "uuid"}
MAYBE_UUID: Final[Schema] = {"type": ["string", "null"], "format": "uuid"}
_PIECES: Final = _list({"type": "array", "items": STRING, "minItems": 2, "maxItems": 2})
_LIMITS: Final = {
    "requests_per_minute": {"type": ["integer", "null"], "minimum": 1, "maximum": MAX_REQUESTS_PER_MINUTE},
    "monthly_cap_usd": {
        "description": "US dollars; a text of a number is taken to the last digit.",
        "anyOf": [
            {"type": "number", "minimum": 0, "maximum": int(MAX_CAP_USD)},
            {"type": "string", "pattern": r"^\d{1,6}(\.\d{1,12})?$"},
            {"type": "null"},
        ],
    },
}
ANYTHING: Final[Schema] = {"description": "Any JSON, as it was captured."}

_RULES: Final[Schema] = {
    "type": "array",
    "maxItems": MAX_RULES,
    "items": _object(
        {
            "name": {**STRING, "pattern": f"^[a-z]{{1,{MAX_NAME_LETTERS}}}$"},
            "pattern": {**STRING, "maxLength": MAX_PATTERN_CHARACTERS, "description": "RE2."},
        }
    ),
}
_REDACTED: Final[Schema] = {
    "type": ["object", "null"],
    "additionalProperties": COUNT,
    "description": "Values put behind tags, by kind: of a step in its call, of a run the most in one.",
}
_CORRECTION: Final = {
    "correction_id": UUID,
    "kind": _enum(CorrectionKind),
    "at": INSTANT,
    "run_id": STRING,
    "to_run_id": TEXT,
    "call_ids": _list(UUID),
}
_KEY: Final = {
    "key_id": UUID,
    "project_id": STRING,
    "name": STRING,
    "key_prefix": STRING,
    "scopes": _list(_enum(Scope)),
    "is_in_force": BOOLEAN,
    "created_at": INSTANT,
    "expires_at": MAYBE_INSTANT,
    "revoked_at": MAYBE_INSTANT,
    "replaced_by": MAYBE_UUID,
    "requests_per_minute": MAYBE_COUNT,
    "monthly_cap_usd": USD,
}
_LINK: Final = {
    "kind": _enum(LinkKind),
    "sentence": STRING,
    "value": STRING,
    "confidence": _enum(Confidence),
    "to_call_id": MAYBE_UUID,
    "to_step_index": MAYBE_COUNT,
}
_CALL_ROW: Final = {
    "call_id": UUID,
    "run_id": TEXT,
    "api": _enum(Api),
    "method": STRING,
    "target": STRING,
    "started_at": INSTANT,
    "duration_ms": COUNT,
    "http_status": MAYBE_COUNT,
    "end": _enum(ExchangeEnd),
    "agent_name": TEXT,
    "request_model": TEXT,
    "response_model": TEXT,
    "usage": ref("Usage"),
    "cost_usd": USD,
    "cost_source": _enum(CostSource),
    "error": _or_null(_object({"type": STRING, "message": STRING, "code": TEXT})),
}

ALL: Final[Mapping[str, Schema]] = {
    "Error": _object({"error": _object({"message": STRING, "type": STRING, "code": TEXT, "param": TEXT})}),
    "Health": _object({"status": {"const": "ok"}}),
    "Readiness": _object(
        {
            "status": {"enum": ["ok", "degraded", "stopping"]},
            "checks": {
                "type": "object",
                "additionalProperties": {
                    "type": "object",
                    "properties": {
                        "status": {"enum": ["ok", "degraded"]},
                        "detail": STRING,
                        # Of what is away, and tried now and then.
                        "since": INSTANT,
                        "tries": COUNT,
                        "retry_in_s": {"type": "number", "minimum": 0},
                    },
                    "required": ["status"],
                },
            },
        }
    ),
    "RunSummary": _object(
        {
            "run_id": STRING,
            "agent_name": TEXT,
            "agent_version": TEXT,
            "started_at": INSTANT,
            "ended_at": MAYBE_INSTANT,
            "status": _enum(RunStatus),
            "duration_ms": COUNT,
            "total_cost_usd": USD,
            "total_steps": COUNT,
            "flags_count": COUNT,
            "has_warnings": BOOLEAN,
            "title": STRING,
        }
    ),
    "RunList": _object(
        {
            "runs": _list(ref("RunSummary")),
            "total": COUNT,
            "is_total_exact": BOOLEAN,
            "has_more": BOOLEAN,
            "limit": COUNT,
            "offset": COUNT,
        }
    ),
    "Flag": _object(
        {
            "kind": _enum(FlagKind),
            "message": STRING,
            "step_indexes": _list(COUNT),
            "severity": {"enum": ["info", "warning", "error"]},
        }
    ),
    "Cost": _object(
        {
            "total_cost_usd": USD,
            "wasted_spend_usd": USD,
            "amount_saved_usd": USD,
            "potential_savings_usd": USD,
            "cache_hit_rate": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
            "unpriced_calls": COUNT,
            "breakdown": _object({"tool_calls_cost": USD, "model_responses_cost": USD, "retries_cost": USD}),
            # What messages cost in the first request that sent them, and in all later ones. The two are the total.
            "direct_cost_usd": USD,
            "carried_cost_usd": USD,
            "is_split_estimated": {"type": ["boolean", "null"]},
            "cache_breaks": _list(
                _object(
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
    "Step": _object(
        {
            "step_index": COUNT,
            "timestamp": INSTANT,
            "type": _enum(StepType),
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
            "explain_rules_matched": _list(STRING),
            "flags": _list(_enum(FlagKind)),
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
            "reported": _or_null(
                _object(
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
    "Debug": _object(
        {
            "debug": _object(
                {
                    "summary": _object(
                        {
                            "run_id": STRING,
                            "agent_name": TEXT,
                            "agent_version": TEXT,
                            "session_id": STRING,
                            "parent_run_id": TEXT,
                            "title": STRING,
                            "started_at": INSTANT,
                            "ended_at": MAYBE_INSTANT,
                            "status": _enum(RunStatus),
                            "duration_ms": COUNT,
                            "total_steps": COUNT,
                            "cost": ref("Cost"),
                            "flags": _list(ref("Flag")),
                            "meta": {"type": "object"},
                            "reported": _or_null(_object({"total_cost_usd": USD, "context": {"type": "object"}})),
                            "links": _list(_object({"call_id": UUID, **_LINK})),
                            "corrections": _list(_object({**_CORRECTION, "to_run_id": STRING})),
                            "redacted": _REDACTED,
                            "redaction_note": TEXT,
                        }
                    ),
                    "steps": _list(ref("Step")),
                    "children": _list(ref("RunSummary")),
                }
            )
        }
    ),
    "Usage": _object(
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
    "CallRow": _object(_CALL_ROW),
    "CallList": _object({"calls": _list(ref("CallRow")), "next_after": MAYBE_UUID}),
    "Call": _object(
        {
            "call": _object(
                {
                    **_CALL_ROW,
                    "provider_name": TEXT,
                    "is_stream": BOOLEAN,
                    "finish_reasons": _list(STRING),
                    "response_id": TEXT,
                    "user_agent": TEXT,
                    "price_provider": TEXT,
                    "price_date": TEXT,
                    "timing": _object(
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
                    "links": _list(_object(_LINK)),
                }
            )
        }
    ),
    "Columns": _object(
        {
            "span_us": {"type": "integer", "minimum": 1},
            "names": _list(STRING),
            "index": _list(COUNT),
            "shape": _list(STRING),
            "name": _list(COUNT),
            "preview": _list(STRING),
            "tags": {"type": "object", "additionalProperties": _list(STRING)},
            "failed": _list(COUNT),
            "start_us": _list(COUNT),
            "duration_us": _list(COUNT),
            "first_token_us": _list(COUNT),
            "took": _list(STRING),
            "tokens": _list(STRING),
            "cost": _list(STRING),
            "dearest": _list(COUNT),
            "cuts": _list({"type": "array", "items": COUNT, "minItems": 2, "maxItems": 2}),
        }
    ),
    "StepChanges": {
        "type": "object",
        "required": ["note", "answer", "previous"],
        "properties": {
            "previous": MAYBE_COUNT,
            "note": TEXT,
            "kept": COUNT,
            "fresh": {"type": "array"},
            "answer": {},
            "rows": _list(
                {
                    "type": "object",
                    "required": ["state"],
                    "properties": {
                        "state": {"enum": ["same", "changed", "added", "removed", "more"]},
                        "at": COUNT,
                        "count": COUNT,
                        "role": STRING,
                        "pieces": _PIECES,
                    },
                }
            ),
            "settings": _list(_object({"name": STRING, "state": STRING, "pieces": _PIECES})),
            "tools": _list(_object({"name": STRING, "state": STRING, "pieces": _PIECES})),
            "broke": TEXT,
            "lost": TEXT,
        },
    },
    "StepDetail": _object(
        {
            "index": COUNT,
            "type": _enum(StepType),
            "shape": STRING,
            "name": STRING,
            "tags": _list(STRING),
            "is_failed": BOOLEAN,
            "http_status": MAYBE_COUNT,
            "facts": _list({"type": "array", "items": STRING, "minItems": 2, "maxItems": 2}),
            "notes": _list(_object({"severity": STRING, "message": STRING})),
            "explanations": _list(_object({"text": STRING, "confidence": STRING, "rules": _list(STRING)})),
            "error": _or_null(_object({"type": STRING, "message": TEXT})),
            "summary": STRING,
            "decision": TEXT,
            "tool_args": TEXT,
            "tool_output": TEXT,
            "related": _list(_object({"label": STRING, "steps": _list(COUNT)})),
            "why": _list(
                _object(
                    {
                        "kind": _enum(LinkKind),
                        "sentence": STRING,
                        "is_overruled": BOOLEAN,
                        "value": STRING,
                        "confidence": _enum(Confidence),
                        "to_step": MAYBE_COUNT,
                    }
                )
            ),
            "call_id": MAYBE_UUID,
            "split": _or_null(_object({"call_id": UUID, "is_first": BOOLEAN})),
        }
    ),
    "Correction": _object(
        {
            "correction": _object(
                {**_CORRECTION, "status": {"enum": ["carried_out", "waiting"]}, "to_session_id": TEXT}
            )
        }
    ),
    "MergeRequest": _object({"into": {**STRING, "minLength": 1}}),
    "SplitRequest": {
        "type": "object",
        "properties": {"call_id": UUID, "only": {**BOOLEAN, "default": False}},
        "required": ["call_id"],
        "additionalProperties": False,
    },
    "UndoRequest": _object({"correction_id": UUID}),
    "Key": _object(_KEY),
    "KeyList": _object({"keys": _list(ref("Key"))}),
    "OneKey": _object({"key": ref("Key")}),
    "NewKey": _object({"key": ref("Key"), "secret": STRING}),
    "NewKeys": _object({"keys": _list(ref("NewKey"))}),
    "Revoked": _object({"revoked": COUNT}),
    "Nothing": _object({}),
    "RotateAllRequest": {
        "type": "object",
        "properties": {
            "grace_s": {"type": "integer", "minimum": 0, "maximum": MAX_GRACE_S, "default": DEFAULT_GRACE_S}
        },
        "additionalProperties": False,
    },
    "KeyRequest": {
        "type": "object",
        "properties": {
            "name": {**STRING, "minLength": 1, "maxLength": MAX_NAME},
            "scopes": _or_null({**_list(_enum(Scope)), "minItems": 1}),
            "project_id": TEXT,
        },
        "additionalProperties": False,
    },
    "RotateRequest": {
        "type": "object",
        "properties": {
            "grace_s": {"type": "integer", "minimum": 0, "maximum": MAX_GRACE_S, "default": DEFAULT_GRACE_S},
            "project_id": TEXT,
        },
        "additionalProperties": False,
    },
    "ProviderKey": _object(
        {
            "provider_key": _or_null(_object({"last_four": STRING, "set_at": INSTANT})),
            "can_be_set": BOOLEAN,
        }
    ),
    "ProviderKeyRequest": {
        "type": "object",
        "properties": {"provider_key": {**STRING, "pattern": PROVIDER_KEY_PATTERN}, "project_id": TEXT},
        "required": ["provider_key"],
        "additionalProperties": False,
    },
    "ProjectList": _object(
        {
            "projects": _list(
                _object(
                    {
                        "project_id": STRING,
                        "name": STRING,
                        "created_at": INSTANT,
                        "keys_in_force": COUNT,
                        "plan": STRING,
                        "wanted_plan": TEXT,
                    }
                )
            )
        }
    ),
    "NewProject": _object({"project": _object({"project_id": STRING, "name": STRING})}),
    "ProjectRequest": {
        "type": "object",
        "properties": {
            "project_id": {**STRING, "pattern": PROJECT_ID_PATTERN},
            "name": {**STRING, "minLength": 1, "maxLength": MAX_NAME},
        },
        "required": ["project_id"],
        "additionalProperties": False,
    },
    "MonthOfUsage": _object(
        {
            "usage": _object(
                {
                    "month": STRING,
                    "resets_at": INSTANT,
                    "plan": TEXT,
                    "requests": COUNT,
                    "quota": MAYBE_COUNT,
                    "passed_over_quota": COUNT,
                    "refused": _object(dict.fromkeys(("quota", "rate", "cap", "share"), COUNT)),
                    "cost_usd": USD,
                    "monthly_cap_usd": USD,
                    "unpriced_calls": COUNT,
                    "warnings": _list({"enum": ["near_quota", "over_quota", "near_cap", "over_cap"]}),
                    "days": _list(
                        _object(
                            {
                                "day": {"type": "string", "format": "date"},
                                "requests": COUNT,
                                "refused": COUNT,
                                "cost_usd": USD,
                                "unpriced_calls": COUNT,
                            }
                        )
                    ),
                    "keys": _list(_object({"key_id": TEXT, "cost_usd": USD, "unpriced_calls": COUNT})),
                }
            )
        }
    ),
    "PlanList": _object(
        {
            "plans": _list(
                _object(
                    {
                        "plan": STRING,
                        "title": STRING,
                        "monthly_usd": USD,
                        "monthly_requests": MAYBE_COUNT,
                        "retention_days": MAYBE_COUNT,
                        "features": _list(_enum(Feature)),
                    }
                )
            ),
            "current": TEXT,
        }
    ),
    "ProjectSettings": _object(
        {
            "project": _object(
                {
                    "project_id": STRING,
                    "name": STRING,
                    "plan": STRING,
                    "wanted_plan": TEXT,
                    "over_quota": _enum(OverQuota),
                    "retention_days": MAYBE_COUNT,
                    "requests_per_minute": MAYBE_COUNT,
                    "monthly_cap_usd": USD,
                    "flag_thresholds": {"type": "object", "additionalProperties": {"type": "number"}},
                }
            )
        }
    ),
    "ProjectChange": {
        "type": "object",
        "properties": {
            "project_id": TEXT,
            "name": {**STRING, "minLength": 1, "maxLength": MAX_NAME},
            "plan": {**STRING, "description": "For who administers the project `default`."},
            "wanted_plan": {**TEXT, "description": "Asks for this one; null: for none."},
            "over_quota": _enum(OverQuota),
            "retention_days": {"type": ["integer", "null"], "minimum": 0, "maximum": MAX_RETENTION_DAYS},
            **_LIMITS,
            "flag_thresholds": {
                "description": "All that differ from what holds for all; null: none does.",
                "type": ["object", "null"],
                "properties": {name: _threshold(*choice) for name, choice in FLAG_CHOICES.items()},
                "additionalProperties": False,
            },
        },
        "additionalProperties": False,
    },
    "KeyLimits": {
        "type": "object",
        "properties": {**_LIMITS, "project_id": TEXT},
        "additionalProperties": False,
    },
    "LimitedKey": _object(
        {"key": _object({"key_id": UUID, "requests_per_minute": MAYBE_COUNT, "monthly_cap_usd": USD})}
    ),
    "Redaction": _object(
        {
            "redaction": _object(
                {
                    "mode": _or_null(_enum(RedactionMode)),
                    "default_mode": _enum(RedactionMode),
                    "store_content": BOOLEAN,
                    "rules": _RULES,
                }
            )
        }
    ),
    "RedactionChange": {
        "type": "object",
        "properties": {"mode": _or_null(_enum(RedactionMode)), "store_content": BOOLEAN, "rules": _RULES},
        "additionalProperties": False,
    },
    "RedactionTrial": {
        "type": "object",
        "properties": {
            "text": {**STRING, "maxLength": MAX_TRIED_CHARACTERS},
            "mode": _or_null(_enum(RedactionMode)),
            "rules": _RULES,
        },
        "required": ["text"],
        "additionalProperties": False,
    },
    "Redacted": _object({"text": STRING, "redacted": {"type": "object", "additionalProperties": COUNT}}),
}
