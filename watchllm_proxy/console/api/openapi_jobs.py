"""The part of `GET /openapi.json` about jobs: exports, erasures, a backfill."""

from __future__ import annotations

from typing import Final

from watchllm_proxy.console.api.openapi_parts import (
    FORM_ERRORS,
    PAGE,
    SENT_ERRORS,
    asked,
    form,
    in_path,
    json_answer,
    sent,
    storable,
)
from watchllm_proxy.console.api.schemas import BOOLEAN, COUNT, INSTANT, MAYBE_COUNT, STRING, TEXT, Schema
from watchllm_proxy.console.api.schemas.words import MAYBE_INSTANT, closed
from watchllm_proxy.console.jobs import JobState
from watchllm_proxy.console.pages.data import MAX_SUBJECT
from watchllm_proxy.store.erasures import ErasureScope

_UUID: Final[Schema] = {"type": "string", "format": "uuid"}
_JOB_ID: Final = in_path("job_id", "As /jobs.json gives it.", _UUID)
_EXPORT: Final = closed(
    {
        "job_id": _UUID,
        "state": {"enum": list(JobState)},
        "asked_at": INSTANT,
        "started_at": MAYBE_INSTANT,
        "ended_at": MAYBE_INSTANT,
        "runs": COUNT,
        "total_runs": MAYBE_COUNT,
        "size_bytes": COUNT,
        "failure": TEXT,
        "removed_at": MAYBE_INSTANT,
    }
)
_ERASURE: Final = closed(
    {
        "erasure_id": _UUID,
        "scope": {"enum": list(ErasureScope)},
        "subject": TEXT,
        "requested_at": INSTANT,
        "done_at": MAYBE_INSTANT,
        "failure": TEXT,
        "erased": {"type": ["object", "null"], "additionalProperties": COUNT},
    }
)
_BACKFILL: Final = closed(
    {
        "from": INSTANT,
        "to": INSTANT,
        "done_until": INSTANT,
        "thought_calls": COUNT,
        "moved_calls": COUNT,
        "left_calls": COUNT,
        "repriced_calls": COUNT,
    }
)
_JOBS: Final = closed(
    {
        "exports": {"type": "array", "items": _EXPORT},
        "erasures": {"type": "array", "items": _ERASURE},
        "backfill": {"anyOf": [_BACKFILL, {"type": "null"}]},
    }
)
_FILE: Final = {"description": "Lines.", "content": {"application/x-ndjson": {"schema": {"type": "string"}}}}
_ASKED_EXPORT: Final = {
    "202": json_answer("It is made in the background: /jobs/{job_id}.json.", closed({"export": _EXPORT}))
}
_ASKED_ERASURE: Final = closed(
    {"erasure_id": _UUID, "scope": {"enum": list(ErasureScope)}, "subject": STRING, "requested_at": INSTANT}
)
_ERASABLE: Final = closed(
    {"erasure": {"anyOf": [_ASKED_ERASURE, {"type": "null"}]}, "runs": COUNT, "is_total_exact": BOOLEAN}
)
_ERASURE_REQUEST: Final = storable(
    {
        "type": "object",
        "properties": {
            "scope": {"enum": [ErasureScope.RUN, ErasureScope.USER]},
            "subject": {"type": "string", "minLength": 1, "maxLength": MAX_SUBJECT},
            "confirm": BOOLEAN,
        },
        "required": ["scope", "subject"],
        "additionalProperties": False,
    }
)
_TO_THE_JOB: Final = {"303": {"description": "To the page of the job."}}
_WRONG: Final = "401 403 404"

PATHS: Final = {
    "/api/exports": {
        "post": sent("Export all runs of the project", "Nothing", _ASKED_EXPORT, wrong=f"{SENT_ERRORS} 409")
    },
    "/api/exports/{job_id}/cancel": {"post": sent("Cancel an export", "Nothing", _ASKED_EXPORT, _JOB_ID)},
    "/api/erasures": {
        "post": sent(
            "Erase a run or a user: with `confirm` it is asked for, without it is told what would go",
            _ERASURE_REQUEST,
            {
                "200": json_answer("Nothing is asked for: how many runs would go.", _ERASABLE),
                "202": json_answer("The recorder erases them: /jobs.json.", _ERASABLE),
            },
            wrong=f"{SENT_ERRORS} 409",
        )
    },
    "/jobs": {
        "get": asked("Work under way, as a page", PAGE),
        "post": form("Export all runs of the project", _TO_THE_JOB, wrong=f"{FORM_ERRORS} 409"),
    },
    "/jobs.json": {"get": asked("Work under way", json_answer("The newest first.", _JOBS))},
    "/jobs/{job_id}": {"get": asked("An export, as a page", PAGE, _JOB_ID, wrong=_WRONG)},
    "/jobs/{job_id}.json": {
        "get": asked(
            "How far an export is",
            json_answer("It, and the same in words.", closed({"export": _EXPORT, "words": STRING})),
            _JOB_ID,
            wrong=_WRONG,
        )
    },
    "/jobs/{job_id}.ndjson": {
        "get": asked("What was exported; ranges of bytes may be asked for", _FILE, _JOB_ID, wrong=_WRONG)
    },
    "/jobs/{job_id}/cancel": {"post": form("Cancel it", _TO_THE_JOB, _JOB_ID)},
}
