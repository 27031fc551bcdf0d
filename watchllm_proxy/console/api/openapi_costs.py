"""The part of `GET /openapi.json` about costs."""

from __future__ import annotations

from typing import Final

from watchllm_proxy.console.api.schemas import COUNT, MAYBE_COUNT, STRING, TEXT, USD, Schema, ref
from watchllm_proxy.console.queries import COSTS_SINCE, CostsBy

_INSTANT: Final[Schema] = {
    "type": "string",
    "anyOf": [{"format": "date-time"}, {"pattern": "^[0-9]{1,6}[smhd]$"}, {"maxLength": 0}],
    "examples": ["2026-01-15T10:00:00Z", "24h", "30d"],
}
_PARAMETERS: Final = [
    {
        "name": "by",
        "in": "query",
        "description": "What costs are told apart by.",
        "schema": {"enum": [*CostsBy, ""], "default": CostsBy.MODEL},
    },
    {
        "name": "since",
        "in": "query",
        "description": "From then on, in whole hours (by key: days of UTC), 400 days at most.",
        "schema": {**_INSTANT, "default": COSTS_SINCE},
    },
    {"name": "until", "in": "query", "description": "Before then; now where it is left out.", "schema": _INSTANT},
]
_FIGURES: Final = {
    "cost_usd": USD,
    "unpriced_calls": COUNT,
    "calls": MAYBE_COUNT,
    "failed_calls": MAYBE_COUNT,
    "input_tokens": MAYBE_COUNT,
    "output_tokens": MAYBE_COUNT,
    "cache_read_input_tokens": MAYBE_COUNT,
}
_WRONG: Final = {
    "401": "The key shown is unknown, revoked, or may not read.",
    "402": "The plan of the project has not got it; the message names one that has.",
    "403": "A page from elsewhere asked for it.",
    "422": "A parameter cannot be used; `param` names it.",
    "503": "The store cannot be read now; try again after Retry-After.",
}


def _object(properties: dict[str, Schema]) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _errors() -> dict[str, Schema]:
    return {
        status: {"description": words, "content": {"application/json": {"schema": ref("Error")}}}
        for status, words in _WRONG.items()
    }


def _asked(summary: str, media_type: str, schema: Schema) -> Schema:
    answer = {"description": "Costs.", "content": {media_type: {"schema": schema}}}
    return {"get": {"summary": summary, "parameters": _PARAMETERS, "responses": {"200": answer, **_errors()}}}


_COSTS: Final = _object(
    {
        "by": {"enum": list(CostsBy)},
        "since": {"type": "string", "format": "date-time"},
        "until": {"type": "string", "format": "date-time"},
        "total": _object(_FIGURES),
        "groups": {"type": "array", "items": _object({"name": TEXT, **_FIGURES})},
        "days": {"type": "array", "items": _object({"day": STRING, **_FIGURES})},
    }
)

PATHS: Final = {
    "/costs": _asked("What calls cost, as a page", "text/html", {"type": "string"}),
    "/costs.json": _asked(
        "The same for programs: the dearest group first, and every day", "application/json", _COSTS
    ),
    "/costs.csv": _asked("A line for each group", "text/csv", {"type": "string"}),
}
