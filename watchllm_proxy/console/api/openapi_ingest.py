"""The part of `GET /openapi.json` about reporting runs and events, out of the shapes that requests are read by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from watchllm_proxy.console.api.openapi_parts import in_path, json_answer, sent
from watchllm_proxy.console.api.schemas import COUNT, INSTANT, STRING, TEXT, USD, Schema, ref
from watchllm_proxy.console.api.schemas.words import closed
from watchllm_proxy.ingest.searching import EventQuery
from watchllm_proxy.ingest.shapes import MAX_EVENTS, Change, Event, Run, Steps

_TEMPLATE = "#/components/schemas/Reported{name}"


def _request_schemas() -> dict[str, Schema]:
    """`Run` is ReportedRun here, and so on: the run that is shown is another thing."""
    _, components = msgspec.json.schema_components([Run, Steps, Change, EventQuery], ref_template=_TEMPLATE)
    (event,), events = msgspec.json.schema_components([Event], ref_template=_TEMPLATE)
    named = {f"Reported{name}": _with_numbers(made) for name, made in (components | events).items()}
    return {**named, "ReportedEvent": event}


def _with_numbers(schema: Any) -> Any:
    """msgspec says of a decimal that it is text, which it may be, too."""
    if isinstance(schema, list):
        return [_with_numbers(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: _with_numbers(each) for name, each in schema.items()}
    return {**made, "type": ["number", "string"]} if made.get("format") == "decimal" else made


_OUTCOME: Final[Schema] = {
    "type": "object",
    "properties": {
        "index": COUNT,
        "event_id": TEXT,
        "status": {"enum": ["accepted", "rejected"]},
        "error": {"type": "object"},
    },
    "required": ["index", "event_id", "status"],
    "additionalProperties": False,
}
_OUTCOMES: Final = {"accepted": COUNT, "rejected": COUNT, "events": {"type": "array", "items": _OUTCOME}}

SCHEMAS: Final[Mapping[str, Schema]] = {
    **_request_schemas(),
    "ReportedBatch": {
        "type": "object",
        "properties": {
            "events": {"type": "array", "items": ref("ReportedEvent"), "minItems": 1, "maxItems": MAX_EVENTS}
        },
        "required": ["events"],
    },
    "RunAccepted": closed({"run_id": STRING, "accepted_steps": COUNT, "status": {"const": "accepted"}}),
    "EventsAccepted": closed(_OUTCOMES),
    "EventsRejected": {
        "type": "object",
        "description": "Why none was taken, and where they were read one by one, why of each.",
        "properties": {"error": {"type": "object"}, **_OUTCOMES},
        "required": ["error"],
        "additionalProperties": False,
    },
    "FoundEvent": {
        "type": "object",
        "description": "The event as it was told; unknown fields are among its context.",
        "properties": {
            "event_id": STRING,
            "event_type": STRING,
            "timestamp": INSTANT,
            "project_id": STRING,
            "context": {"type": "object"},
            "cost_usd": USD,
            "cost_source": {"enum": ["upstream", "override", "price_table", "unknown"]},
        },
        "required": ["event_id", "event_type", "project_id", "context", "cost_usd", "cost_source"],
    },
    "FoundEvents": closed(
        {
            "events": {"type": "array", "items": ref("FoundEvent")},
            "total": COUNT,
            "has_more": {"type": "boolean"},
            "cursor": TEXT,
        }
    ),
}

_WRONG: Final = {
    "400": "The body is not valid JSON in UTF-8.",
    "403": "The key lacks the scope that `code` names.",
    "404": "There is no such project, or the key is not one of it: the same body.",
    "413": "Too many steps, events or bytes; nothing was kept.",
    "415": "The body is not application/json, or is compressed.",
    "422": "A field cannot be used; `param` names it. Nothing was kept.",
    "503": "It cannot be kept now; nothing was. Try again after Retry-After.",
}
_RUN_ID: Final = in_path("run_id", "1 to 200 printable characters, percent-encoded.", STRING)
_PROJECT_ID: Final = in_path("project_id", "The key's own project.", STRING)
_TAKEN: Final = "400 401 403 408 413 415 422 429 503"


def _taken(summary: str, body: str, answer: str, *parameters: Schema, also: str = "") -> Schema:
    ok = {"202": json_answer("It is on disk, and will be stored.", answer)}
    if answer == "EventsAccepted":  # what is wrong is told of each event
        ok["422"] = json_answer(_WRONG["422"], "EventsRejected")
    wrong = " ".join(each for each in [*_TAKEN.split(), *also.split()] if each not in ok)
    return sent(summary, body, ok, *parameters, wrong=wrong, words=_WRONG)


TAKEN: Final[Mapping[str, Schema]] = {
    "/v1/agent-runs": {
        "post": _taken("Report a run, whole or as far as it has come", "ReportedRun", "RunAccepted")
    },
    "/v1/agent-runs/{run_id}/steps": {
        "post": _taken("Add steps, or say them anew", "ReportedSteps", "RunAccepted", _RUN_ID)
    },
    "/v1/agent-runs/{run_id}": {
        "patch": _taken("End a run, name it, …", "ReportedChange", "RunAccepted", _RUN_ID)
    },
    "/v1/projects/{project_id}/events": {
        "post": _taken("Report an event", "ReportedEvent", "EventsAccepted", _PROJECT_ID, also="404")
    },
    "/v1/events/batch": {
        "post": _taken("Report events; each is taken or rejected by itself", "ReportedBatch", "EventsAccepted")
    },
}
"""Served by the proxy itself, not by the console's routes."""

ASKED: Final[Mapping[str, Schema]] = {
    "/v1/events/query": {
        "post": sent(
            "Search reported events",
            "ReportedEventQuery",
            {"200": json_answer("A page of events.", "FoundEvents")},
            wrong="400 401 403 413 415 422 503",
        )
    },
}
