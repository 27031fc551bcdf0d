"""Months of UTC: to the second, over every edge of a year."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from watchllm_proxy.proxy.limits.months import Month


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def test_the_last_moment_of_a_month_is_its_own_and_the_next_is_not() -> None:
    assert Month.of(at("2026-11-30T23:59:59.999999")) == Month(2026, 11)
    assert Month.of(at("2026-12-01T00:00:00")) == Month(2026, 12)


@pytest.mark.parametrize(
    "month", [Month(2026, 1), Month(2026, 2), Month(2026, 11), Month(2026, 12), Month(2028, 2)]
)
def test_a_month_ends_where_the_next_begins(month: Month) -> None:
    assert month.ends_s == month.next.starts_s
    assert month.next.previous == month
    assert month.next.number == month.number + 1
    assert Month.of(month.ends_s) == month.next
    assert Month.of(month.ends_s - 0.001) == month
    assert Month.named(month.name) == month


@pytest.mark.parametrize("name", ["2026-13", "2026-00", "2026-1", "w0", "2026-11.old", ""])
def test_what_names_no_month_is_none(name: str) -> None:
    assert Month.named(name) is None
