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
from watchllm_proxy.enrich import prices
from watchllm_proxy.enrich.price_lists import Listed, ModelPrices, PriceBook, Rate
from watchllm_proxy.enrich.prices import _billed, _look_up, cost_of, marginals_of, price
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
            counts = _billed(usage, {})
            found = _look_up(call, model.id.lower(), provider.id, tuple(counts))
            billed = genai_prices.Usage(**counts)
            try:
                told = genai_prices.calc_price(
                    billed, model.id, provider_id=provider.id, genai_request_timestamp=at
                )
            except (LookupError, ValueError):
                assert found is None, (provider.id, model.id)
                continue
            assert found is not None, (provider.id, model.id)
            assert found.total(counts) == told.total_price, (provider.id, model.id)
            compared += 1
    assert compared > 500


def test_a_price_is_that_of_its_hour() -> None:
    """DeepSeek once was cheaper at night."""
    at_noon, at_night = 1_744_000_000 // 86_400 * 86_400 + 12 * 3600, 1_744_000_000 // 86_400 * 86_400 + 20 * 3600
    call = _call("deepseek-chat")
    counts = _billed(call.usage, {})
    found = [
        _look_up(replace(call, started_at_us=at_s * 1_000_000), "deepseek-chat", "deepseek", tuple(counts))
        for at_s in (at_noon, at_night)
    ]
    assert len({prices.total(counts) for prices in found if prices is not None}) == 2


# --- sound and pictures


@pytest.mark.parametrize(
    ("details", "usd"),
    [
        ({}, "0.0056"),  # gpt-realtime: 1,000 × $4 and 100 × $16 per million
        ({"prompt_tokens_details": {"audio_tokens": 200}}, "0.0112"),  # + 200 × ($32 - $4)
        ({"prompt_tokens_details": {"image_tokens": 100}}, "0.0057"),  # + 100 × ($5 - $4)
        ({"completion_tokens_details": {"audio_tokens": 50}}, "0.0080"),  # + 50 × ($64 - $16)
        (
            # 50 of the 200 from the cache, and 50 cached texts, at $0.40 each
            {
                "prompt_tokens_details": {
                    "audio_tokens": 200,
                    "cached_tokens": 100,
                    "cached_tokens_details": {"audio_tokens": 50},
                }
            },
            "0.00944",
        ),
    ],
)
def test_sound_and_pictures_have_their_own_prices(details: dict[str, Any], usd: str) -> None:
    call = _call("gpt-realtime", {"prompt_tokens": 1000, "completion_tokens": 100, **details})
    assert _usd(call) == Decimal(usd)


def test_responses_tell_their_sound_under_other_names() -> None:
    chat = {"prompt_tokens": 1000, "completion_tokens": 0, "prompt_tokens_details": {"audio_tokens": 200}}
    body = {
        "id": "resp_1",
        "model": "gpt-realtime",
        "output": [],
        "usage": {"input_tokens": 1000, "output_tokens": 0, "input_tokens_details": {"audio_tokens": 200}},
    }
    call = decoded("/v1/responses", {"model": "gpt-realtime", "input": "x"}, body)
    assert _usd(call) == _usd(_call("gpt-realtime", chat)) is not None


def test_counts_that_contradict_each_other_never_bill_more_than_their_whole() -> None:
    told = {"prompt_tokens": 10, "completion_tokens": 0, "prompt_tokens_details": {"audio_tokens": 10**9}}
    assert _usd(_call("gpt-realtime", told)) == 10 * Decimal("32e-6")


# --- the project's own prices, and a fetched list


def _book(model: str, project_id: str = "default", **rates: str) -> PriceBook:
    prices = ModelPrices({Rate(name): Decimal(usd) for name, usd in rates.items()})
    return PriceBook(overrides={(project_id, model): Listed(prices, "2026-11-22T10:00:00Z")})


def test_a_projects_own_price_comes_before_the_table() -> None:
    book = _book("gpt-4o-mini", input="1", output="2", call="0.5")
    assert cost_of(_call("gpt-4o-mini"), book=book) == Cost(
        Decimal("0.5012"), CostSource.OVERRIDE, None, "2026-11-22T10:00:00Z"
    )


def test_a_projects_own_price_never_alters_what_the_upstream_stated() -> None:
    book = _book("gpt-4o-mini", input="1", output="2")
    call = _call("gpt-4o-mini", {"prompt_tokens": 1000, "completion_tokens": 100, "cost": 0.25})
    assert cost_of(call, book=book) == Cost(Decimal("0.25"), CostSource.UPSTREAM)


