"""The recorder stands still while agents go on: no client notices, and afterwards everything is there, once."""

from __future__ import annotations

import asyncio

import pytest

from bench import outage
from bench.outage import Plan

PER_S = 200


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_a_recorder_that_stands_still_is_noticed_by_no_client_and_loses_nothing() -> None:
    found = await asyncio.to_thread(outage.run, Plan(per_s=PER_S, calm_s=5.0, outage_s=15.0))

    assert found.calm.errors == []
    assert found.outage.errors == []
    assert found.sent == PER_S * 20
    assert (found.lost, found.doubled, found.stored) == ([], [], found.sent)
    assert found.unreadable == 0
    assert found.drain_s < 60
    # A shared machine may stall a request or two; an answer that waited for the recorder would wait 15 s.
    assert max(found.outage.latencies_s) < 5
