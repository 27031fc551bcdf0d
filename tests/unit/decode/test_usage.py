from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from watchllm_proxy.decode.usage import chat_usage, messages_usage, responses_usage, upstream_cost


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        ({}, None),
        ({"cost": None}, None),
        ({"cost": 0}, Decimal(0)),
        ({"cost": 0.00007159}, Decimal("0.00007159")),
        (
            {"cost": 1.13e-05, "is_byok": False, "cost_details": {"upstream_inference_cost": 9.9}},
            Decimal("0.0000113"),
        ),
        # OpenRouter with the caller's own key: its fee, and what the provider takes
        ({"cost": 0, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.000222}}, Decimal("0.000222")),
        (
            {"cost": 0.00001, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.0002}},
            Decimal("0.00021"),
        ),
        ({"cost": 0.1, "is_byok": True, "cost_details": None}, Decimal("0.1")),
        (
            {"cost": {"input_tokens_cost": 0.00001, "request_cost": 0.005, "total_cost": 0.00502}},
            Decimal("0.00502"),
        ),
        ({"cost_in_usd_ticks": 3546500}, Decimal("0.00035465")),
        ({"cost": True}, None),
        ({"cost": "0.1"}, None),
        ({"cost": -1}, None),
        ({"cost": 1e300}, None),
    ],
)
def test_the_upstreams_figure_is_taken_exactly(usage: dict[str, Any], cost: Decimal | None) -> None:
    assert upstream_cost(usage) == cost


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens_details": {"cached_tokens": 4}},
        {"prompt_cache_hit_tokens": 4, "prompt_tokens_details": None},
        {"cached_tokens": 4},
        {"num_cached_tokens": 4, "prompt_tokens_details": {"cached_tokens": None}},
    ],
)
def test_cached_tokens_have_several_names(usage: dict[str, Any]) -> None:
    assert chat_usage(usage).cache_read_input_tokens == 4


def test_a_told_zero_is_not_replaced_by_another_name() -> None:
    assert (
        chat_usage({"prompt_tokens_details": {"cached_tokens": 0}, "cached_tokens": 9}).cache_read_input_tokens
        == 0
    )


def test_figures_are_kept_as_told_even_where_they_do_not_add_up() -> None:
    usage = chat_usage(
        {
            "prompt_tokens": 12,
            "completion_tokens": 2,
            "total_tokens": 334,
            "completion_tokens_details": {"reasoning_tokens": 320},
        }
    )
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens, usage.reasoning_tokens) == (
        12,
        2,
        334,
        320,
    )


@pytest.mark.parametrize("value", [None, "5", True, [], 5.5, {}, -1, 1e300, 2**63])
def test_what_is_no_count_is_not_known(value: Any) -> None:
    assert chat_usage({"prompt_tokens": value}).input_tokens is None
    assert responses_usage({"input_tokens": value}).input_tokens is None
    assert messages_usage({"input_tokens": value, "cache_read_input_tokens": 4}).input_tokens is None


def test_written_cache_tokens_are_read() -> None:
    assert chat_usage({"prompt_tokens_details": {"cache_write_tokens": 8}}).cache_creation_input_tokens == 8
    assert responses_usage({"input_tokens_details": {"cache_write_tokens": 8}}).cache_creation_input_tokens == 8
