"""Figures by the hour and day: right however often a call is inserted, moved, priced anew or erased."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from uuid import uuid4

import pytest

from tests.integration.store.stored_calls import store_calls
from tests.unit.builders import T0_US
from tests.unit.store.batches import busy_calls, full_call
from watchllm_proxy.records import Call, CallError, Cost, CostSource, Moved, Placement, Usage
from watchllm_proxy.store.clickhouse import AsyncEventStore, EventStore
from watchllm_proxy.store.costs import CostBy, CostGroup, cost_groups
from watchllm_proxy.store.erased_calls import CallEraser
from watchllm_proxy.store.event_rows import move_params, move_sql
from watchllm_proxy.store.figures import changed_hours, make_anew
from watchllm_proxy.store.retention import Retention

HOUR_US = 3_600_000_000


def make_figures(store: EventStore) -> int:
    async def make() -> int:
        events = AsyncEventStore(store)
        hours = await changed_hours(events, since_us=0, limit=1000)
        for hour in hours:
            await make_anew(events, hour)
        return len(hours)

    return asyncio.run(make())


def daily(store: EventStore, project: str = "default") -> list[dict[str, object]]:
    return store.query(
        "SELECT * EXCEPT project_id REPLACE (toString(daily_figures.day) AS day) FROM daily_figures "
        "WHERE project_id = {project_id:String} ORDER BY day, request_model, agent_name",
        {"project_id": project},
    )


def total(store: EventStore, figure: str) -> object:
    return sum((row[figure] for row in daily(store)), start=Decimal(0))  # type: ignore[misc]


def over_hours(count: int, hours: int) -> list[tuple[Call, Placement]]:
    calls = busy_calls(count)
    return [
        (replace(call, started_at_us=T0_US + number * hours * HOUR_US // count, ended_at_us=T0_US + 10**12), place)
        for number, (call, place) in enumerate(calls)
    ]


@pytest.fixture
def calls() -> Sequence[tuple[Call, Placement]]:
    return over_hours(60, hours=30)


def test_figures_are_sums_of_calls_by_day_model_and_agent(event_store: EventStore) -> None:
    (call, placement), (second, _) = full_call(1), full_call(2)
    failed = replace(
        second,
        error=CallError("rate_limit_error", "slow down"),
        cost=Cost(None, CostSource.UNKNOWN),
        usage=Usage(),
    )
    store_calls(event_store, [(call, placement), (failed, placement)])
    assert make_figures(event_store) == 1
    (row,) = daily(event_store)
    assert row == {
        "day": "2025-10-09",
        "request_model": call.request_model,
        "agent_name": "librarian",
        "calls": 2,
        "failed_calls": 1,
        "unpriced_calls": 1,
        "input_tokens": 10,
        "output_tokens": 2,
        "cache_read_input_tokens": 4,
        "cost_usd": Decimal("0.000000000001"),
        "duration_us": 2 * (call.ended_at_us - call.started_at_us),
    }


def test_a_batch_that_comes_again_is_not_counted_again(
    event_store: EventStore, calls: list[tuple[Call, Placement]]
) -> None:
    store_calls(event_store, calls, token=1)
    make_figures(event_store)
    store_calls(event_store, calls, token=1)  # a retry: dropped by its token
    store_calls(event_store, calls[:30], token=2)  # a half of it: a second row of each call
    make_figures(event_store)
    assert total(event_store, "calls") == 60
    assert total(event_store, "input_tokens") == 600


def test_calls_that_move_or_are_thought_again_replace_their_figures(
    event_store: EventStore, calls: list[tuple[Call, Placement]]
) -> None:
    store_calls(event_store, calls, token=1)
    make_figures(event_store)
    for params in move_params([Moved(call.call_id, "default", "elsewhere", "s", None) for call, _ in calls[:7]]):
        event_store.execute(move_sql(), params)
    dearer = [
        (replace(call, cost=Cost(Decimal("0.5"), CostSource.PRICE_TABLE)), placement) for call, placement in calls
    ]
    store_calls(event_store, dearer, token=3)
    assert make_figures(event_store) == 31
    assert (total(event_store, "calls"), total(event_store, "cost_usd")) == (60, Decimal(30))


def test_an_hour_whose_calls_are_erased_counts_none(
    event_store: EventStore, calls: list[tuple[Call, Placement]]
) -> None:
    store_calls(event_store, calls)
    make_figures(event_store)

    async def erase() -> None:
        eraser = CallEraser(AsyncEventStore(event_store), uuid4(), "default")
        await eraser.note_runs(["run-0", "run-1"])
        await eraser.erase()

    asyncio.run(erase())
    assert total(event_store, "calls") == 40
    assert make_figures(event_store) >= 10, "and once more, should the eraser have been cut short"
    assert total(event_store, "calls") == 40


def test_figures_outlive_their_calls(event_store: EventStore, calls: list[tuple[Call, Placement]]) -> None:
    """An old call that comes late, when those of its hour are gone, must not stand for all of them."""
    store_calls(event_store, calls)
    make_figures(event_store)
    for table in ("events", "changed_hours"):
        event_store.execute(f"TRUNCATE TABLE {table}")
    store_calls(event_store, calls[:1], token=5, retention=Retention(1))
    make_figures(event_store)
    assert total(event_store, "calls") == 60


def test_an_hour_is_made_again_until_its_last_insert_has_settled(event_store: EventStore) -> None:
    store_calls(event_store, [full_call()])
    assert [make_figures(event_store) for _ in range(2)] == [1, 1]
    event_store.execute("ALTER TABLE changed_hours DELETE WHERE 1 SETTINGS mutations_sync = 2")
    event_store.execute(
        "INSERT INTO changed_hours SELECT 'default', toStartOfHour(now()), now64(6) - INTERVAL 10 MINUTE"
    )
    assert [make_figures(event_store) for _ in range(2)] == [1, 0]


# --- what the page of costs asks


def costs(store: EventStore, by: CostBy, *, hours: int = 30) -> list[CostGroup]:
    began_us = T0_US - T0_US % HOUR_US
    return list(
        asyncio.run(
            cost_groups(
                AsyncEventStore(store), "default", by, from_us=began_us, to_us=began_us + (hours + 1) * HOUR_US
            )
        )
    )


@pytest.mark.parametrize("by", [CostBy.MODEL, CostBy.AGENT, CostBy.DAY])
def test_costs_are_the_same_before_and_after_their_figures_are_made(
    event_store: EventStore, calls: Sequence[tuple[Call, Placement]], by: CostBy
) -> None:
    """Of 24 changed hours at most the calls are counted; so twenty of them here."""
    recent = [each for each in calls if each[0].started_at_us < T0_US + 20 * HOUR_US]
    store_calls(event_store, recent)
    from_calls = costs(event_store, by)
    assert sum(each.calls or 0 for each in from_calls) == len(recent)
    make_figures(event_store)
    event_store.execute("TRUNCATE TABLE changed_hours")  # as if all of them had settled
    assert costs(event_store, by) == from_calls


def test_a_call_that_comes_after_its_hour_was_counted_is_counted_once(
    event_store: EventStore, calls: Sequence[tuple[Call, Placement]]
) -> None:
    store_calls(event_store, calls[:10])
    make_figures(event_store)
    store_calls(event_store, calls[:12], token=2)
    assert sum(each.calls or 0 for each in costs(event_store, CostBy.MODEL)) == 12


def test_costs_of_hours_outside_and_of_other_projects_are_left_out(
    event_store: EventStore, calls: Sequence[tuple[Call, Placement]]
) -> None:
    store_calls(event_store, calls)
    first = [each for each in calls if each[0].started_at_us < T0_US - T0_US % HOUR_US + 2 * HOUR_US]
    assert sum(each.calls or 0 for each in costs(event_store, CostBy.AGENT, hours=1)) == len(first)
    for _ in range(2):
        for by in CostBy:
            elsewhere = cost_groups(AsyncEventStore(event_store), "acme", by, from_us=0, to_us=T0_US * 2)
            assert asyncio.run(elsewhere) == [], by
        make_figures(event_store)  # until now they were read from the calls


def test_a_group_without_a_price_is_unpriced_and_money_is_exact(event_store: EventStore) -> None:
    call, place = full_call(1)
    at = replace(call, started_at_us=T0_US, ended_at_us=T0_US + 1000)
    dear = replace(
        at, call_id=uuid4(), request_model="dear", cost=Cost(Decimal("0.000000000001"), CostSource.OVERRIDE)
    )
    unknown = replace(at, call_id=uuid4(), request_model="unknown", cost=Cost(None, CostSource.UNKNOWN))
    store_calls(event_store, [(dear, place), (unknown, place)])
    found = {each.name: each.known_cost_usd for each in costs(event_store, CostBy.MODEL)}
    assert found == {"dear": Decimal("0.000000000001"), "unknown": None}


def test_versions_are_told_by_the_calls(event_store: EventStore) -> None:
    call, place = full_call(1)
    two = [
        (replace(call, call_id=uuid4(), started_at_us=T0_US, agent_name="helper", agent_version=version), place)
        for version in ("1.0", "2.0", None)
    ]
    store_calls(event_store, two)
    assert {each.name for each in costs(event_store, CostBy.VERSION)} == {"helper 1.0", "helper 2.0", None}
