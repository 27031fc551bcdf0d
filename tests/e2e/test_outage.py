"""The recorder stands still, or a store is away: no client notices, and afterwards everything is there, once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from bench import outage
from bench.outage import Outcome, Plan

PER_S = 200


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("plight", [outage.recorder_stands_still, outage.stores_away])
async def test_what_is_away_is_noticed_by_no_client_and_loses_nothing(plight: Callable[[Plan], Outcome]) -> None:
    plan = Plan(per_s=PER_S, calm_s=2.0, outage_s=8.0)
    found = await asyncio.to_thread(plight, plan)

    assert found.calm.errors == []
    for each in found.outages:
        assert each.asked.errors == [], each.what
        # A shared machine may stall a request or two; an answer that waited for who is away would wait 8 s.
        assert max(each.asked.latencies_s) < 5, each.what
        assert each.memory_added_mb < 100, each.what
        assert each.drain_s < 60, each.what
    assert found.sent == outage.WARM_UP + PER_S * (2 + 8 * len(found.outages))
    assert (found.stored.lost, found.stored.doubled, found.stored.unreadable) == ([], [], 0)
    assert (found.stored.books.accepted, found.stored.books.stored) == (found.sent, found.sent)
    assert found.stored.calls == found.sent
