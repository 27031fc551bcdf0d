"""Counts and prices of ours beside those that upstreams told, over all recorded traffic."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.decode.wire import exchange_of, read_wire
from watchllm_proxy.decode import decode
from watchllm_proxy.enrich.prices import cost_of
from watchllm_proxy.enrich.tokens import estimate_usage
from watchllm_proxy.records import Call, CostSource, Usage

pytestmark = pytest.mark.shared

NOVEMBER_2026_US = 1_793_500_000_000_000


@pytest.fixture(scope="module")
def calls(shared: Path) -> list[tuple[str, Call]]:
    return [(record["provider"], decode(exchange_of(record))) for record in read_wire(shared / "data" / "wire")]


def _told_and_looked_up(calls: list[tuple[str, Call]]) -> Iterator[tuple[str, Call, float]]:
    """Provider, call, and the table's price over the upstream's own figure."""
    for provider, call in calls:
        told = call.usage.cost_usd
        if not told:
            continue
        untold = replace(call, usage=replace(call.usage, cost_usd=None), started_at_us=NOVEMBER_2026_US)
        found = cost_of(untold)
        if found.usd is not None:
            yield provider, call, float(found.usd / told)


def test_the_table_agrees_with_the_upstreams_that_tell_their_cost(calls: list[tuple[str, Call]]) -> None:
    ratios = [ratio for _, _, ratio in _told_and_looked_up(calls)]
    assert len(ratios) == 114
    assert sum(abs(ratio - 1) < 0.02 for ratio in ratios) >= 98  # the others: searches, discounts, other providers


def test_a_tick_is_a_ten_billionth_of_a_dollar_and_reasoning_beside_the_output_is_billed(
    calls: list[tuple[str, Call]],
) -> None:
    """xAI's own figures, met exactly by its price list; two of its calls also paid for searches."""
    ratios = [
        ratio for provider, _, ratio in _told_and_looked_up(calls) if provider in ("xai", "openai-compatible")
    ]
    assert len(ratios) == 33
    assert sum(ratio == 1 for ratio in ratios) >= 31


def test_every_upstream_figure_is_the_cost(calls: list[tuple[str, Call]]) -> None:
    told = [call for _, call in calls if call.usage.cost_usd is not None]
    assert len(told) == 122
    assert {cost_of(call).source for call in told} == {CostSource.UPSTREAM}


def test_counts_are_those_of_openai_at_the_median(calls: list[tuple[str, Call]]) -> None:
    read, written = [], []
    for provider, call in calls:
        usage = call.usage
        if provider != "openai" or call.opaque_reason or not (usage.input_tokens and call.messages):
            continue
        counted = estimate_usage(replace(call, usage=Usage())).usage
        read.append((counted.input_tokens or 0) / usage.input_tokens)
        if usage.output_tokens and usage.output_tokens > 10 and not usage.reasoning_tokens:
            written.append((counted.output_tokens or 0) / usage.output_tokens)
    assert len(read) > 1000
    assert statistics.median(read) == pytest.approx(1, abs=0.03)
    assert statistics.median(written) == pytest.approx(1, abs=0.03)
