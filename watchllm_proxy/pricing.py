"""CONDUCTOR of prices: what is stored of them -> the book that calls are priced by."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TypeVar
from uuid import UUID

import asyncpg
import structlog

from watchllm_proxy.enrich.price_lists import NO_BOOK, Listed, PriceBook, read_prices
from watchllm_proxy.enrich.prices import cost_of, read_table
from watchllm_proxy.records import Api, Call, ExchangeEnd, Usage, outlined_call
from watchllm_proxy.store.prices import Prices, StoredPrices

K = TypeVar("K")

log = structlog.get_logger(__name__)

OPENROUTER = "openrouter"
NO_ID = UUID(int=0)


class Pricing:
    """For one batch at a time. `upstream_url`: whose prices hold, where calls do not tell."""

    def __init__(self, pool: asyncpg.Pool | None, upstream_url: str | None) -> None:
        """Without a `pool` the built-in table is all there is."""
        self._prices = None if pool is None else Prices(pool)
        self._upstream_url = upstream_url
        self._read = StoredPrices()
        self._book = NO_BOOK

    async def make_ready(self) -> None:
        """So that the first call does not wait for the table of prices: a fifth of a second of imports."""
        await asyncio.to_thread(read_table, self._upstream_url)

    async def follow(self) -> None:
        """Price as projects want it now. Between two batches: a batch is priced in one way."""
        if self._prices is None:
            return
        stored = await self._prices.current()
        if stored is not self._read:
            self._book = book_of(stored)
            self._read = stored

    def priced(self, call: Call) -> Call:
        """What the upstream told of its cost stays as it is, whenever it was told."""
        if call.cost.source.is_told:
            return call
        return replace(call, cost=cost_of(call, self._upstream_url, self._book))

    def of_report(
        self, project_id: str, model: str, input_tokens: int, output_tokens: int, at_us: int
    ) -> Decimal | None:
        """Of a model call that somebody told of, wherever it was sent: by the model's name. None: unpriced."""
        call = outlined_call(
            call_id=NO_ID,
            project_id=project_id,
            api=Api.CHAT_COMPLETIONS,
            method="POST",
            started_at_us=at_us,
            end=ExchangeEnd.COMPLETE,
            http_status=200,
            usage=Usage(input_tokens, output_tokens),
            request_model=model,
        )
        return cost_of(call, None, self._book).usd


def book_of(stored: StoredPrices) -> PriceBook:
    fetched = stored.lists.get(OPENROUTER)
    listed = fetched.models if fetched is not None else {}
    listed_at = fetched.fetched_at_us if fetched is not None else 0
    return PriceBook(
        overrides=_read({key: each.prices for key, each in stored.overrides.items()}, _dates(stored)),
        openrouter=_read(listed, dict.fromkeys(listed, _written(listed_at))),
    )


def _dates(stored: StoredPrices) -> dict[tuple[str, str], str]:
    return {key: _written(each.set_at_us) for key, each in stored.overrides.items()}


def _read(prices: Mapping[K, Mapping[str, object]], dates: Mapping[K, str]) -> dict[K, Listed]:
    """One that cannot be read prices nothing, and holds up none of the others."""
    read: dict[K, Listed] = {}
    for key, told in prices.items():
        try:
            read[key] = Listed(read_prices(told), dates[key])
        except ValueError as exc:
            log.warning("pricing.price_not_read", of=str(key), error=str(exc))
    return read


def _written(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
