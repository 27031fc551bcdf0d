"""Costs of all recorded traffic, reckoned a second time: by hand, from the bytes, with none of our code."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import genai_prices
import pytest

from tests.integration.decode.wire import exchange_of, read_wire
from watchllm_proxy.decode import decode
from watchllm_proxy.enrich.prices import cost_of
from watchllm_proxy.records import Api, Call, Cost, CostSource

pytestmark = pytest.mark.shared

MILLION = 1_000_000


@dataclass(frozen=True)
class Recorded:
    provider: str
    call: Call
    cost: Cost
    usage: dict[str, Any]  # as it stands in the bytes


@pytest.fixture(scope="module")
def recorded(shared: Path) -> list[Recorded]:
    found = []
    for record in read_wire(shared / "data" / "wire"):
        call = decode(exchange_of(record))
        found.append(Recorded(record["provider"], call, cost_of(call), usage_of(record.get("response_body"))))
    return found


def usage_of(body: Any) -> dict[str, Any]:
    """Of a stream: what its events tell, a later one over an earlier one."""
    text = body if isinstance(body, str) else json.dumps(body)
    if text.startswith("base64:"):
        text = base64.b64decode(text[7:]).decode("utf-8", "replace")
    try:
        parts = [json.loads(text)]
    except ValueError:
        parts = list(events(text))
    usage: dict[str, Any] = {}
    for part in parts:
        if not isinstance(part, dict):
            continue
        for holder in (part, part.get("response"), part.get("message"), part.get("x_groq")):
            if isinstance(holder, dict) and isinstance(holder.get("usage"), dict):
                usage.update({name: value for name, value in holder["usage"].items() if value is not None})
    return usage


def events(text: str) -> Iterator[Any]:
    for line in text.replace("\r\n", "\n").split("\n"):
        if line.startswith("data:"):
            try:
                yield json.loads(line[5:])
            except ValueError:
                continue


# --- what upstreams told


def test_every_openrouter_record_that_tells_its_cost_costs_exactly_that(recorded: list[Recorded]) -> None:
    told = [each for each in recorded if each.provider == "openrouter" and "cost" in each.usage]
    differing = []
    for each in told:
        expected = Decimal(str(each.usage["cost"]))
        if each.usage.get("is_byok"):
            expected += Decimal(str(each.usage["cost_details"]["upstream_inference_cost"] or 0))
        if (each.cost.usd, each.cost.source) != (expected, CostSource.UPSTREAM):
            differing.append((each.call.target, each.cost, expected))
    assert differing == []
    assert len(told) == 81


# --- the table's arithmetic, by hand


def by_hand(each: Recorded) -> Decimal:
    """Prices as the table lists them, counts as the bytes tell them."""
    call, usage = each.call, each.usage
    inside = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
    outside = usage.get("completion_tokens_details") or usage.get("output_tokens_details") or {}
    read = usage.get("prompt_tokens", usage.get("input_tokens")) or 0
    written = usage.get("completion_tokens", usage.get("output_tokens")) or 0
    made = usage.get("cache_creation_input_tokens") or 0
    cached = (
        usage.get("cache_read_input_tokens")
        or inside.get("cached_tokens")
        or usage.get("prompt_cache_hit_tokens")
        or usage.get("cached_tokens")
        or 0
    )
    if call.api == "messages":
        read += cached + made  # there the input is what was neither read from the cache nor written to it
    reasoning = outside.get("reasoning_tokens") or 0
    if reasoning and usage.get("total_tokens") == read + written + reasoning:
        written += reasoning  # told beside the output
    reasoning = min(reasoning, written)
    audio = inside.get("audio_tokens") or 0
    listed = prices_of(each)

    def usd(name: str, instead: Decimal) -> Decimal:
        """A price that depends on the prompt's length: the dearest tier that it reaches."""
        found = vars(listed).get(name)
        if hasattr(found, "tiers"):
            reached = [tier.price for tier in sorted(found.tiers, key=lambda t: t.start) if read > tier.start]
            found = [found.base, *reached][-1]
        return found if isinstance(found, Decimal) else instead

    cached, plain = min(cached, read), read - min(cached, read) - made - audio
    text, output = usd("input_mtok", Decimal(0)), usd("output_mtok", Decimal(0))
    searches = (usage.get("server_tool_use") or {}).get("web_search_requests") or 0
    return (
        plain * text
        + cached * usd("cache_read_mtok", text)
        + made * usd("cache_write_mtok", text)
        + audio * usd("input_audio_mtok", text)
        + (written - reasoning) * output
        + reasoning * usd("output_reasoning_mtok", output)
    ) / MILLION + (usd("requests_kcount", Decimal(0)) + searches * usd("web_searches_kcount", Decimal(0))) / 1000


def prices_of(each: Recorded) -> Any:
    """The list's own record of the model's prices: the answering model's, else those of the one asked for."""
    call = each.call
    tier = json.loads(call.response_metadata or b"{}").get("service_tier")
    for model in (call.response_model, call.request_model):
        try:
            return genai_prices.calc_price(
                genai_prices.Usage(input_tokens=1, output_tokens=1),
                (model or "").lower(),
                provider_id=each.cost.price_provider,
                genai_request_timestamp=datetime.fromtimestamp(call.started_at_us / 1e6, tz=UTC),
                price_context={"service_tier": tier} if tier else {},
            ).model_price
        except LookupError:
            continue
    raise AssertionError(f"priced, but not in the table: {call.response_model}, {call.request_model}")


def test_what_the_table_prices_is_its_arithmetic_done_by_hand(recorded: list[Recorded]) -> None:
    """Within 1 %; GETs of stored answers tell a usage that was billed before, and cost nothing."""
    priced = [each for each in recorded if each.cost.source is CostSource.PRICE_TABLE and each.usage]
    priced = [each for each in priced if each.call.api is not Api.OTHER]
    expected = [(each, by_hand(each)) for each in priced]
    differing = [
        (each.provider, each.call.response_model, each.cost.usd, sum_, each.usage)
        for each, sum_ in expected
        if each.cost.usd is None or abs(each.cost.usd - sum_) > sum_ / 100
    ]
    assert differing == []
    cached = [each for each in priced if each.call.usage.cache_read_input_tokens]
    reasoned = [each for each in priced if each.call.usage.reasoning_tokens]
    assert (len(priced), len(cached), len(reasoned)) == (1868, 87, 159)


def test_what_no_list_knows_is_null_and_never_nothing(recorded: list[Recorded]) -> None:
    """Most told no usage; of 95 the model is in no list: open ones that somebody serves."""
    unknown = [each for each in recorded if each.cost.source is CostSource.UNKNOWN]
    assert all(each.cost.usd is None for each in unknown)
    assert len([each for each in unknown if each.call.usage.input_tokens is not None]) == 95
