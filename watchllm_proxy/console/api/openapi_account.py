"""The part of `GET /openapi.json` about plans, usage and limits."""

from __future__ import annotations

from typing import Final

from watchllm_proxy.console.api.openapi_keys import PAGE_OR_ERROR
from watchllm_proxy.console.api.schemas import Schema, ref

_PAGE: Final = {"description": "The page.", "content": {"text/html": {"schema": {"type": "string"}}}}
_MONTH: Final = {
    "name": "month",
    "in": "query",
    "description": "A month of UTC; this one where it is left out.",
    "schema": {"type": "string", "pattern": r"^(19[7-9]|[2-8]\d\d)\d-(0[1-9]|1[0-2])$"},
}
_KEY_ID: Final = {"name": "key_id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
_WRONG: Final = {
    "400": "The body is not a JSON object.",
    "401": "The key shown is not in force, or none was sent.",
    "403": "It needs the scope that `code` names, or comes from a page of elsewhere.",
    "404": "There is no such project or key, or it is somebody else's: the same body.",
    "413": "The body is larger than this address takes.",
    "415": "The body is not application/json.",
    "422": "A field cannot be used; `param` names it.",
    "503": "The store cannot be reached now; try again after Retry-After.",
}


def _json(description: str, schema: str) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": ref(schema)}}}


def _errors(statuses: str) -> dict[str, Schema]:
    return {status: _json(_WRONG[status], "Error") for status in statuses.split()}


def _asked(summary: str, answer: Schema, *parameters: Schema, errors: str = "401 403 503") -> Schema:
    return {"summary": summary, "parameters": parameters, "responses": {"200": answer, **_errors(errors)}}


def _sent(summary: str, body: str, answer: str, *parameters: Schema) -> Schema:
    return {
        "summary": summary,
        "parameters": parameters,
        "requestBody": {"required": True, "content": {"application/json": {"schema": ref(body)}}},
        "responses": {"200": _json("As it is now.", answer), **_errors("400 401 403 404 413 415 422 503")},
    }


_FORM: Final = {
    "summary": "Choose a plan, from the page",
    "requestBody": {"content": {"application/x-www-form-urlencoded": {"schema": {"type": "object"}}}},
    "responses": {
        "303": {"description": "Done: back to the page."},
        **dict.fromkeys(("401", "403", "404", "413", "415", "422", "503"), PAGE_OR_ERROR),
    },
}

PATHS: Final = {
    "/api/usage": {
        "get": _asked(
            "Requests, refusals and cost of a month",
            _json("The month.", "MonthOfUsage"),
            _MONTH,
            errors="401 403 422 503",
        )
    },
    "/api/plans": {"get": _asked("What can be had, and what the project has", _json("Plans.", "PlanList"))},
    "/api/project": {
        "get": _asked(
            "What the project chose", _json("Its settings.", "ProjectSettings"), errors="401 403 404 503"
        ),
        "patch": _sent("Change it; what is left out stays", "ProjectChange", "ProjectSettings"),
    },
    "/api/keys/{key_id}/limits": {
        "patch": _sent("Limits of a key; what is left out is no limit", "KeyLimits", "LimitedKey", _KEY_ID)
    },
    "/usage": {"get": _asked("What was used, as a page", _PAGE, _MONTH, errors="401 403 422 503")},
    "/pricing": {"get": _asked("What can be had, as a page", _PAGE), "post": _FORM},
}
