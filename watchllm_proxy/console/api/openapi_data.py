"""The part of `GET /openapi.json` about what is stored of a project."""

from __future__ import annotations

from typing import Final

from watchllm_proxy.console.api.openapi_parts import BACK, PAGE, asked, form, json_answer
from watchllm_proxy.console.api.schemas import BOOLEAN, COUNT, MAYBE_COUNT
from watchllm_proxy.console.api.schemas.words import MAYBE_INSTANT, closed
from watchllm_proxy.enrich.redaction.kinds import RedactionMode

_DATA: Final = closed(
    {
        "retention_days": COUNT,
        "retention_said_by": {"enum": ["project", "plan", "installation"]},
        "keep_raw_days": COUNT,
        "redaction": {"enum": list(RedactionMode)},
        "store_content": BOOLEAN,
        "runs": COUNT,
        "is_runs_exact": BOOLEAN,
        "oldest_run_at": MAYBE_INSTANT,
        "calls": MAYBE_COUNT,
        "raw_bodies": MAYBE_COUNT,
    }
)

PATHS: Final = {
    "/settings/data": {
        "get": asked("What is stored and for how long, as a page", PAGE),
        "post": form("Change how long calls are kept", {"303": BACK}),
    },
    "/settings/data.json": {
        "get": asked("What is stored and for how long; 0 days are for ever", json_answer("The project's.", _DATA))
    },
    "/settings/data/erase": {
        "post": form("What an erasure would take, and with `confirm` the erasure", {"200": PAGE, "303": BACK})
    },
}
