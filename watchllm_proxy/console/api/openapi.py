"""What `GET /openapi.json` says: every route of ours, in OpenAPI 3.1. A test holds real answers against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from watchllm_proxy import __version__
from watchllm_proxy.console.api import (
    openapi_account,
    openapi_costs,
    openapi_data,
    openapi_flags,
    openapi_ingest,
    openapi_jobs,
    openapi_keys,
    openapi_prices,
    openapi_search,
    openapi_sessions,
    schemas,
)
from watchllm_proxy.console.api.openapi_parts import (
    FORM_ERRORS,
    PAGE,
    SENT_ERRORS,
    asked,
    form,
    in_path,
    in_query,
    json_answer,
    sent,
    storable,
)
from watchllm_proxy.console.api.schemas import STRING, Schema, ref
from watchllm_proxy.console.api.schemas.words import COUNT, MAYBE_COUNT, TEXT, closed
from watchllm_proxy.console.queries import MAX_LIMIT, MAX_OFFSET, MAX_TEXT
from watchllm_proxy.console.samples import NAMES
from watchllm_proxy.records import FlagKind, RunStatus
from watchllm_proxy.store.shapes import RunSort


def _get(summary: str, ok: Schema, *, parameters: Sequence[Schema] = (), errors: str = "") -> Schema:
    """A GET. `errors` lists the statuses of the errors it may answer with."""
    return {"get": asked(summary, ok, *parameters, wrong=errors)}


def _post(summary: str, body: str) -> Schema:
    """A correction of the run in the path."""
    ok = {
        "200": json_answer("It is carried out.", "Correction"),
        "202": json_answer("It is kept, and waits for the recorder.", "Correction"),
    }
    return {"post": sent(summary, body, ok, _RUN_ID, wrong=f"{SENT_ERRORS} 409")}


def _form(summary: str) -> Schema:
    """The same from a page of ours."""
    ok = {"303": {"description": "To the run that it led to."}, "202": PAGE}
    return {"post": form(summary, ok, _RUN_ID, wrong=f"{FORM_ERRORS} 409")}


def _sent(method: str, summary: str, body: str, ok: Schema) -> Schema:
    """JSON that is answered at once."""
    return {method: sent(summary, body, {"200": ok})}


_TEXT: Final[Schema] = {"type": "string", "maxLength": MAX_TEXT}
_INSTANT: Final[Schema] = {
    "type": "string",
    "anyOf": [{"format": "date-time"}, {"pattern": "^[0-9]{1,6}[smhd]$"}, {"maxLength": 0}],
    "examples": ["2026-01-15T10:00:00Z", "15m", "24h", "7d"],
}
_LIMIT: Final = in_query(
    "limit", "How many.", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": 20}
)
_FILTERS: Final = [
    _LIMIT,
    in_query(
        "offset", "How many to pass over.", {"type": "integer", "minimum": 0, "maximum": MAX_OFFSET, "default": 0}
    ),
    in_query("status", "Only runs in this state.", {"enum": [*RunStatus, ""]}),
    in_query("agent", "Only runs of the agent with this name.", _TEXT),
    in_query("flag", "Only runs with this flag.", {"enum": [*FlagKind, ""]}),
    in_query("session", "Only runs of this session.", _TEXT),
    in_query("user", "Only runs of this user: as it was sent, also where it is stored redacted.", _TEXT),
    in_query("q", "Only runs with this text in title, agent or run id.", _TEXT),
    in_query("since", "Only runs that started then or later: an instant, or a time ago.", _INSTANT),
    in_query("until", "Only runs that started before then.", _INSTANT),
    in_query("sort", "The order; a minus is descending.", {"enum": [*RunSort, ""], "default": RunSort.NEWEST}),
    in_query("errors", "`any`: only runs with an error, however they ended.", {"enum": ["any", ""]}),
    in_query("kind", "`all` includes lone chats.", {"enum": ["agent", "all", ""], "default": "agent"}),
]
_RUN_ID: Final = in_path("run_id", "Any printable characters, percent-encoded.", {"type": "string"})
_INDEX: Final = in_path("index", "The step's index.", {"type": "integer", "minimum": 0})
_SAMPLE: Final = in_path("name", "Which sample run.", {"enum": list(NAMES)})
_FILE: Final = {"description": "The file.", "content": {"*/*": {"schema": {"type": "string"}}}}
_ELSEWHERE: Final = {"description": "To the runs, or to the welcome page while there is none."}

_RUN_LIST: Final = json_answer("A page of runs.", ref("RunList"))
_RUN: Final = json_answer("The run.", ref("Debug"))
_DEBUG: Final[Any] = schemas.ALL["Debug"]
_CALLS: Final = {"type": "array", "items": {"type": "object"}}
_RUN_WITH_BODIES: Final = json_answer(
    "The run, and where they were asked for its calls.",
    {**_DEBUG, "properties": {**_DEBUG["properties"], "calls": _CALLS}},
)
_COLUMNS: Final = json_answer("One list for each column.", ref("Columns"))
_STEP: Final = json_answer("The step.", ref("StepDetail"))
_RESULT: Final = json_answer(
    "The result, how long all of it is, and the step that read it first; null: it is not stored.",
    closed({"output": TEXT, "characters": COUNT, "read_by": MAYBE_COUNT, "files": ref("Files")}),
)
_CALL_ID: Final = in_path("call_id", "The id in X-WatchLLM-Request-Id.", {"type": "string", "format": "uuid"})
_PART: Final = in_path("part", "Which body.", {"enum": ["request", "answer"]})
_BYTES: Final = {
    "description": "The bytes.",
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
}
_FILES: Final = in_query(
    "files", "Files written as base64 are put behind labels, which `files` explains.", {"enum": ["apart"]}
)
_DIGEST: Final = in_path(
    "digest", "As `files` gives it in an address.", {"type": "string", "pattern": "^[0-9a-f]{32}$"}
)
_BYTES_OF_FILE: Final = {
    "description": "The bytes: a picture as such, all else to be saved.",
    "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
}
_EVENTS: Final = {
    "description": "Server-sent events.",
    "content": {"text/event-stream": {}},
}
_LANGUAGE: Final = in_path("language", "For a shell, or for Python.", {"enum": ["curl", "python"]})
_TO_RUN: Final = {"description": "The text to copy.", "content": {"text/plain": {"schema": {"type": "string"}}}}
_LINES: Final = {
    "description": "Lines.",
    "headers": {"X-Lines": {"description": "How many there will be.", "schema": {"type": "integer"}}},
    "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
}
_MARKDOWN: Final = {"description": "The run.", "content": {"text/markdown": {"schema": {"type": "string"}}}}
_BODIES: Final = in_query("bodies", "Requests and answers, too.", {"enum": ["on"]})
_AFTER: Final = in_query("after", "Only calls stored after this one.", {"type": "string", "format": "uuid"})
_STATIC: Final = [
    in_path("version", "A hash of all files.", {"type": "string"}),
    in_path("name", "Which file.", {"type": "string"}),
]

_API: Final = {
    "/api/agent-runs": _get("List agent runs", _RUN_LIST, parameters=_FILTERS, errors="401 402 422 503"),
    "/api/agent-runs/{run_id}": _get(
        "One run as the list has it",
        json_answer("The run.", closed({"run": ref("RunSummary")})),
        parameters=[_RUN_ID],
        errors="401 402 404 503",
    ),
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
        json_answer("Calls, oldest first.", ref("CallList")),
        parameters=[_AFTER, _LIMIT],
        errors="401 402 422 503",
    ),
    "/api/calls/{call_id}": _get(
        "One call: request, answer, usage, timing",
        json_answer("The call.", ref("Call")),
        parameters=[_CALL_ID, _FILES],
        errors="401 402 404 422 503",
    ),
    "/api/calls/{call_id}/files/{digest}": _get(
        "A picture or another file that stands in the call as base64, decoded",
        _BYTES_OF_FILE,
        parameters=[_CALL_ID, _DIGEST],
        errors="401 402 404 409 503",
    ),
    "/api/calls/{call_id}/raw/{part}": _get(
        "A body as it was on the wire, where it is kept: of calls not understood, and as WATCHLLM_KEEP_RAW says",
        _BYTES,
        parameters=[_CALL_ID, _PART],
        errors="401 402 404 503",
    ),
}

_REDACTION: Final = json_answer("As it is.", ref("Redaction"))
_REDACTION_FORM: Final = form("Save what is taken out, or try it on a text, from the page", {"200": PAGE})
_SETTINGS: Final = {
    "/api/redaction": {
        **_get("What the project has taken out of its calls", _REDACTION, errors="401 403 503"),
        **_sent("patch", "Change it; what is left out stays", "RedactionChange", _REDACTION),
    },
    "/api/redaction/try": _sent(
        "post",
        "How a text would be stored; it is kept nowhere, and its tags are made up",
        "RedactionTrial",
        json_answer("The text.", ref("Redacted")),
    ),
    "/settings/redaction": {
        **_get("What is taken out, as a page", PAGE, errors="401 403 503"),
        "post": _REDACTION_FORM,
    },
}

_WELCOME: Final = closed(
    {
        "base_url": STRING,
        "upstream": STRING,
        "is_upstream_reachable": {"type": ["boolean", "null"]},
        "problems": {"type": "array", "items": STRING},
        "newest_run_id": {"type": ["string", "null"]},
    }
)
_PAGES: Final = {
    "/": {"get": {"summary": "Where to begin", "responses": {"302": _ELSEWHERE}}},
    "/settings": {
        "get": {
            "summary": "Where settings begin",
            "responses": {"302": {"description": "To keys, or to usage for whoever may not manage them."}},
        }
    },
    "/welcome": _get("How to point an agent here; waits for the first request", PAGE, errors="401 503"),
    "/welcome.json": _get(
        "The same for programs", json_answer("Where to send requests.", _WELCOME), errors="401 503"
    ),
    "/runs": _get("The list of runs", PAGE, parameters=_FILTERS, errors="401 402 422 503"),
    "/runs.csv": _get(
        "A line for each of these runs; `tokens_by_call`: what its calls took, of a long run some of them",
        {"description": "The table.", "content": {"text/csv": {"schema": {"type": "string"}}}},
        parameters=_FILTERS,
        errors="401 402 422 503",
    ),
    "/runs/{run_id}": _get("One run", PAGE, parameters=[_RUN_ID], errors="401 402 404 503"),
    "/runs/{run_id}.json": _get(
        "The run as /api/agent-runs/{run_id}/debug gives it; with `bodies=on`, also `calls`, each whole",
        _RUN_WITH_BODIES,
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
        json_answer("Messages and differences.", ref("StepChanges")),
        parameters=[_RUN_ID, _INDEX],
        errors="401 402 404 503",
    ),
    "/runs/{run_id}/steps/{index}/result": _get(
        "What the tool gave, 256 k characters of it, out of the first request that brings it",
        _RESULT,
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
    "/samples/{name}": _get("A sample run", PAGE, parameters=[_SAMPLE], errors="404"),
    "/samples/{name}/steps": _get("The rows of its timeline", _COLUMNS, parameters=[_SAMPLE], errors="404"),
    "/samples/{name}/steps/{index}": _get("One step", _STEP, parameters=[_SAMPLE, _INDEX], errors="404"),
    "/static/{version}/{name}": _get("A file of the pages", _FILE, parameters=_STATIC, errors="404"),
}

_READY: Final = json_answer("Requests can be served, however degraded the rest is.", ref("Readiness"))
_STOPPING: Final = json_answer("This process is stopping.", ref("Readiness"))
_METRICS: Final = {"description": "Metrics.", "content": {"text/plain": {"schema": {"type": "string"}}}}

_OPERATIONS: Final = {
    "/healthz": _get("Alive", json_answer("Yes.", ref("Health"))),
    "/readyz": {
        "get": {
            "summary": "Whether requests can be served, and what is degraded",
            "responses": {"200": _READY, "503": _STOPPING},
        }
    },
    "/metrics": _get("Figures for Prometheus", _METRICS),
    "/openapi.json": _get("This document", json_answer("OpenAPI 3.1.", {"type": "object"})),
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
    **openapi_search.PATHS,
    **openapi_costs.PATHS,
    **openapi_sessions.PATHS,
    **openapi_jobs.PATHS,
    **openapi_data.PATHS,
    **openapi_flags.PATHS,
    **openapi_account.PATHS,
    **_SETTINGS,
    **_PAGES,
    **_OPERATIONS,
}
_TWINS: Final = {
    "/runs.json": "/api/agent-runs",
    "/usage.json": "/api/usage",
    "/pricing.json": "/api/plans",
    "/settings/redaction.json": "/api/redaction",
    "/settings/prices.json": "/api/prices",
    "/settings/keys.json": "/api/keys",
    "/settings/projects.json": "/api/projects",
}
"""Every page says the same to programs; of these the API has it, too."""

_ALL_PATHS: Final = {**_PATHS, **{page: {"get": _PATHS[same]["get"]} for page, same in _TWINS.items()}}
_ANYWHERE: Final = {
    "400": json_answer("The request line or a header is malformed; the proxy says how.", ref("Error")),
    "429": json_answer("Too many keys that are not in force came from this address.", ref("Error")),
}
_KEYS: Final = {
    "projectKey": {"type": "http", "scheme": "bearer", "description": "A project key: `lgw_proj_…`."},
    "keyBeside": {"type": "apiKey", "in": "header", "name": "X-WatchLLM-Key"},
}


_UNCHANGED: Final = {"304": {"description": "It is still what the ETag in If-None-Match stands for."}}


def _with_what_may_happen_anywhere(path: Mapping[str, Any]) -> Schema:
    return {
        method: {
            **operation,
            "responses": {**_ANYWHERE, **_when_polled(method, operation), **operation["responses"]},
        }
        for method, operation in path.items()
    }


def _when_polled(method: str, operation: Mapping[str, Any]) -> Schema:
    is_json = "application/json" in operation["responses"].get("200", {}).get("content", {})
    return _UNCHANGED if method == "get" and is_json else {}


def _sent_schemas() -> set[str]:
    """The components that bodies of requests are made of."""
    bodies = (
        operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
        for path in _PATHS.values()
        for operation in path.values()
    )
    return {body["$ref"].rpartition("/")[2] for body in bodies if "$ref" in body}


_SENT_SCHEMAS: Final = {name: storable(schemas.ALL[name]) for name in _sent_schemas() & schemas.ALL.keys()}

DOCUMENT: Final[Schema] = {
    "openapi": "3.1.0",
    "info": {"title": "WatchLLM proxy", "version": __version__, "description": _ABOUT},
    "paths": {path: _with_what_may_happen_anywhere(methods) for path, methods in _ALL_PATHS.items()},
    "components": {
        "schemas": {**schemas.ALL, **_SENT_SCHEMAS, **openapi_ingest.SCHEMAS},
        "securitySchemes": _KEYS,
    },
    "security": [{"projectKey": []}, {"keyBeside": []}, {}],  # none: `watchllm up` on loopback
}
