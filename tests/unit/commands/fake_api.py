"""A small API server on loopback with what it answers, for the tests of the commands."""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass, field

Json = dict[str, object]
Answer = tuple[int, object]

HANG_UP: Answer = (0, b"")
"""A route answers this to close the connection without an answer, as a server does that is just stopping."""


@dataclass
class FakeApi:
    """Answers GET requests from `routes`: path -> a body, a (status, body), or a function of the query."""

    url: str = ""
    date: str | None = None  # what its clock says; None: the right time
    routes: dict[str, object] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    credentials: list[str | None] = field(default_factory=list)  # of each request

    def answer(self, target: str) -> Answer:
        parts = urllib.parse.urlsplit(target)
        query = dict(urllib.parse.parse_qsl(parts.query))
        self.requests.append((parts.path, query))
        found = self.routes.get(parts.path, (404, {"error": {"message": "not here", "type": "not_found_error"}}))
        body = found(query) if callable(found) else found
        return body if isinstance(body, tuple) else (200, body)


def run_summary(run_id: str, **changed: object) -> Json:
    summary: Json = {
        "run_id": run_id,
        "agent_name": "order-assistant",
        "agent_version": "v1",
        "started_at": "2026-01-15T10:00:00.000000Z",
        "ended_at": "2026-01-15T10:00:08.000000Z",
        "status": "completed",
        "duration_ms": 8000,
        "total_cost_usd": 0.000231,
        "total_steps": 3,
        "error_count": 0,
        "flags_count": 0,
        "has_warnings": False,
        "title": "Where is my order?",
    }
    return {**summary, **changed}


def run_list(*runs: Json) -> Json:
    return {"runs": list(runs), "total": len(runs), "has_more": False, "limit": 20, "offset": 0}


def call(call_id: str, **changed: object) -> Json:
    row: Json = {
        "call_id": call_id,
        "run_id": "7q2k9fh4aa",
        "api": "chat_completions",
        "method": "POST",
        "target": "/v1/chat/completions",
        "started_at": "2026-01-15T10:00:00.000000Z",
        "duration_ms": 684,
        "http_status": 200,
        "end": "complete",
        "agent_name": "order-assistant",
        "request_model": "gpt-4.1-mini",
        "response_model": "gpt-4.1-mini",
        "usage": {"input_tokens": 1804, "output_tokens": 30},
        "cost_usd": 0.0008,
        "cost_source": "upstream",
        "error": None,
    }
    return {**row, **changed}


def debug(run_id: str, *children: str) -> Json:
    step: Json = {
        "step_index": 0,
        "timestamp": "2026-01-15T10:00:00.000000Z",
        "type": "user_input",
        "summary": f"question of {run_id}",
        "flags": [],
    }
    summary = {**run_summary(run_id), "cost": {"total_cost_usd": 0.000231}, "flags": []}
    return {"debug": {"summary": summary, "steps": [step], "children": [run_summary(child) for child in children]}}
