"""The part of `GET /openapi.json` about prices."""

from __future__ import annotations

from typing import Final

from watchllm_proxy.console.api.openapi_parts import PAGE, asked, form, in_query, json_answer, sent
from watchllm_proxy.console.api.schemas import Schema
from watchllm_proxy.console.api.schemas.words import closed
from watchllm_proxy.console.prices import MAX_MODEL_CHARACTERS
from watchllm_proxy.enrich.price_lists import Rate

_MODEL: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": MAX_MODEL_CHARACTERS}
_USD: Final[Schema] = {"type": "string", "pattern": r"^\d+(\.\d+)?$"}
_INSTANT: Final[Schema] = {"type": "string", "format": "date-time"}
_PRICE: Final = closed(
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
_LIST: Final = closed(
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
_PRICES: Final = closed({"prices": {"type": "array", "items": _PRICE}, "lists": {"type": "array", "items": _LIST}})


def _now(schema: Schema) -> Schema:
    return json_answer("As it is now.", schema)


PATHS: Final = {
    "/api/prices": {
        "get": asked("Prices that the project has set, and lists that were fetched", _now(_PRICES)),
        "put": sent(
            "Set what a model costs, in place of all that was set for it; holds for calls from now on",
            _CHANGE,
            {"200": _now(closed({"price": _PRICE}))},
        ),
        "delete": asked(
            "Forget what was set for a model: the lists hold again",
            _now(closed({"removed": {"type": "string"}})),
            in_query("model", "As calls name it.", _MODEL, required=True),
            wrong="401 403 404 422 503",
        ),
    },
    "/settings/prices": {
        "get": asked("The same as a page", PAGE),
        "post": form("Set or remove a price, from the page", {"200": PAGE}),
    },
}
