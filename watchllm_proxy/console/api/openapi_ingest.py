"""The part of `GET /openapi.json` about reporting runs and events, out of the shapes that requests are read by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from watchllm_proxy.console.api.schemas import COUNT, INSTANT, STRING, TEXT, USD, Schema, ref
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


def _object(fields: Mapping[str, object]) -> Schema:
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


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
    "RunAccepted": _object({"run_id": STRING, "accepted_steps": COUNT, "status": {"const": "accepted"}}),
    "EventsAccepted": _object(_OUTCOMES),
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
    "FoundEvents": _object(
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
    "401": "The key shown is not in force, or none was sent.",
    "403": "The key lacks the scope that `code` names.",
    "404": "There is no such project, or the key is not one of it: the same body.",
    "408": "The body stopped arriving.",
    "413": "Too many steps, events or bytes; nothing was kept.",
    "415": "The body is not application/json, or is compressed.",
    "422": "A field cannot be used; `param` names it. Nothing was kept.",
    "429": "Over a limit or quota; try again after Retry-After.",
    "503": "It cannot be kept now; nothing was. Try again after Retry-After.",
}
_RUN_ID: Final = {
    "name": "run_id",
    "in": "path",
    "required": True,
    "description": "1 to 200 printable characters, percent-encoded.",
    "schema": STRING,
}
_PROJECT_ID: Final = {
    "name": "project_id",
    "in": "path",
    "required": True,
    "description": "The key's own project.",
    "schema": STRING,
}


def _json(description: str, schema: str) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": ref(schema)}}}


def _taken(summary: str, body: str, answer: str, *parameters: Schema, statuses: str = "") -> Schema:
    wrong = ["400", "401", "403", "408", "413", "415", "422", "429", "503", *statuses.split()]
    return {
        "summary": summary,
        "parameters": parameters,
        "requestBody": {"required": True, "content": {"application/json": {"schema": ref(body)}}},
        "responses": {
            "202": _json("It is on disk, and will be stored.", answer),
            **{status: _json(_WRONG[status], "Error") for status in sorted(wrong)},
            **({"422": _json(_WRONG["422"], "EventsRejected")} if answer == "EventsAccepted" else {}),
        },
    }


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
        "post": _taken("Report an event", "ReportedEvent", "EventsAccepted", _PROJECT_ID, statuses="404")
    },
    "/v1/events/batch": {
        "post": _taken("Report events; each is taken or rejected by itself", "ReportedBatch", "EventsAccepted")
    },
}
"""Served by the proxy itself, not by the console's routes."""

ASKED: Final[Mapping[str, Schema]] = {
    "/v1/events/query": {
        "post": {
            "summary": "Search reported events",
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": ref("ReportedEventQuery")}},
            },
            "responses": {
                "200": _json("A page of events.", "FoundEvents"),
                **{
                    status: _json(_WRONG[status], "Error") for status in ("400", "401", "403", "413", "415", "422")
                },
                "503": _json("The store cannot be read now; try again after Retry-After.", "Error"),
            },
        }
    },
}
