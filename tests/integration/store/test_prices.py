"""Prices as they are stored: set by a project, fetched as a list, and read by who prices calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from tests.unit.decode.exchanges import CHAT, decoded
from watchllm_proxy.pricing import Pricing
from watchllm_proxy.records import UNKNOWN_COST, Call, CostSource
from watchllm_proxy.store import prices
from watchllm_proxy.store.projects import create_project
from watchllm_proxy.store.transactions import UPKEEP, open_pool, transaction


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    opened = await open_pool(postgres_dsn)
    await create_project(opened, "acme", "Acme")
    yield opened
    await opened.close()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prices, "PRICES_S", 0.0)


def _call(model: str, **usage: Any) -> Call:
    body = {"model": model, "choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 100, **usage}}
    return decoded(CHAT, {"model": model, "messages": []}, body)


async def _priced(pricing: Pricing, call: Call) -> Decimal | None:
    await pricing.follow()
    return pricing.priced(call).cost.usd


async def test_an_override_holds_from_the_next_look_on_and_ends_when_it_is_removed(
    pool: asyncpg.Pool, at_once: None
) -> None:
    pricing = Pricing(pool, None)
    assert await _priced(pricing, _call("my-llama")) is None
    await prices.set_override(pool, "default", "My-Llama", {"input": "1", "output": "2"})
    assert await _priced(pricing, _call("my-llama")) == Decimal("0.0012")
    await prices.set_override(pool, "default", "my-llama", {"input": "10", "output": "20"})
    assert await _priced(pricing, _call("my-llama")) == Decimal("0.012")
    assert await prices.remove_override(pool, "default", "MY-LLAMA")
    assert not await prices.remove_override(pool, "default", "my-llama")
    assert await _priced(pricing, _call("my-llama")) is None


async def test_each_project_has_its_own(pool: asyncpg.Pool, at_once: None) -> None:
    await prices.set_override(pool, "acme", "m", {"input": "1", "output": "2"})
    pricing = Pricing(pool, None)
    assert await _priced(pricing, _call("m")) is None
    assert await _priced(pricing, replace(_call("m"), project_id="acme")) == Decimal("0.0012")
    assert [each.model for each in await prices.overrides_of(pool, "acme")] == ["m"]
    assert await prices.overrides_of(pool, "default") == []
    assert await prices.set_override(pool, "nobody", "m", {"input": "1"}) is None


async def test_a_fetched_list_replaces_the_one_before(pool: asyncpg.Pool, at_once: None) -> None:
    pricing = Pricing(pool, None)
    call = _call("acme/new-model")
    await prices.save_list(pool, "openrouter", {"acme/new-model": {"input": "1", "output": "2"}}, "models.json")
    await pricing.follow()
    cost = pricing.priced(call).cost
    assert (cost.usd, cost.source, cost.price_provider) == (
        Decimal("0.0012"), CostSource.PRICE_TABLE, "openrouter",
    )  # fmt: skip
    assert cost.price_date is not None
    await prices.save_list(pool, "openrouter", {"acme/other": {"input": "1", "output": "2"}}, "models.json")
    assert await _priced(pricing, call) is None
    assert [(each.source, set(each.models)) for each in await prices.lists(pool)] == [
        ("models.json", {"acme/other"})
    ]


async def test_what_cannot_be_read_prices_nothing_and_holds_up_nobody(pool: asyncpg.Pool, at_once: None) -> None:
    await prices.set_override(pool, "default", "good", {"input": "1", "output": "2"})
    async with transaction(pool, UPKEEP) as connection:
        await connection.execute(
            "INSERT INTO price_overrides SELECT 'default', 'bad', '{\"input\": \"dear\"}', now()"
        )
    pricing = Pricing(pool, None)
    assert await _priced(pricing, _call("good")) == Decimal("0.0012")
    assert await _priced(pricing, _call("bad")) is None


async def test_what_the_upstream_told_is_no_matter_of_price(pool: asyncpg.Pool, at_once: None) -> None:
    await prices.set_override(pool, "default", "m", {"input": "1", "output": "2"})
    pricing = Pricing(pool, None)
    assert await _priced(pricing, _call("m", cost=0.5)) == Decimal("0.5")
    told = replace(_call("m"), cost=replace(UNKNOWN_COST, usd=Decimal(3), source=CostSource.GENERATION))
    assert await _priced(pricing, told) == 3


async def test_a_price_is_looked_for_once_in_a_while(pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    original: Callable[..., Any] = transaction

    def counted(*args: Any) -> Any:
        nonlocal looks
        looks += 1
        return original(*args)

    monkeypatch.setattr("watchllm_proxy.store.prices.transaction", counted)
    pricing = Pricing(pool, None)
    for _ in range(10):
        await pricing.follow()
    assert looks == 1
