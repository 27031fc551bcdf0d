"""Plans, settings and limits, and what a month has used of them."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from watchllm_proxy.console.account import MAX_CAP_USD, MAX_NAME, MAX_REQUESTS_PER_MINUTE, MAX_RETENTION_DAYS
from watchllm_proxy.console.api.schemas.words import (
    COUNT,
    INSTANT,
    MAYBE_COUNT,
    STRING,
    TEXT,
    USD,
    UUID,
    Schema,
    closed,
    list_of,
    one_of,
)
from watchllm_proxy.enrich.flags.thresholds import CHOICES as FLAG_CHOICES
from watchllm_proxy.store.plans import Feature
from watchllm_proxy.store.project_settings import OverQuota


def _threshold(least: Decimal, most: Decimal, is_whole: bool) -> Schema:
    if is_whole:
        return {"type": "integer", "minimum": int(least), "maximum": int(most)}
    return {"type": "number", "minimum": float(least), "maximum": float(most)}


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

SCHEMAS: Final[Mapping[str, Schema]] = {
    "MonthOfUsage": closed(
        {
            "usage": closed(
                {
                    "month": STRING,
                    "resets_at": INSTANT,
                    "plan": TEXT,
                    "requests": COUNT,
                    "quota": MAYBE_COUNT,
                    "passed_over_quota": COUNT,
                    "refused": closed(dict.fromkeys(("quota", "rate", "cap", "share"), COUNT)),
                    "cost_usd": USD,
                    "monthly_cap_usd": USD,
                    "unpriced_calls": COUNT,
                    "warnings": list_of({"enum": ["near_quota", "over_quota", "near_cap", "over_cap"]}),
                    "days": list_of(
                        closed(
                            {
                                "day": {"type": "string", "format": "date"},
                                "requests": COUNT,
                                "refused": COUNT,
                                "cost_usd": USD,
                                "unpriced_calls": COUNT,
                            }
                        )
                    ),
                    "keys": list_of(closed({"key_id": TEXT, "cost_usd": USD, "unpriced_calls": COUNT})),
                }
            )
        }
    ),
    "PlanList": closed(
        {
            "plans": list_of(
                closed(
                    {
                        "plan": STRING,
                        "title": STRING,
                        "monthly_usd": USD,
                        "monthly_requests": MAYBE_COUNT,
                        "retention_days": MAYBE_COUNT,
                        "features": list_of(one_of(Feature)),
                    }
                )
            ),
            "current": TEXT,
        }
    ),
    "ProjectSettings": closed(
        {
            "project": closed(
                {
                    "project_id": STRING,
                    "name": STRING,
                    "plan": STRING,
                    "wanted_plan": TEXT,
                    "over_quota": one_of(OverQuota),
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
            "over_quota": one_of(OverQuota),
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
    "LimitedKey": closed(
        {"key": closed({"key_id": UUID, "requests_per_minute": MAYBE_COUNT, "monthly_cap_usd": USD})}
    ),
}
