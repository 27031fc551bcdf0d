from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest

from watchllm_proxy.enrich.price_lists import Rate, read_openrouter_models, read_prices, written_prices


def test_prices_are_read_exactly_and_written_as_they_are_read() -> None:
    told = {"input": "0.15", "output": 0.6, "cache_read": "0.0750", "call": 0}
    prices = read_prices(told)
    assert prices.rate(Rate.INPUT) == Decimal("0.15")
    assert written_prices(prices) == {"input": "0.15", "output": "0.6", "cache_read": "0.0750", "call": "0"}
    assert read_prices(written_prices(prices)) == prices


@pytest.mark.parametrize(
    "told",
    [
        None,
        [],
        {},
        {"cache_read": "1"},
        {"inptu": "1"},
        {"input": None},
        {"input": True},
        {"input": "dear"},
        {"input": "-1"},
        {"input": "NaN"},
        {"input": math.inf},
        {"input": "1000001"},
        {"input": [1]},
    ],
)
def test_what_is_no_price_is_refused_in_words(told: Any) -> None:
    with pytest.raises(ValueError, match=r"price|number"):
        read_prices(told)


def _list(**pricing: Any) -> dict[str, Any]:
    return {"data": [{"id": "Acme/One", "canonical_slug": "acme/one-2026", "pricing": pricing}]}


def test_openrouters_list_tells_dollars_a_token() -> None:
    document = _list(prompt="0.00000015", completion="0.0000006", request="0", input_cache_read="0.000000075")
    found = read_openrouter_models(document)
    assert set(found) == {"acme/one", "acme/one-2026"}
    assert written_prices(found["acme/one"]) == {"input": "0.15", "output": "0.6", "cache_read": "0.075"}


def test_a_model_without_a_price_beforehand_is_left_out() -> None:
    with pytest.raises(ValueError, match="tells its prices"):
        read_openrouter_models(_list(prompt="-1", completion="-1"))
    with pytest.raises(ValueError, match="tells its prices"):
        read_openrouter_models(_list(prompt="0.1"))


def test_a_free_model_of_the_list_is_free() -> None:
    prices = read_openrouter_models(_list(prompt="0", completion="0"))["acme/one"]
    assert written_prices(prices) == {"input": "0", "output": "0"}


@pytest.mark.parametrize(
    "document",
    [None, [], {}, {"data": {}}, {"data": []}, {"data": [1, {"id": "x"}]}, _list(prompt="x", completion="y")],
)
def test_what_is_no_such_list_is_refused(document: Any) -> None:
    with pytest.raises(ValueError, match="list"):
        read_openrouter_models(document)
