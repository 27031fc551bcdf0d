"""The part of `GET /openapi.json` about sessions."""

from __future__ import annotations

from typing import Any, Final

from watchllm_proxy.console.api import schemas
from watchllm_proxy.console.api.openapi_parts import PAGE, asked, in_path, in_query, json_answer
from watchllm_proxy.console.api.schemas import BOOLEAN, COUNT, INSTANT, STRING, TEXT, USD, Schema
from watchllm_proxy.console.api.schemas.words import closed
from watchllm_proxy.console.pages.sessions import RUNS_A_PAGE
from watchllm_proxy.console.queries import MAX_LIMIT, MAX_OFFSET

_SESSION_ID: Final = in_path("session_id", "As it is shown, or as it was sent.", {"type": "string"})
_OFFSET: Final = in_query(
    "offset", "How many to pass over.", {"type": "integer", "minimum": 0, "maximum": MAX_OFFSET, "default": 0}
)
_TURNS: Final = in_query(
    "turns", "`any`: also sessions of a single turn.", {"enum": ["several", "any", ""], "default": "several"}
)
_WRONG: Final = "401 402 422 503"


def _limit(usual: int) -> Schema:
    return in_query(
        "limit", "How many.", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": usual}
    )


_SESSION: Final = closed(
    {
        "session_id": STRING,
        "title": STRING,
        "agent_name": TEXT,
        "user_id": TEXT,
        "turns": COUNT,
        "runs": COUNT,
        "running": COUNT,
        "failed": COUNT,
        "started_at": INSTANT,
        "last_activity_at": INSTANT,
        "total_steps": COUNT,
        "error_count": COUNT,
        "input_tokens": COUNT,
        "output_tokens": COUNT,
        "cache_read_input_tokens": COUNT,
        "total_cost_usd": USD,
        "unpriced_calls": COUNT,
    }
)
_SUMMARY: Final[Any] = schemas.ALL["RunSummary"]
_RUN: Final = closed({**_SUMMARY["properties"], "parent_run_id": TEXT})
_PLACE: Final = {"limit": COUNT, "offset": COUNT}
_LIST: Final = closed(
    {"sessions": {"type": "array", "items": _SESSION}, "total": COUNT, "is_total_exact": BOOLEAN, **_PLACE}
)
_ONE: Final = closed(
    {"session": _SESSION, "runs": {"type": "array", "items": _RUN}, "has_more": BOOLEAN, **_PLACE}
)
_OF_LIST: Final = (_limit(20), _OFFSET, _TURNS)
_OF_ONE: Final = (_SESSION_ID, _limit(RUNS_A_PAGE), _OFFSET)

PATHS: Final = {
    "/sessions": {"get": asked("Conversations of several runs, as a page", PAGE, *_OF_LIST, wrong=_WRONG)},
    "/sessions.json": {
        "get": asked(
            "Conversations of the newest runs, with figures over all runs of each",
            json_answer("The one with the newest run first.", _LIST),
            *_OF_LIST,
            wrong=_WRONG,
        )
    },
    "/sessions/{session_id}": {"get": asked("A session, as a page", PAGE, *_OF_ONE, wrong=f"{_WRONG} 404")},
    "/sessions/{session_id}.json": {
        "get": asked(
            "A session and its runs, oldest first",
            json_answer("The session.", _ONE),
            *_OF_ONE,
            wrong=f"{_WRONG} 404",
        )
    },
}
