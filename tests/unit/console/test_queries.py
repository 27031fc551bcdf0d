from __future__ import annotations

from uuid import UUID

import pytest

from watchllm_proxy.console.answers import BadParameter
from watchllm_proxy.console.queries import CostsBy, costs_query, parse_instant, run_query, tail_query
from watchllm_proxy.records import FlagKind, RunStatus
from watchllm_proxy.store.shapes import RunQuery, RunSort

NOW = 1_768_471_200_000_000


def test_nothing_asked_is_everything_of_agents() -> None:
    assert run_query({}, NOW) == RunQuery()


def test_empty_values_mean_any_as_a_form_sends_them() -> None:
    assert run_query({"status": "", "agent": "", "since": ""}, NOW) == RunQuery()


def test_every_parameter_is_understood() -> None:
    asked = {
        "limit": "5", "offset": "10", "status": "failed", "agent": "a", "flag": "loop_detected", "session": "s",
        "q": "text", "since": "24h", "until": "2026-01-15T10:00:00Z", "sort": "-cost", "kind": "all",
    }  # fmt: skip
    assert run_query(asked, NOW) == RunQuery(
        limit=5,
        offset=10,
        status=RunStatus.FAILED,
        agent="a",
        flag=FlagKind.LOOP_DETECTED,
        session="s",
        q="text",
        since_us=NOW - 86_400_000_000,
        until_us=NOW,
        sort=RunSort.DEAREST,
        with_chats=True,
    )


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("limit", "0"), ("limit", "201"), ("limit", "x"), ("limit", "-1"), ("limit", "1e3"), ("limit", "٣"),
        ("offset", "-1"), ("offset", "9999999999"), ("status", "odd"), ("flag", "odd"), ("q", "x" * 201),
        ("since", "yesterday"), ("since", "24"), ("until", "2026-13-01"), ("sort", "cost desc"), ("kind", "chat"),
        ("limt", "5"),
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_named(name: str, raw: str) -> None:
    with pytest.raises(BadParameter) as caught:
        run_query({name: raw}, NOW)
    assert caught.value.name == name
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "at_us"),
    [
        ("2026-01-15T10:00:00Z", NOW),
        ("2026-01-15T11:00:00+01:00", NOW),
        ("2026-01-15T10:00:00", NOW),
        ("2026-01-15T10:00:00.000007Z", NOW + 7),
        ("15m", NOW - 900_000_000),
    ],
)
def test_instants(raw: str, at_us: int) -> None:
    assert parse_instant(raw, NOW) == at_us


def test_tail_asks_for_what_came_after_a_call() -> None:
    assert tail_query({}) == (None, 50)
    assert tail_query({"after": str(UUID(int=7)), "limit": "9"}) == (UUID(int=7), 9)
    with pytest.raises(BadParameter, match="after"):
        tail_query({"after": "x"})


def test_costs_are_of_whole_hours_and_by_key_of_whole_days() -> None:
    hour_us = 3_600_000_000
    asked = costs_query({"since": "90m"}, NOW + 1)
    assert (asked.by, asked.from_us, asked.to_us) == (CostsBy.MODEL, NOW - 2 * hour_us, NOW + hour_us)
    by_key = costs_query({"by": "key", "since": "90m"}, NOW + 1)
    assert (by_key.from_us % (24 * hour_us), by_key.to_us % (24 * hour_us)) == (0, 0)
    assert by_key.from_us <= asked.from_us < asked.to_us <= by_key.to_us


@pytest.mark.parametrize(
    "asked",
    [
        {"since": "1h", "until": "2h"},
        {"since": "2099-01-01"},
        {"since": "401d"},
        {"by": "x"},
        {"sort": "cost"},
    ],
)
def test_costs_of_no_or_too_long_a_time_are_refused(asked: dict[str, str]) -> None:
    with pytest.raises(BadParameter):
        costs_query(asked, NOW)
