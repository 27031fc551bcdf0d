"""Which partition a row is in: late enough, not much later, and the same for all that belongs together."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchllm_proxy.store.retention import DAY_US, DEFAULT_DAYS, FOR_EVER, Retention, expiry, span_days

NOON_US = 1_800_000_000_000_000 // DAY_US * DAY_US + DAY_US // 2
DAYS = st.integers(1, 5000)
INSTANTS = st.integers(0, 3_000_000_000_000_000)  # to the year 2065


def day_of(at_us: int) -> date:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)).date()


@given(INSTANTS, DAYS)
def test_a_call_is_kept_for_its_retention_and_for_no_more_than_its_partition_longer(at_us: int, days: int) -> None:
    kept = expiry(at_us, days) - day_of(at_us)
    assert timedelta(days) < kept <= timedelta(days + span_days(days))


@given(INSTANTS, st.integers(0, 40 * DAY_US), DAYS)
def test_of_two_calls_the_later_never_goes_first(at_us: int, later_us: int, days: int) -> None:
    assert expiry(at_us, days) <= expiry(at_us + later_us, days)


@given(INSTANTS, DAYS, DAYS)
def test_bytes_never_outlive_their_call(at_us: int, days: int, raw_days: int) -> None:
    kept = Retention(days)
    assert kept.expires_within("p", at_us, raw_days) <= kept.expires_on("p", at_us)


@pytest.mark.parametrize(("days", "partitions"), [(7, 8), (30, 31), (90, 15), (365, 54)])
def test_a_plan_has_few_partitions_at_once(days: int, partitions: int) -> None:
    alive = {expiry(NOON_US - age * DAY_US, days) for age in range(days + 8)}
    assert len([each for each in alive if each > day_of(NOON_US)]) <= partitions


def test_a_project_has_its_own_retention_or_the_default() -> None:
    kept = Retention(by_project={"free": 7})
    assert (kept.days("free"), kept.days("other")) == (7, DEFAULT_DAYS)
    assert kept.expires_on("free", NOON_US) == day_of(NOON_US) + timedelta(8)


def test_for_ever_is_a_day_that_clickhouse_can_say() -> None:
    assert Retention(FOR_EVER).expires_on("p", NOON_US).year > 2120
    assert expiry(9_999_999_999_999_999, 36_500) == date(2149, 6, 6)
    assert expiry(-5, 1) == date(1970, 1, 3)
