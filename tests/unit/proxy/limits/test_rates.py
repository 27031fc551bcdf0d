"""Token buckets: a minute's worth at once, then the rate; shared by workers; no bucket takes from another."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchllm_proxy.proxy.limits import rates
from watchllm_proxy.proxy.limits.rates import MINUTE_NS, RateLimit, RateTable

KEY = RateLimit("key 1", 6)
SECOND = 1_000_000_000
NOW = 1_000 * SECOND
NOWHERE = Path("/nowhere/rates")  # never opened


def opened(path: Path) -> RateTable:
    table = RateTable(path)
    table.open()
    return table


def test_a_minutes_worth_may_come_at_once_and_then_one_at_a_time() -> None:
    table = RateTable(NOWHERE)
    assert [table.take([KEY], NOW) for _ in range(6)] == [0.0] * 6
    assert table.take([KEY], NOW) == pytest.approx(10.0)
    assert table.take([KEY], NOW + 4 * SECOND) == pytest.approx(6.0)
    assert table.take([KEY], NOW + 10 * SECOND) == 0.0
    assert table.take([KEY], NOW + 10 * SECOND) == pytest.approx(10.0)


def test_a_refused_request_takes_nothing() -> None:
    table = RateTable(NOWHERE)
    for _ in range(6):
        table.take([KEY], NOW)
    assert all(table.take([KEY], NOW + 9 * SECOND) > 0 for _ in range(100))
    assert table.take([KEY], NOW + 10 * SECOND) == 0.0


def test_a_request_that_one_bucket_refuses_takes_from_none() -> None:
    table, of_project = RateTable(NOWHERE), RateLimit("project acme", 2)
    for _ in range(2):
        assert table.take([KEY, of_project], NOW) == 0.0
    assert all(table.take([KEY, of_project], NOW) > 0 for _ in range(50))
    assert [table.take([KEY], NOW) for _ in range(4)] == [0.0] * 4
    assert table.take([KEY], NOW) > 0


def test_workers_draw_from_the_same_buckets(tmp_path: Path) -> None:
    workers = [opened(tmp_path / "rates") for _ in range(3)]
    assert [workers[number % 3].take([KEY], NOW) for number in range(6)] == [0.0] * 6
    assert all(worker.take([KEY], NOW) > 0 for worker in workers)


def test_ones_flood_takes_nothing_from_another() -> None:
    table = RateTable(NOWHERE)
    for _ in range(1_000):
        table.take([RateLimit("key flood", 10)], NOW)
    assert table.take([KEY], NOW) == 0.0


def test_many_buckets_at_once_keep_apart() -> None:
    """A quarter of all places in use within a minute: more keys with a limit than an installation has."""
    table, limits = RateTable(NOWHERE), [RateLimit(f"key {number}", 1) for number in range(rates.SLOTS // 4)]
    assert all(table.take([limit], NOW) == 0.0 for limit in limits)
    assert all(table.take([limit], NOW) > 0 for limit in limits)


def test_places_of_full_buckets_are_given_away() -> None:
    table = RateTable(NOWHERE)
    for minute in range(4):
        now = NOW + 2 * minute * MINUTE_NS
        limits = [RateLimit(f"key {minute} {number}", 1) for number in range(rates.SLOTS // 4)]
        assert all(table.take([limit], now) == 0.0 for limit in limits)
        assert all(table.take([limit], now) > 0 for limit in limits)


def test_what_a_former_boot_left_limits_nobody(tmp_path: Path) -> None:
    table = opened(tmp_path / "rates")
    for _ in range(6):
        table.take([KEY], 10_000_000 * SECOND)
    assert [table.take([KEY], NOW) for _ in range(6)] == [0.0] * 6


def test_a_file_that_cannot_be_had_leaves_each_worker_its_own(tmp_path: Path) -> None:
    (tmp_path / "in the way").write_text("")
    first, second = opened(tmp_path / "in the way" / "rates"), opened(tmp_path / "in the way" / "rates")
    assert [first.take([KEY], NOW) for _ in range(6)] == [0.0] * 6
    assert first.take([KEY], NOW) > 0
    assert second.take([KEY], NOW) == 0.0


@given(st.integers(1, 600), st.lists(st.integers(0, 20 * SECOND), max_size=200))
def test_never_more_than_the_burst_and_the_rate(per_minute: int, gaps_ns: list[int]) -> None:
    table, now, passed = RateTable(NOWHERE), NOW, 0
    limit = RateLimit("key", per_minute)
    for gap in gaps_ns:
        now += gap
        passed += table.take([limit], now) == 0.0
    assert passed <= per_minute + per_minute * (now - NOW) / MINUTE_NS + 1
