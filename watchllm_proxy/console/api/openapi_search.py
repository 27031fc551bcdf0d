"""The part of `GET /openapi.json` about looking for a text in a run."""

from __future__ import annotations

from typing import Final

from watchllm_proxy.console.api.openapi_parts import asked, in_path, in_query, json_answer
from watchllm_proxy.console.api.schemas import COUNT, TEXT, Schema
from watchllm_proxy.console.api.schemas.words import closed
from watchllm_proxy.console.finding import MAX_TEXT
from watchllm_proxy.console.samples import NAMES

_Q: Final = in_query(
    "q", "The text; upper and lower case are the same.", {"type": "string", "maxLength": MAX_TEXT}
)
_RUN_ID: Final = in_path("run_id", "Any printable characters, percent-encoded.", {"type": "string"})
_SAMPLE: Final = in_path("name", "Which sample run.", {"enum": list(NAMES)})
_FOUND: Final = json_answer(
    "Indexes of the steps; `note` says what could not be looked through.",
    closed({"steps": {"type": "array", "items": COUNT}, "note": TEXT}),
)

PATHS: Final[dict[str, Schema]] = {
    "/api/agent-runs/{run_id}/search": {
        "get": asked(
            "The steps of a run in which a text stands: in names, arguments, results, requests and answers",
            _FOUND,
            _RUN_ID,
            _Q,
            wrong="401 402 404 422 503",
        )
    },
    "/samples/{name}/search": {
        "get": asked("The steps of a sample run in which a text stands", _FOUND, _SAMPLE, _Q, wrong="404 422")
    },
}
