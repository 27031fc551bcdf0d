"""The page of costs in a real browser: hostile names, both colours, another question by the keyboard."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from tests.console_runs import MemoryReading
from tests.e2e.browser.conftest import Watched
from tests.e2e.browser.payloads import PAYLOADS
from watchllm_proxy.store.costs import CostBy, CostGroup

pytestmark = pytest.mark.browser

Open = Callable[..., Awaitable[Watched]]


def costs_reading() -> MemoryReading:
    groups = [CostGroup(name, Decimal("0.25"), 1, 2, 0, 1000, 10, 0) for name in PAYLOADS]
    today = CostGroup(datetime.now(UTC).date().isoformat(), Decimal("0.25") * len(groups), 0, 2 * len(groups))
    return MemoryReading(
        cost_groups={CostBy.DAY: [today], CostBy.MODEL: groups, CostBy.AGENT: groups, CostBy.VERSION: groups}
    )


@pytest.mark.parametrize("colours", ["light", "dark"])
async def test_hostile_names_of_models_and_agents_stay_text(watched: Open, colours: str) -> None:
    seen = await watched(costs_reading(), color_scheme=colours)
    for by in ("model", "agent", "version", "day", "key"):
        await seen.go(f"/costs?by={by}")
        await seen.page.locator("h1", has_text="Costs").wait_for()
    await seen.assert_clean()


async def test_choosing_another_time_shows_it_at_once_and_the_chart_is_drawn(watched: Open) -> None:
    seen = await watched(costs_reading())
    await seen.go("/costs?by=agent")
    await seen.page.get_by_label("Time").select_option("7d")
    await seen.page.wait_for_url("**/costs?by=agent&since=7d")
    assert await seen.page.locator(".chart rect").count() == 1
    assert await seen.page.locator(".chart rect").evaluate("(bar) => bar.getBoundingClientRect().height > 100")
    await seen.assert_clean()
