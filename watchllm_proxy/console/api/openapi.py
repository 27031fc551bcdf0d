"""What `GET /openapi.json` says: every route of ours, in OpenAPI 3.1. A test holds real answers against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from watchllm_proxy import __version__
from watchllm_proxy.console.api import (
    openapi_account,
    openapi_costs,
    openapi_ingest,
    openapi_keys,
    openapi_prices,
    schemas,
)
from watchllm_proxy.console.api.schemas import Schema, ref
from watchllm_proxy.console.queries import MAX_LIMIT, MAX_OFFSET, MAX_TEXT
from watchllm_proxy.console.samples import NAMES
from watchllm_proxy.records import FlagKind, RunStatus
from watchllm_proxy.store.shapes import RunSort


def _json_answer(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


_PAGE: Final = {"description": "A page.", "content": {"text/html": {"schema": {"type": "string"}}}}
_ERRORS: Final = {
    "402": _json_answer("The plan of the project has not got it; the message names one that has.", ref("Error")),
    "401": _json_answer("The key shown is unknown, revoked, or may not read.", ref("Error")),
    "404": _json_answer("There is no such thing, or it is another project's: the same body.", ref("Error")),
    "400": _json_answer("The body is not a JSON object.", ref("Error")),
    "403": _json_answer("A page from elsewhere asked for it.", ref("Error")),
    "409": _json_answer("It cannot be done now; the message says what comes first.", ref("Error")),
    "413": _json_answer("The body is larger than this address takes.", ref("Error")),
    "415": _json_answer("The body is not application/json.", ref("Error")),
    "422": _json_answer("A parameter cannot be used; `param` names it.", ref("Error")),
    "503": _json_answer("The store cannot be read now; try again after Retry-After.", ref("Error")),
}


def _get(summary: str, ok: Schema, *, parameters: Sequence[Schema] = (), errors: str = "") -> Schema:
    """A GET. `errors` lists the statuses of the errors it may answer with."""
    responses = {"200": ok, **{status: _ERRORS[status] for status in errors.split()}}
    return {"get": {"summary": summary, "parameters": parameters, "responses": responses}}


def _post(summary: str, body: str) -> Schema:
    """A correction of the run in the path."""
    return {
        "post": {
            "summary": summary,
            "parameters": [_RUN_ID],
            "requestBody": {"required": True, "content": {"application/json": {"schema": ref(body)}}},
            "responses": {
                "200": _json_answer("It is carried out.", ref("Correction")),
                "202": _json_answer("It is kept, and waits for the recorder.", ref("Correction")),
                **{
                    status: _ERRORS[status]
                    for status in ("400", "401", "403", "404", "409", "413", "415", "422", "503")
                },
            },
        }
    }


def _form(summary: str) -> Schema:
    """The same from a page of ours; answered with a page in case of an error."""
    body = {"content": {"application/x-www-form-urlencoded": {"schema": {"type": "object"}}}}
    responses = {"303": {"description": "To the run that it led to."}, "202": _PAGE}
    errors = {status: _ERRORS[status] for status in ("401", "403", "404", "409", "422", "503")}
    return {
        "post": {
            "summary": summary,
            "parameters": [_RUN_ID],
            "requestBody": body,
            "responses": {**responses, **errors},
        }
    }


def _sent(method: str, summary: str, body: str, ok: Schema) -> Schema:
    """JSON that is answered at once."""
    errors = {status: _ERRORS[status] for status in ("400", "401", "403", "404", "413", "415", "422", "503")}
    content = {"application/json": {"schema": ref(body)}}
    request = {"required": True, "content": content}
    return {method: {"summary": summary, "requestBody": request, "responses": {"200": ok, **errors}}}


def _query(name: str, description: str, schema: Schema) -> Schema:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _path(name: str, description: str, schema: Schema) -> Schema:
    return {"name": name, "in": "path", "required": True, "description": description, "schema": schema}


_TEXT: Final[Schema] = {"type": "string", "maxLength": MAX_TEXT}
_INSTANT: Final[Schema] = {
    "type": "string",
    "anyOf": [{"format": "date-time"}, {"pattern": "^[0-9]{1,6}[smhd]$"}, {"maxLength": 0}],
    "examples": ["2026-01-15T10:00:00Z", "15m", "24h", "7d"],
}
_LIMIT: Final = _query(
    "limit", "How many.", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": 20}
)
_FILTERS: Final = [
    _LIMIT,
    _query(
        "offset", "How many to pass over.", {"type": "integer", "minimum": 0, "maximum": MAX_OFFSET, "default": 0}
    ),
    _query("status", "Only runs in this state.", {"enum": [*RunStatus, ""]}),
    _query("agent", "Only runs of the agent with this name.", _TEXT),
    _query("flag", "Only runs with this flag.", {"enum": [*FlagKind, ""]}),
    _query("session", "Only runs of this session.", _TEXT),
    _query("user", "Only runs of this user: as it was sent, also where it is stored redacted.", _TEXT),
    _query("q", "Only runs with this text in title, agent or run id.", _TEXT),
    _query("since", "Only runs that started then or later: an instant, or a time ago.", _INSTANT),
    _query("until", "Only runs that started before then.", _INSTANT),
    _query("sort", "The order; a minus is descending.", {"enum": [*RunSort, ""], "default": RunSort.NEWEST}),
    _query("kind", "`all` includes lone chats.", {"enum": ["agent", "all", ""], "default": "agent"}),
]
_RUN_ID: Final = _path("run_id", "Any printable characters, percent-encoded.", {"type": "string"})
_INDEX: Final = _path("index", "The step's index.", {"type": "integer", "minimum": 0})
_SAMPLE: Final = _path("name", "Which sample run.", {"enum": list(NAMES)})
_FILE: Final = {"description": "The file.", "content": {"*/*": {"schema": {"type": "string"}}}}
_ELSEWHERE: Final = {"description": "To the runs, or to the welcome page while there is none."}

_RUN_LIST: Final = _json_answer("A page of runs.", ref("RunList"))
_RUN: Final = _json_answer("The run.", ref("Debug"))
_COLUMNS: Final = _json_answer("One list for each column.", ref("Columns"))
_STEP: Final = _json_answer("The step.", ref("StepDetail"))
_CALL_ID: Final = _path("call_id", "The id in X-WatchLLM-Request-Id.", {"type": "string", "format": "uuid"})
_PART: Final = _path("part", "Which body.", {"enum": ["request", "answer"]})
_BYTES: Final = {
    "description": "The bytes.",
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
}
_EVENTS: Final = {
    "description": "Server-sent events.",
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
}
_LANGUAGE: Final = _path("language", "For a shell, or for Python.", {"enum": ["curl", "python"]})
_TO_RUN: Final = {"description": "The text to copy.", "content": {"text/plain": {"schema": {"type": "string"}}}}
_LINES: Final = {"description": "Lines.", "content": {"application/x-ndjson": {"schema": {"type": "string"}}}}
_MARKDOWN: Final = {"description": "The run.", "content": {"text/markdown": {"schema": {"type": "string"}}}}
_BODIES: Final = _query("bodies", "Requests and answers, too.", {"enum": ["on"]})
_AFTER: Final = _query("after", "Only calls stored after this one.", {"type": "string", "format": "uuid"})
_STATIC: Final = [
    _path("version", "A hash of all files.", {"type": "string"}),
    _path("name", "Which file.", {"type": "string"}),
]

_API: Final = {
    "/api/agent-runs": _get("List agent runs", _RUN_LIST, parameters=_FILTERS, errors="401 402 422 503"),
    "/api/agent-runs/{run_id}/debug": _get(
        "One run with its steps, and why each call is in it", _RUN, parameters=[_RUN_ID], errors="401 402 404 503"
    ),
    "/api/agent-runs/{run_id}/events": _get(
        "How far a run has come, told whenever that changes until it is over; `gone`: it is in another run now",
        _EVENTS,
        parameters=[_RUN_ID],
        errors="401 402 404 503",
    ),
    "/api/agent-runs/fixture/{name}": _get(
        "A sample run, computed by the code that computes real ones", _RUN, parameters=[_SAMPLE], errors="404"
    ),
    "/api/agent-runs/{run_id}/merge": _post("All calls of this run belong to the run `into`", "MergeRequest"),
    "/api/agent-runs/{run_id}/split": _post(
        "A call, with those after it or (`only`) alone, belongs to a run of its own", "SplitRequest"
    ),
    "/api/agent-runs/{run_id}/undo": _post("What an earlier correction moved goes back", "UndoRequest"),
    "/api/calls": _get(
        "Calls in the order they were stored; ask again with `after` = `next_after`, and each comes once",
        _json_answer("Calls, oldest first.", ref("CallList")),
        parameters=[_AFTER, _LIMIT],
        errors="401 402 422 503",
    ),
    "/api/calls/{call_id}": _get(
        "One call: request, answer, usage, timing",
        _json_answer("The call.", ref("Call")),
        parameters=[_CALL_ID],
        errors="401 402 404 503",
    ),
    "/api/calls/{call_id}/raw/{part}": _get(
        "A body as it was on the wire, where it is kept: of calls not understood, and as WATCHLLM_KEEP_RAW says",
        _BYTES,
        parameters=[_CALL_ID, _PART],
        errors="401 402 404 503",
    ),
}

_REDACTION: Final = _json_answer("As it is.", ref("Redaction"))
_REDACTION_FORM: Final[Schema] = {
    "summary": "Save what is taken out, or try it on a text, from the page",
    "requestBody": {"content": {"application/x-www-form-urlencoded": {"schema": {"type": "object"}}}},
    "responses": {"200": _PAGE, **{status: _ERRORS[status] for status in ("401", "403", "404", "422", "503")}},
}
_SETTINGS: Final = {
    "/api/redaction": {
        **_get("What the project has taken out of its calls", _REDACTION, errors="401 403 503"),
        **_sent("patch", "Change it; what is left out stays", "RedactionChange", _REDACTION),
    },
    "/api/redaction/try": _sent(
        "post",
        "How a text would be stored; it is kept nowhere, and its tags are made up",
        "RedactionTrial",
        _json_answer("The text.", ref("Redacted")),
    ),
    "/settings/redaction": {
        **_get("What is taken out, as a page", _PAGE, errors="401 403 503"),
        "post": _REDACTION_FORM,
    },
}

_PAGES: Final = {
    "/": {"get": {"summary": "Where to begin", "responses": {"302": _ELSEWHERE}}},
    "/settings": {
        "get": {
            "summary": "Where settings begin",
            "responses": {"302": {"description": "To keys, or to usage for whoever may not manage them."}},
        }
    },
    "/welcome": _get("How to point an agent here; waits for the first request", _PAGE, errors="401 503"),
    "/runs": _get("The list of runs", _PAGE, parameters=_FILTERS, errors="401 402 422 503"),
    "/runs/{run_id}": _get("One run", _PAGE, parameters=[_RUN_ID], errors="401 402 404 503"),
    "/runs/{run_id}.json": _get(
        "The run as /api/agent-runs/{run_id}/debug gives it; with `bodies=on`, also `calls`, each whole",
        _RUN,
        parameters=[_RUN_ID, _BODIES],
        errors="401 402 404 422 503",
    ),
    "/runs/{run_id}.ndjson": _get(
        "The run with all its calls, an object a line: summary, steps, children, calls, end",
        _LINES,
        parameters=[_RUN_ID],
        errors="401 402 404 503",
    ),
    "/runs/{run_id}.md": _get(
        "The run with all that was said, as Markdown; what requests repeat is told once",
        _MARKDOWN,
        parameters=[_RUN_ID],
        errors="401 402 404 503",
    ),
    "/runs/{run_id}/steps": _get(
        "The rows of its timeline", _COLUMNS, parameters=[_RUN_ID], errors="401 402 404 503"
    ),
    "/runs/{run_id}/steps/{index}": _get(
        "What the page shows of one step", _STEP, parameters=[_RUN_ID, _INDEX], errors="401 402 404 503"
    ),
    "/runs/{run_id}/steps/{index}/changes": _get(
        "What is new in its request since the one before, and what differs",
        _json_answer("Messages and differences.", ref("StepChanges")),
        parameters=[_RUN_ID, _INDEX],
        errors="401 402 404 503",
    ),
    "/runs/{run_id}/steps/{index}/copy/{language}": _get(
        "Its request as a command that sends the same body again, without a key",
        _TO_RUN,
        parameters=[_RUN_ID, _INDEX, _LANGUAGE],
        errors="401 402 404 409 503",
    ),
    "/runs/{run_id}/merge": _form("Merge this run into another, from its page"),
    "/runs/{run_id}/split": _form("Split a call off this run, from its page"),
    "/runs/{run_id}/undo": _form("Take back a correction, from the page"),
    "/samples/{name}": _get("A sample run", _PAGE, parameters=[_SAMPLE], errors="404"),
    "/samples/{name}/steps": _get("The rows of its timeline", _COLUMNS, parameters=[_SAMPLE], errors="404"),
    "/samples/{name}/steps/{index}": _get("One step", _STEP, parameters=[_SAMPLE, _INDEX], errors="404"),
    "/static/{version}/{name}": _get("A file of the pages", _FILE, parameters=_STATIC, errors="404"),
}

_READY: Final = _json_answer("Requests can be served, however degraded the rest is.", ref("Readiness"))
_STOPPING: Final = _json_answer("This process is stopping.", ref("Readiness"))
_METRICS: Final = {"description": "Metrics.", "content": {"text/plain": {"schema": {"type": "string"}}}}

_OPERATIONS: Final = {
    "/healthz": _get("Alive", _json_answer("Yes.", ref("Health"))),
    "/readyz": {
        "get": {
            "summary": "Whether requests can be served, and what is degraded",
            "responses": {"200": _READY, "503": _STOPPING},
        }
    },
    "/metrics": _get("Figures for Prometheus", _METRICS),
    "/openapi.json": _get("This document", _json_answer("OpenAPI 3.1.", {"type": "object"})),
}

_ABOUT: Final = (
    "Reporting runs and events, reading what the proxy captured, and correcting which calls belong together. "
    "Other paths under /v1 are forwarded to the upstream as they are. "
    "Money is US dollars with at most 12 decimals; null is not known."
)
_PATHS: Final[Mapping[str, Any]] = {
    **openapi_ingest.TAKEN,
    **openapi_ingest.ASKED,
    **_API,
    **openapi_keys.PATHS,
    **openapi_prices.PATHS,
    **openapi_costs.PATHS,
    **openapi_account.PATHS,
    **_SETTINGS,
    **_PAGES,
    **_OPERATIONS,
}
_ANYWHERE: Final = {
    "400": _json_answer("The request line or a header is malformed; the proxy says how.", ref("Error")),
    "429": _json_answer("Too many keys that are not in force came from this address.", ref("Error")),
}
_KEYS: Final = {
    "projectKey": {"type": "http", "scheme": "bearer", "description": "A project key: `lgw_proj_…`."},
    "keyBeside": {"type": "apiKey", "in": "header", "name": "X-WatchLLM-Key"},
}


def _with_what_may_happen_anywhere(path: Mapping[str, Any]) -> Schema:
    return {
        method: {**operation, "responses": {**_ANYWHERE, **operation["responses"]}}
        for method, operation in path.items()
    }


DOCUMENT: Final[Schema] = {
    "openapi": "3.1.0",
    "info": {"title": "WatchLLM proxy", "version": __version__, "description": _ABOUT},
    "paths": {path: _with_what_may_happen_anywhere(methods) for path, methods in _PATHS.items()},
    "components": {"schemas": {**schemas.ALL, **openapi_ingest.SCHEMAS}, "securitySchemes": _KEYS},
    "security": [{"projectKey": []}, {"keyBeside": []}, {}],  # none: `watchllm up` on loopback
}
