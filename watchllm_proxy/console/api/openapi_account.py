"""The part of `GET /openapi.json` about plans, usage and limits."""

from __future__ import annotations

from typing import Final

from watchllm_proxy.console.api.openapi_parts import (
    BACK,
    KEY_ID,
    NAMED_PROJECT,
    PAGE,
    asked,
    form,
    in_query,
    json_answer,
    sent,
)
from watchllm_proxy.console.api.schemas import Schema

_MONTH: Final = in_query(
    "month",
    "A month of UTC; this one where it is left out.",
    {"type": "string", "pattern": r"^(19[7-9]|[2-8]\d\d)\d-(0[1-9]|1[0-2])$"},
)


def _sent(summary: str, body: str, answer: str, *parameters: Schema) -> Schema:
    return sent(summary, body, {"200": json_answer("As it is now.", answer)}, *parameters)


PATHS: Final = {
    "/api/usage": {
        "get": asked(
            "Requests, refusals and cost of a month",
            json_answer("The month.", "MonthOfUsage"),
            _MONTH,
            wrong="401 403 422 503",
        )
    },
    "/api/plans": {"get": asked("What can be had, and what the project has", json_answer("Plans.", "PlanList"))},
    "/api/project": {
        "get": asked(
            "What the project chose",
            json_answer("Its settings.", "ProjectSettings"),
            NAMED_PROJECT,
            wrong="401 403 404 503",
        ),
        "patch": _sent("Change it; what is left out stays", "ProjectChange", "ProjectSettings"),
    },
    "/api/keys/{key_id}/limits": {
        "patch": _sent("Limits of a key; what is left out is no limit", "KeyLimits", "LimitedKey", KEY_ID)
    },
    "/usage": {"get": asked("What was used, as a page", PAGE, _MONTH, wrong="401 403 422 503")},
    "/pricing": {
        "get": asked("What can be had, as a page", PAGE),
        "post": form("Choose a plan, from the page", {"303": BACK}),
    },
}
