"""`GET`, `PUT` and `DELETE /api/prices`: what a project pays for models, before any list."""

from __future__ import annotations

from aiohttp import web

from watchllm_proxy.console import prices
from watchllm_proxy.console.answers import json_answer
from watchllm_proxy.console.api.bodies import json_object
from watchllm_proxy.console.correcting import known_fields_only
from watchllm_proxy.console.formats import instant
from watchllm_proxy.store.prices import StoredOverride


async def show_prices(request: web.Request) -> web.Response:
    return json_answer(
        {
            "prices": [_price(each) for each in await prices.overrides(request)],
            "lists": [
                {
                    "provider": each.provider,
                    "models": len(each.models),
                    "source": each.source,
                    "fetched_at": instant(each.fetched_at_us),
                }
                for each in await prices.lists(request)
            ],
        }
    )


async def set_price(request: web.Request) -> web.Response:
    """In place of all that was set for this model before."""
    fields = await json_object(request)
    known_fields_only(fields, "model", "prices")
    return json_answer(
        {"price": _price(await prices.set_price(request, fields.get("model"), fields.get("prices")))}
    )


async def remove_price(request: web.Request) -> web.Response:
    model = request.query.get("model")
    await prices.remove_price(request, model)
    return json_answer({"removed": model})


def _price(each: StoredOverride) -> dict[str, object]:
    return {"model": each.model, "prices": dict(each.prices), "set_at": instant(each.set_at_us)}