def test_a_price_of_one_project_is_not_that_of_another() -> None:
    book = _book("my-llama", project_id="other", input="1", output="2")
    assert cost_of(_call("my-llama"), book=book) == UNKNOWN_COST
    assert cost_of(replace(_call("my-llama"), project_id="other"), book=book).usd == Decimal("0.0012")


@pytest.mark.parametrize(
    ("answered", "asked"), [("acme/My-Llama", "x"), ("other", "my-llama"), (None, "MY-LLAMA")]
)
def test_an_override_is_found_by_either_name_in_any_case(answered: str | None, asked: str) -> None:
    book = _book("my-llama", input="1", output="2")
    assert cost_of(_call(answered, asked=asked), book=book).source is CostSource.OVERRIDE


def test_an_override_prices_every_kind_of_token() -> None:
    book = _book(
        "m", input="10", output="20", cache_read="1", cache_write="12.5", reasoning="30", input_audio="100"
    )
    told = {
        "prompt_tokens": 1000,
        "completion_tokens": 100,
        "prompt_tokens_details": {"cached_tokens": 300, "cache_write_tokens": 200, "audio_tokens": 50},
        "completion_tokens_details": {"reasoning_tokens": 40},
    }
    plain, cached, written, audio = 1000 - 300 - 200 - 50, 300, 200, 50
    total = plain * 10 + cached * 1 + written * Decimal("12.5") + audio * 100 + 60 * 20 + 40 * 30
    assert cost_of(_call("m", told), book=book).usd == total / 1_000_000


def test_a_rate_that_is_not_set_is_that_of_plain_tokens() -> None:
    told = {"prompt_tokens": 1000, "completion_tokens": 0, "prompt_tokens_details": {"cached_tokens": 1000}}
    assert cost_of(_call("m", told), book=_book("m", input="10", output="20")).usd == Decimal("0.01")


def test_half_a_usage_has_no_price_even_of_ones_own() -> None:
    assert cost_of(_call("m", {"prompt_tokens": 5}), book=_book("m", input="1", output="2")) == UNKNOWN_COST


def test_a_fetched_list_comes_before_the_built_in_one_for_openrouters_names_alone() -> None:
    prices = ModelPrices({Rate.INPUT: Decimal(1), Rate.OUTPUT: Decimal(2)})
    book = PriceBook(
        openrouter={"openai/gpt-4o-mini": Listed(prices, "2026-11-22"), "gpt-4o-mini": Listed(prices, "x")}
    )
    assert cost_of(_call("openai/gpt-4o-mini"), book=book) == Cost(
        Decimal("0.0012"), CostSource.PRICE_TABLE, "openrouter", "2026-11-22"
    )
    assert cost_of(_call("gpt-4o-mini"), book=book).price_provider == "openai"


def test_marginal_prices_tell_what_a_cached_token_saved() -> None:
    found = marginals_of(_call("gpt-4o-mini"))
    assert found is not None
    assert (found["input_tokens"], found["cache_read_tokens"]) == (Decimal("0.15"), Decimal("-0.075"))
    assert marginals_of(_call("no-such-model")) is None


def test_marginal_prices_of_a_long_prompt_are_those_of_its_length() -> None:
    """Claude Sonnet 4.5: $3, cached $0.30 a million; twice that from 200,000 tokens on."""
    short = marginals_of(_call("claude-sonnet-4-5"))
    long = marginals_of(_call("claude-sonnet-4-5", {"prompt_tokens": 300_000, "completion_tokens": 1}))
    assert short is not None
    assert long is not None
    assert (short["input_tokens"], short["cache_read_tokens"]) == (Decimal(3), Decimal("-2.7"))
    assert (long["input_tokens"], long["cache_read_tokens"]) == (Decimal(6), Decimal("-5.4"))


def test_looking_something_up_costs_nothing() -> None:
    call = decoded("/v1/models", {}, {"data": []})
    assert cost_of(replace(call, method="GET")).usd == 0
    assert cost_of(call) == UNKNOWN_COST  # a POST may have run a model


@pytest.mark.parametrize(
    ("upstream_url", "is_read"),
    [("https://api.openai.com/v1", True), ("https://openrouter.ai/api/v1", False), (None, False)],
)
def test_the_table_is_read_ahead_only_where_the_upstream_tells_no_prices(
    upstream_url: str | None, is_read: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(prices, "_provider_of_url", asked.append)
    prices.read_table(upstream_url)
    assert asked == ([upstream_url] if is_read else [])
