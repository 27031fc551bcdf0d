from __future__ import annotations

import random
import socket
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import genai_prices
import pytest
from genai_prices import data_snapshot

from tests.unit.decode.exchanges import CHAT, MESSAGES, decoded
from watchllm_proxy.enrich.prices import _billed, _look_up, cost_of, price
from watchllm_proxy.records import UNKNOWN_COST, Call, Cost, CostSource, ExchangeEnd, Usage

_VERSION = f"genai-prices {genai_prices.__version__}"


def _call(model: str | None, usage: dict[str, Any] | None = None, asked: str = "asked", **fields: Any) -> Call:
    told = {"prompt_tokens": 1000, "completion_tokens": 100} if usage is None else usage
    body = {"id": "x", "model": model, "choices": [{"index": 0, "message": {"content": "x"}}], "usage": told}
    return decoded(CHAT, {"model": asked, "messages": []}, {**body, **fields})


def _usd(call: Call) -> Decimal | None:
    return cost_of(call).usd


def test_the_upstreams_figure_comes_first_and_is_exact() -> None:
    call = _call("gpt-4o", {"prompt_tokens": 1000, "completion_tokens": 100, "cost": 0.00007159})
    assert price(call).cost == Cost(Decimal("0.00007159"), CostSource.UPSTREAM)


def test_a_told_zero_is_the_upstreams_figure_too() -> None:
    assert cost_of(_call("gpt-4o", {"cost": 0})) == Cost(Decimal(0), CostSource.UPSTREAM)


def test_the_table_prices_what_the_upstream_does_not() -> None:
    # 1,000 × $0.15 and 100 × $0.60 per million
    assert price(_call("gpt-4o-mini-2024-07-18")).cost == Cost(
        Decimal("0.00021"), CostSource.PRICE_TABLE, "openai", _VERSION
    )


@pytest.mark.parametrize("fields", [{}, {"provider": "OpenAI"}, {"id": "gen-1"}])
def test_an_openrouter_name_is_looked_up_at_openrouter(fields: dict[str, Any]) -> None:
    cost = cost_of(_call("openai/gpt-4o-mini", **fields))
    assert (cost.usd, cost.price_provider) == (Decimal("0.00021"), "openrouter")


def test_cached_tokens_cost_less() -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "prompt_tokens_details": {"cached_tokens": 400}}
    # 600 × $0.15, 400 × $0.075, 100 × $0.60
    assert _usd(_call("gpt-4o-mini", usage)) == Decimal("0.00018")


def _anthropic(**usage: Any) -> Call:
    body = {"id": "m", "model": "claude-sonnet-4-5", "content": [], "stop_reason": "end_turn", "usage": usage}
    return decoded(MESSAGES, {"model": "claude-sonnet-4-5", "messages": []}, body)


