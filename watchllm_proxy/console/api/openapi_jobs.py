"""The part of `GET /openapi.json` about jobs: exports, erasures, a backfill."""

from __future__ import annotations

from typing import Final

from watchllm_proxy.console.api.openapi_parts import FORM_ERRORS, PAGE, asked, closed, form, in_path, json_answer
from watchllm_proxy.console.api.schemas import COUNT, INSTANT, MAYBE_COUNT, STRING, TEXT, Schema
from watchllm_proxy.console.api.schemas.words import MAYBE_INSTANT
from watchllm_proxy.console.jobs import JobState
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
_TO_THE_JOB: Final = {"303": {"description": "To the page of the job."}}
_WRONG: Final = "401 403 404"

PATHS: Final = {
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
