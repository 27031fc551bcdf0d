"""What a project pays for models: looked up, set and removed. The page and the API say the same by way of this."""

from __future__ import annotations

from collections.abc import Mapping

import asyncpg
from aiohttp import web

from watchllm_proxy.console.answers import Problem
from watchllm_proxy.console.context import POOL, project_of
from watchllm_proxy.enrich.price_lists import read_prices, written_prices
from watchllm_proxy.errors import StoreUnavailable
from watchllm_proxy.store import prices
from watchllm_proxy.store.prices import StoredList, StoredOverride

MAX_MODEL_CHARACTERS = 200


async def overrides(request: web.Request) -> list[StoredOverride]:
    return await prices.overrides_of(_pool(request), project_of(request))


async def lists(request: web.Request) -> list[StoredList]:
    return await prices.lists(_pool(request))


async def set_price(request: web.Request, model: object, told: object) -> StoredOverride:
    """Raises `Problem` that names the field."""
    name = _model(model)
    try:
        written = written_prices(read_prices(told if isinstance(told, Mapping) else None))
    except ValueError as exc:
        raise Problem(422, "invalid_parameter", f"These prices cannot be used: {exc}.", "prices") from exc
    found = await prices.set_override(_pool(request), project_of(request), name, written)
    if found is None:
        raise web.HTTPNotFound
    return found


async def remove_price(request: web.Request, model: object) -> None:
    if not await prices.remove_override(_pool(request), project_of(request), _model(model)):
        raise web.HTTPNotFound


def _model(model: object) -> str:
    name = model.strip() if isinstance(model, str) else ""
    if not 0 < len(name) <= MAX_MODEL_CHARACTERS or not name.isprintable():
        raise Problem(
            422,
            "invalid_parameter",
            f"model is the name that calls give, 1 to {MAX_MODEL_CHARACTERS} printable characters.",
            "model",
        )
    return name


def _pool(request: web.Request) -> asyncpg.Pool:
    pool = request.app[POOL]
    if pool is None:
        raise StoreUnavailable("this console has no store of prices")
    return pool