def test_anthropics_cache_is_priced_by_reading_writing_and_time_to_live() -> None:
    told = {
        "input_tokens": 400,
        "output_tokens": 10,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 500,
    }
    # 400 × $3, 100 × $0.30, 500 × $3.75, 10 × $15 per million
    assert _usd(_anthropic(**told)) == Decimal("0.003255")
    hour = {"cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 500}}
    assert _usd(_anthropic(**told, **hour)) == Decimal("0.003255") + 500 * Decimal("2.25e-6")


def test_a_web_search_has_its_own_price() -> None:
    told = {"input_tokens": 1000, "output_tokens": 0}
    searched = _usd(_anthropic(**told, server_tool_use={"web_search_requests": 2}))
    assert searched == (_usd(_anthropic(**told)) or 0) + Decimal("0.02")


def test_reasoning_beside_the_output_is_billed() -> None:
    beside = {
        "prompt_tokens": 12,
        "completion_tokens": 2,
        "total_tokens": 334,
        "completion_tokens_details": {"reasoning_tokens": 320},
    }
    inside = {**beside, "completion_tokens": 322}
    assert _usd(_call("grok-4", beside)) == _usd(_call("grok-4", inside)) is not None


def test_a_service_tier_changes_the_price() -> None:
    in_november = 1_793_500_000_000_000  # the table knows tiers from October 2026 on
    calls = [_call("gpt-5"), _call("gpt-5", service_tier="flex"), _call("gpt-5", service_tier="new-and-unknown")]
    standard, flex, unknown = (_usd(replace(call, started_at_us=in_november)) for call in calls)
    assert standard is not None
    assert flex == standard / 2
    assert unknown == standard


def test_a_free_model_costs_nothing() -> None:
    assert cost_of(_call("minimax/minimax-m2:free")) == Cost(
        Decimal(0), CostSource.PRICE_TABLE, "openrouter", _VERSION
    )


def test_the_answering_model_is_priced_and_the_asked_one_where_it_is_unknown() -> None:
    assert _usd(_call("openai/gpt-4o-mini", asked="openrouter/auto")) == Decimal("0.00021")
    assert _usd(_call("my-deployment-7", asked="gpt-4o-mini")) == Decimal("0.00021")


@pytest.mark.parametrize("model", [None, "", "my-gpt-4o-thing", "openrouter/auto", "llama3.2:1b", "x" * 5000])
def test_an_unknown_model_is_unpriced_and_not_free(model: str | None) -> None:
    assert cost_of(_call(model)) == UNKNOWN_COST


@pytest.mark.parametrize("usage", [{}, {"prompt_tokens": 5}, {"completion_tokens": 5}])
def test_half_a_usage_is_no_price(usage: dict[str, Any]) -> None:
    assert cost_of(_call("gpt-4o", usage)) == UNKNOWN_COST


def test_embeddings_need_no_output() -> None:
    body = {"model": "text-embedding-3-small", "data": [], "usage": {"prompt_tokens": 1000, "total_tokens": 1000}}
    assert _usd(decoded("/v1/embeddings", {"input": "x"}, body)) == Decimal("0.00002")


@pytest.mark.parametrize(
    ("status", "end", "usd"),
    [
        (429, ExchangeEnd.COMPLETE, Decimal(0)),
        (500, ExchangeEnd.COMPLETE, Decimal(0)),
        (None, ExchangeEnd.UPSTREAM_UNREACHABLE, Decimal(0)),
        # The model may have run, and somebody may be billed.
        (None, ExchangeEnd.UPSTREAM_TIMEOUT, None),
        (200, ExchangeEnd.UPSTREAM_BROKEN, None),
        (None, ExchangeEnd.CLIENT_ABORTED, None),
    ],
)
def test_only_a_call_that_ran_no_model_is_free(status: int | None, end: ExchangeEnd, usd: Decimal | None) -> None:
    call = decoded(CHAT, {"model": "gpt-4o", "messages": []}, {"error": {"message": "m"}}, status=status, end=end)
    assert cost_of(call).usd == usd


def test_a_failed_call_with_a_told_usage_is_priced() -> None:
    call = _call("gpt-4o-mini", error={"message": "late", "code": 502})
    assert call.is_failed
    assert _usd(call) == Decimal("0.00021")


def test_the_upstreams_address_tells_whose_prices_hold() -> None:
    call = _call("llama-3.3-70b-versatile")
    assert cost_of(call) == UNKNOWN_COST
    assert cost_of(call, "https://api.groq.com/openai/v1").price_provider == "groq"
    assert cost_of(_call("gpt-4o-mini"), "http://127.0.0.1:9/v1").price_provider == "openai"


def test_more_cached_than_read_is_priced_as_all_cached() -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 0, "prompt_tokens_details": {"cached_tokens": 200}}
    assert _usd(_call("gpt-4o-mini", usage)) == Decimal("0.0000075")


def test_pricing_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    assert _usd(_call("gpt-4.1")) is not None
    assert _usd(_call("no-such-model")) is None


def test_every_model_of_the_table_costs_what_the_table_says() -> None:
    """Prices are kept as sums, by the minute: for any usage they come to what the library calculates."""
    chance = random.Random(1)
    at_us = 1_795_000_000_000_000
    at = datetime.fromtimestamp(at_us / 1e6, tz=UTC)
    compared = 0
    for provider in data_snapshot.get_snapshot().providers:
        for model in provider.models:
            read, written = chance.randrange(1, 400_000), chance.randrange(1, 50_000)
            cached = chance.randrange(1, read + 1)
            usage = Usage(read, written, read + written, cached, chance.randrange(read - cached + 1))
            call = replace(_call(model.id), usage=usage, started_at_us=at_us)
            found = _look_up(call, model.id.lower(), provider.id)
            billed = genai_prices.Usage(**_billed(usage, {}))
            try:
                told = genai_prices.calc_price(
                    billed, model.id, provider_id=provider.id, genai_request_timestamp=at
                )
            except (LookupError, ValueError):
                assert found is None, (provider.id, model.id)
                continue
            assert found is not None, (provider.id, model.id)
            assert found.usd == told.total_price, (provider.id, model.id)
            compared += 1
    assert compared > 500


def test_a_price_is_that_of_its_hour() -> None:
    """DeepSeek once was cheaper at night."""
    at_noon, at_night = 1_744_000_000 // 86_400 * 86_400 + 12 * 3600, 1_744_000_000 // 86_400 * 86_400 + 20 * 3600
    call = _call("deepseek-chat")
    costs = {
        _look_up(replace(call, started_at_us=at_s * 1_000_000), "deepseek-chat", "deepseek")
        for at_s in (at_noon, at_night)
    }
    assert len(costs) == 2
