"""Prices as they are stored: a project's own, and lists that were fetched. Here they are plain JSON values."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import asyncpg
import orjson

from watchllm_proxy.store import views
from watchllm_proxy.store.sql import queries
from watchllm_proxy.store.transactions import QUESTION, UPKEEP, transaction

PRICES_S = 5.0
"""A changed price holds for calls that are thought about this much later."""

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class StoredOverride:
    """`prices`: US dollars as decimal texts, by what they are for."""

    model: str
    prices: Mapping[str, object]
    set_at_us: int


@dataclass(frozen=True, slots=True)
class StoredList:
    provider: str
    models: Mapping[str, Mapping[str, object]]
    source: str
    fetched_at_us: int


@dataclass(frozen=True, slots=True)
class StoredPrices:
    """All there is, of all projects."""

    overrides: Mapping[tuple[str, str], StoredOverride] = field(default_factory=dict)  # (project, model)
    lists: Mapping[str, StoredList] = field(default_factory=dict)  # by provider


class Prices:
    """For whoever prices calls. Asks at most each `PRICES_S`, and for a list only when there is a newer one."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._known = StoredPrices()
        self._newest = _LONG_AGO
        self._next_look = 0.0

    async def current(self) -> StoredPrices:
        """The same object until something changed. Raises `StoreUnavailable`."""
        if time.monotonic() >= self._next_look:
            sql = queries("postgres")
            async with transaction(self._pool, UPKEEP) as connection:
                overrides = await connection.fetch(sql["price_overrides"])
                lists = await connection.fetch(sql["price_lists_newer"], self._newest)
            fresh = StoredPrices(
                {(row["project_id"], row["model"]): _override(row) for row in overrides},
                {**self._known.lists, **{row["provider"]: _list(row) for row in lists}},
            )
            self._newest = max([self._newest, *(row["fetched_at"] for row in lists)])
            self._known = self._known if fresh == self._known else fresh
            self._next_look = time.monotonic() + PRICES_S
        return self._known


async def overrides_of(pool: asyncpg.Pool, project_id: str) -> list[StoredOverride]:
    """Of one project, by model."""
    async with transaction(pool, QUESTION, project_id) as connection:
        found = await connection.fetch(queries("postgres")["price_overrides_of"], project_id)
    return [_override(row) for row in found]


async def set_override(
    pool: asyncpg.Pool, project_id: str, model: str, prices: Mapping[str, str]
) -> StoredOverride | None:
    """Set it or set it anew; None: there is no such project. `model` as calls name it, in any case."""
    now, name = datetime.now(UTC), views.key(model.lower())
    async with transaction(pool, UPKEEP) as connection:
        written = orjson.dumps(dict(prices)).decode()
        done = await connection.fetch(queries("postgres")["set_price_override"], project_id, name, written, now)
    return StoredOverride(name, dict(prices), views.at_us(now)) if done else None


async def remove_override(pool: asyncpg.Pool, project_id: str, model: str) -> bool:
    """False: there was none."""
    async with transaction(pool, UPKEEP) as connection:
        name = views.key(model.lower())
        return bool(await connection.fetch(queries("postgres")["remove_price_override"], project_id, name))


async def save_list(
    pool: asyncpg.Pool, provider: str, models: Mapping[str, Mapping[str, str]], source: str
) -> None:
    """In place of the provider's list of before."""
    async with transaction(pool, UPKEEP) as connection:
        written = orjson.dumps(models).decode()
        await connection.execute(
            queries("postgres")["save_price_list"], provider, written, views.text(source), datetime.now(UTC)
        )


async def lists(pool: asyncpg.Pool) -> list[StoredList]:
    async with transaction(pool, UPKEEP) as connection:
        return [_list(row) for row in await connection.fetch(queries("postgres")["price_lists_newer"], _LONG_AGO)]


def _override(row: asyncpg.Record) -> StoredOverride:
    return StoredOverride(row["model"], orjson.loads(row["prices"]), views.at_us(row["set_at"]))


def _list(row: asyncpg.Record) -> StoredList:
    return StoredList(row["provider"], orjson.loads(row["prices"]), row["source"], views.at_us(row["fetched_at"]))
