"""Cells and lines, from whatever a server answers."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.commands.fake_api import call, run_summary
from watchllm_proxy.commands.lines import (
    RUN_COLUMNS,
    amount,
    call_line,
    is_failed,
    microseconds,
    outcome_words,
    run_cells,
    short_ids,
)

NOW = datetime(2026, 1, 15, 10, 5, 0, tzinfo=UTC)
JSON_VALUES = (
    st.none() | st.booleans() | st.integers() | st.decimals() | st.text() | st.lists(st.text()) | st.just({})
)


@given(st.lists(st.text(alphabet="abc", min_size=1, max_size=20), unique=True, max_size=8))
def test_short_ids_are_beginnings_that_only_their_run_has(ids: list[str]) -> None:
    for run_id, short in zip(ids, short_ids(ids), strict=True):
        assert run_id.startswith(short)
        assert short == run_id or [other for other in ids if other.startswith(short)] == [run_id]


def test_a_short_id_has_eight_characters_where_they_are_enough() -> None:
    assert short_ids(["0193a5b2-7c1e-aaaa", "7q2k9fh4-7c1e-bbbb"]) == ["0193a5b2", "7q2k9fh4"]
    assert short_ids(["0193a5b2-1", "0193a5b2-2"]) == ["0193a5b2-1", "0193a5b2-2"]


def test_a_row_has_a_cell_for_each_column() -> None:
    cells = [cell.plain for cell in run_cells(run_summary("7q2k"), "7q2k", NOW)]
    assert len(cells) == len(RUN_COLUMNS)
    assert cells == [
        "7q2k",
        "order-assistant",
        "Done",
        "3",
        "8.00 s",
        "$0.000231",
        "5 min ago",
        "",
        "Where is my order?",
    ]


def test_a_run_stands_in_the_list_as_on_its_page() -> None:
    words = {
        (status, errors): outcome_words({"status": status, "error_count": errors}).plain
        for status in ("completed", "failed", "running", "resting")
        for errors in (0, 5)
    }
    assert words == {
        ("completed", 0): "Done",
        ("completed", 5): "Done, 5 errors",
        ("failed", 0): "Failed",
        ("failed", 5): "Failed",
        ("running", 0): "Running",
        ("running", 5): "Running, 5 errors",
        ("resting", 0): "resting",
        ("resting", 5): "resting",
    }


@given(st.dictionaries(st.sampled_from(sorted(set(run_summary("a")) - {"run_id"})), JSON_VALUES))
def test_a_row_is_drawn_from_any_answer(changed: dict[str, object]) -> None:
    assert len(run_cells(run_summary("a", **changed), "a", NOW)) == len(RUN_COLUMNS)


@given(st.dictionaries(st.sampled_from(sorted(set(call("a")) - {"call_id"})), JSON_VALUES))
def test_a_call_is_one_line_whatever_the_answer(changed: dict[str, object]) -> None:
    assert len(call_line(call("a", **changed), NOW).plain.splitlines()) <= 1


def test_a_call_without_a_model_is_told_by_its_path() -> None:
    line = call_line(call("a", request_model=None, response_model=None, method="GET", target="/v1/models"), NOW)
    assert "GET /v1/models" in line.plain


@pytest.mark.parametrize(
    ("changed", "failed"),
    [
        ({}, False),
        ({"http_status": 429}, True),
        ({"http_status": None}, True),
        ({"error": {"type": "server_error", "message": "", "code": None}}, True),
    ],
)
def test_a_call_has_failed_when_its_caller_got_no_usable_answer(changed: dict[str, object], failed: bool) -> None:
    assert is_failed(call("a", **changed)) is failed


def test_money_that_is_no_number_is_unknown_and_never_zero() -> None:
    assert [amount(value) for value in (None, True, "", "x", [])] == [None] * 5
    assert [amount(value) for value in (0, "0.1", Decimal("0.2"))] == [0, Decimal("0.1"), Decimal("0.2")]


def test_milliseconds_become_microseconds() -> None:
    assert [microseconds(value) for value in (None, True, 684, Decimal("0.5"))] == [None, None, 684000, 500]
