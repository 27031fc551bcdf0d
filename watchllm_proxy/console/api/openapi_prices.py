"""The part of `GET /openapi.json` about prices."""

from __future__ import annotations

from typing import Final

from watchllm_proxy.console.api.openapi_keys import PAGE_OR_ERROR
from watchllm_proxy.console.api.schemas import Schema, ref
from watchllm_proxy.console.prices import MAX_MODEL_CHARACTERS
from watchllm_proxy.enrich.price_lists import Rate

_MODEL: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": MAX_MODEL_CHARACTERS}
_USD: Final[Schema] = {"type": "string", "pattern": r"^\d+(\.\d+)?$"}
_INSTANT: Final[Schema] = {"type": "string", "format": "date-time"}
_PAGE: Final = {"description": "The page.", "content": {"text/html": {"schema": {"type": "string"}}}}
_WRONG: Final = {
    "400": "The body is not a JSON object.",
    "401": "The key shown is not in force, or none was sent.",
    "403": "It needs the scope that `code` names, or comes from a page of elsewhere.",
    "404": "The project has set no price for this model.",
    "415": "The body is not application/json.",
    "422": "A field cannot be used; `param` names it.",
    "503": "The store cannot be reached now; try again after Retry-After.",
}


def _object(properties: dict[str, Schema]) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _answer(schema: Schema) -> Schema:
    return {"description": "As it is now.", "content": {"application/json": {"schema": schema}}}


def _errors(statuses: str) -> dict[str, Schema]:
    return {
        status: {"description": _WRONG[status], "content": {"application/json": {"schema": ref("Error")}}}
        for status in statuses.split()
    }


_PRICE: Final = _object(
    {
        "model": {"type": "string"},
        "prices": {
            "type": "object",
            "description": "US dollars, exact: for a million tokens; of `call` and `web_search` for each.",
            "properties": {rate.value: _USD for rate in Rate},
            "additionalProperties": False,
        },
        "set_at": _INSTANT,
    }
)
_LIST: Final = _object(
    {
        "provider": {"type": "string"},
        "models": {"type": "integer", "minimum": 0},
        "source": {"type": "string"},
        "fetched_at": _INSTANT,
    }
)
_CHANGE: Final[Schema] = {
    "type": "object",
    "properties": {
        "model": _MODEL,
        "prices": {
            "type": "object",
            "description": "Numbers or decimal texts. What is left out costs what plain tokens cost.",
            "properties": {rate.value: {"type": ["string", "number"]} for rate in Rate},
            "additionalProperties": False,
            "minProperties": 1,
        },
    },
    "required": ["model", "prices"],
    "additionalProperties": False,
}
_FORM: Final[Schema] = {
    "requestBody": {"content": {"application/x-www-form-urlencoded": {"schema": {"type": "object"}}}},
    "responses": {
        "200": _PAGE,
        **dict.fromkeys(("401", "403", "404", "413", "415", "422", "503"), PAGE_OR_ERROR),
    },
}

PATHS: Final = {
    "/api/prices": {
        "get": {
            "summary": "Prices that the project has set, and lists that were fetched",
            "responses": {
                "200": _answer(
                    _object(
                        {"prices": {"type": "array", "items": _PRICE}, "lists": {"type": "array", "items": _LIST}}
                    )
                ),
                **_errors("401 403 503"),
            },
        },
        "put": {
            "summary": "Set what a model costs, in place of all that was set for it; holds for calls from now on",
            "requestBody": {"required": True, "content": {"application/json": {"schema": _CHANGE}}},
            "responses": {
                "200": _answer(_object({"price": _PRICE})),
                **_errors("400 401 403 404 415 422 503"),
            },
        },
        "delete": {
            "summary": "Forget what was set for a model: the lists hold again",
            "parameters": [{"name": "model", "in": "query", "required": True, "schema": _MODEL}],
            "responses": {
                "200": _answer(_object({"removed": {"type": "string"}})),
                **_errors("401 403 404 422 503"),
            },
        },
    },
    "/settings/prices": {
        "get": {
            "summary": "The same as a page",
            "responses": {"200": _PAGE, **_errors("401 403 503")},
        },
        "post": {"summary": "Set or remove a price, from the page", **_FORM},
    },
}
