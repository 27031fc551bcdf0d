from __future__ import annotations

from decimal import Decimal

from watchllm_proxy.console.pages.costs import CHART_HEIGHT, bars, dearest_day
from watchllm_proxy.store.costs import CostGroup


def days(*usd: str) -> list[CostGroup]:
    return [CostGroup(f"2026-01-{number:02}", Decimal(each), 0, 1) for number, each in enumerate(usd, start=1)]


def test_the_dearest_day_fills_the_chart_and_the_cheapest_is_still_seen() -> None:
    assert [bar.height for bar in bars(days("100", "50", "0.0001", "0"))] == [
        CHART_HEIGHT,
        CHART_HEIGHT // 2,
        1,
        0,
    ]
    assert bars([]) == []


def test_a_day_is_called_unusual_only_beside_enough_others() -> None:
    assert dearest_day(days("1", "1", "3")) == "Dearest day: 2026-01-03, $3.0000"
    assert dearest_day(days("1", "1", "3", "1", "1", "0")).endswith("3.0 times the median day")
    assert dearest_day(days("0", "0")) == ""
