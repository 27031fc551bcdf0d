"""Retention: whole partitions go, no call that stays loses a message, and no message stays that no call holds."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta

import pytest

from tests.integration.store.stored_calls import count, orphans, partitions, store_calls
from tests.unit.builders import T0_US
from tests.unit.store.batches import busy_calls
from watchllm_proxy.records import Call, Placement
from watchllm_proxy.store.clickhouse import AsyncEventStore, EventStore
from watchllm_proxy.store.event_rows import RecentMessages
from watchllm_proxy.store.partitions import TABLES, Dropped, drop_expired, last_expired_us, overdue_calls
from watchllm_proxy.store.retention import DAY_US, Retention, expiry

FIRST_DAY = date(1970, 1, 1) + timedelta(days=T0_US // DAY_US)
KEPT = Retention(90, {"free": 7, "starter": 30, "forever": 0})


def traffic(days: int) -> Sequence[tuple[Call, Placement]]:
    """Conversations that go on for days in four projects, in the order in which they would be stored."""
    rng = random.Random(4)
    calls = []
    for number, (call, placement) in enumerate(busy_calls(240)):
        project = rng.choice(["default", *KEPT.by_project])
        started_at_us = T0_US + number * days * DAY_US // 240
        words = [replace(call.messages[1], content_hash=bytes([rng.randrange(40)] * 16)) for _ in range(3)]
        calls.append(
            (
                replace(
                    call, project_id=project, started_at_us=started_at_us, messages=(call.messages[0], *words)
                ),
                replace(placement, project_id=project),
            )
        )
    return calls


def drop(store: EventStore, today: date, limit: int = 1000) -> list[Dropped]:
    return asyncio.run(drop_expired(AsyncEventStore(store), today, limit=limit))


def test_every_day_for_a_year_no_call_lacks_a_message_and_no_message_is_dead(event_store: EventStore) -> None:
    recent = RecentMessages()
    calls = traffic(days=40)
    for start in range(0, len(calls), 80):
        store_calls(event_store, calls[start : start + 80], token=start, retention=KEPT, recent=recent)
    assert orphans(event_store) == (0, 0)
    rows_before = count(event_store, "events")
    for age in range(5, 150, 12):
        today = FIRST_DAY + timedelta(days=age)
        drop(event_store, today)
        alive = [call for call, _ in calls if KEPT.expires_on(call.project_id, call.started_at_us) > today]
        assert count(event_store, "events") == len(alive), f"{age} days on"
        assert orphans(event_store) == (0, 0), f"{age} days on"
    assert rows_before == 240
    assert {call.project_id for call in alive} == {"forever"}


def test_a_pass_drops_so_many_partitions_oldest_first_and_the_next_goes_on(event_store: EventStore) -> None:
    store_calls(event_store, traffic(days=24), retention=Retention(7))
    days = sorted(partitions(event_store, "events"))
    today = days[9]
    dropped = drop(event_store, today, limit=4)
    assert [each.expires_on for each in dropped if each.table == "events"] == days[:4]
    assert [each.table for each in dropped] == sorted((each.table for each in dropped), key=TABLES.index)
    assert sum(each.rows for each in dropped if each.table == "events") == 240 - count(event_store, "events")
    drop(event_store, today)
    assert sorted(partitions(event_store, "events")) == days[10:]
    assert drop(event_store, today) == []


def test_a_project_that_keeps_less_than_it_did_is_found_until_its_old_calls_are_gone(
    event_store: EventStore,
) -> None:
    store_calls(event_store, traffic(days=24), retention=KEPT)
    today = FIRST_DAY + timedelta(days=45)

    def overdue(retention: Retention) -> dict[str, int]:
        found = asyncio.run(overdue_calls(AsyncEventStore(event_store), retention, today))
        return {each.project_id: each.before_us for each in found}

    drop(event_store, today)
    assert overdue(KEPT) == {}
    assert overdue(Retention(90, {**KEPT.by_project, "default": 30})) == {"default": last_expired_us(30, today)}


@pytest.mark.parametrize("days", [1, 7, 31, 32, 90, 365, 500])
def test_overdue_is_what_has_expired_and_nothing_else(days: int) -> None:
    for age in range(0, 700, 13):
        today = FIRST_DAY + timedelta(days=age)
        before_us = last_expired_us(days, today)
        assert expiry(before_us, days) > today
        assert before_us == 0 or expiry(before_us - 1, days) <= today
