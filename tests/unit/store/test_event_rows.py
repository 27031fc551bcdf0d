"""Rows of ClickHouse: deterministic, each message once, nothing of what a client refused."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from uuid import UUID

import pytest

from tests.unit.store.batches import bounds, busy_calls, full_call, placed
from watchllm_proxy.records import BatchBounds, Call, LogPosition, Moved, Placement, Usage
from watchllm_proxy.store.event_rows import (
    EVENT_COLUMNS,
    MESSAGE_COLUMNS,
    MOVED_AT_ONCE,
    OPAQUE_RAW_DAYS,
    RAW_COLUMNS,
    Insert,
    RecentMessages,
    event_inserts,
    move_params,
    token,
)
from watchllm_proxy.store.retention import Retention, expiry

DAY_US = 86_400_000_000


def by_table(calls: list[tuple[Call, Placement]], **options: object) -> dict[str, Insert]:
    inserts = event_inserts(calls, bounds(), **{"keep_raw_days": 0, **options})  # type: ignore[arg-type]
    return {insert.table: insert for insert in inserts}


def event(calls: list[tuple[Call, Placement]]) -> dict[str, object]:
    return dict(zip(EVENT_COLUMNS, by_table(calls)["events"].rows[0], strict=True))


def test_the_same_batch_makes_the_same_rows_under_the_same_tokens() -> None:
    assert event_inserts(busy_calls(20), bounds(), keep_raw_days=1) == event_inserts(
        busy_calls(20), bounds(), keep_raw_days=1
    )


def test_a_token_names_the_bounds_of_all_logs_and_the_table() -> None:
    other_log = replace(bounds(), ends={**bounds().ends, "w1": LogPosition(0, 1)})
    others_time = replace(bounds(), now_us=5)
    names = {token(each, table) for each in (bounds(1), bounds(2), other_log) for table in ("events", "messages")}
    assert len(names) == 6
    assert token(others_time, "events") == token(bounds(), "events")
    turned = BatchBounds({}, dict(reversed(other_log.ends.items())), 0)
    assert token(turned, "events") == token(replace(turned, ends=other_log.ends), "events")


def test_messages_are_inserted_before_the_events_that_need_them() -> None:
    inserts = event_inserts(busy_calls(2), bounds(), keep_raw_days=1)
    assert [insert.table for insert in inserts] == ["messages", "raw_exchanges", "events"]


def test_every_row_has_every_column() -> None:
    inserts = event_inserts([full_call()], bounds(), keep_raw_days=1)
    assert [insert.columns for insert in inserts] == [MESSAGE_COLUMNS, RAW_COLUMNS, EVENT_COLUMNS]
    assert all(len(row) == len(insert.columns) for insert in inserts for row in insert.rows)
    assert all(insert.rows for insert in inserts)


def test_a_message_of_many_calls_is_one_row() -> None:
    rows = by_table(busy_calls(10))["messages"].rows
    assert len(rows) == 10 + 2  # each one's own, the system prompt, the answer


def test_a_message_is_a_row_in_each_partition_with_a_call_that_holds_it() -> None:
    tables = by_table(busy_calls(6, spread_days=7))
    partitions = {row[EVENT_COLUMNS.index("expires_on")] for row in tables["events"].rows}
    system = [row for row in tables["messages"].rows if row[3] == b'{"content":"Be brief.","role":"system"}']
    assert len(partitions) == 6
    assert {row[MESSAGE_COLUMNS.index("expires_on")] for row in system} == partitions


def test_how_long_rows_are_kept_names_a_batch_too() -> None:
    """After a crash between messages and events a project may have another retention, and so other partitions."""
    today, shorter = Retention(90), Retention(90, {"default": 7})
    tokens = {by_table([full_call()], retention=each)["messages"].token for each in (today, shorter)}
    assert len(tokens) == 2
    others = Retention(90, {"another": 7})
    assert by_table([full_call()], retention=others)["messages"].token in tokens


def test_equal_messages_of_two_projects_are_two_rows() -> None:
    rows = by_table([full_call(), full_call(project="other")])["messages"].rows
    assert {row[0] for row in rows} == {"default", "other"}
    assert len(rows) == 6


def test_a_message_known_to_be_stored_is_not_written_again_in_its_partition() -> None:
    recent = RecentMessages()
    first = event_inserts([full_call()], bounds(), keep_raw_days=0, recent=recent)
    assert by_table([full_call()], recent=recent)["messages"].rows, "not remembered before it is stored"
    recent.remember(first)
    assert by_table([full_call()], recent=recent)["messages"].rows == []
    assert len(by_table([full_call(project="other")], recent=recent)["messages"].rows) == 3
    call, placement = full_call()
    next_week = (replace(call, started_at_us=call.started_at_us + 7 * DAY_US), placement)
    assert len(by_table([next_week], recent=recent)["messages"].rows) == 3


def test_the_memory_of_stored_messages_is_bounded() -> None:
    recent = RecentMessages(capacity=2)
    recent.remember(event_inserts([full_call()], bounds(), keep_raw_days=0))
    assert len(by_table([full_call()], recent=recent)["messages"].rows) == 1


def test_refused_content_leaves_figures_and_no_text() -> None:
    call = replace(full_call()[0], is_content_refused=True)
    tables = by_table([placed(call)], keep_raw_days=5)
    assert tables["messages"].rows == tables["raw_exchanges"].rows == []
    kept = dict(zip(EVENT_COLUMNS, tables["events"].rows[0], strict=True))
    assert kept["input_tokens"] == 10
    assert kept["message_hashes"] == []
    assert kept["answer_hash"] is None
    assert (kept["request_skeleton"], kept["response_metadata"], kept["request_hash"]) == (b"", b"", bytes(16))


@pytest.mark.parametrize(
    ("keep_days", "opaque", "kept"), [(3, None, 3), (3, "gzip", OPAQUE_RAW_DAYS), (200, "gzip", 100)]
)
def test_raw_bytes_expire_with_their_call_at_the_latest(keep_days: int, opaque: str | None, kept: int) -> None:
    call = replace(full_call()[0], opaque_reason=opaque)
    (row,) = by_table([placed(call)], keep_raw_days=keep_days, retention=Retention(100))["raw_exchanges"].rows
    assert row[RAW_COLUMNS.index("expires_on")] == expiry(call.started_at_us, kept)
    assert row[3:5] == (b"\x1f\x8b\x00raw", b"")


def test_a_call_without_raw_bytes_has_no_raw_row() -> None:
    call = replace(full_call()[0], raw_request=None, raw_response=None)
    assert by_table([placed(call)])["raw_exchanges"].rows == []


def test_what_is_not_known_stays_null_and_zero_stays_zero() -> None:
    call = replace(full_call()[0], usage=Usage(None, 0), http_status=None)
    row = event([placed(call, None)])
    assert (row["input_tokens"], row["output_tokens"]) == (None, 0)
    assert (row["http_status"], row["run_id"], row["session_id"]) == (None, None, None)


def test_impossible_figures_are_not_known() -> None:
    usage = Usage(10**30, -1, cost_usd=Decimal("NaN"))
    row = event([placed(replace(full_call()[0], usage=usage, http_status=10**9, retry_count_hint=10**30))])
    assert [row[name] for name in ("input_tokens", "output_tokens", "upstream_cost_usd", "http_status")] == [
        None
    ] * 4


def test_texts_are_bytes_that_clickhouse_takes() -> None:
    call = replace(full_call()[0], user_id="a\0b \ud800", tags=(("k\ud800", "v"),))
    row = event([placed(call)])
    assert row["user_id"] == b"a\0b ?"
    assert row["tags"] == {b"k?": b"v"}


def moved(number: int, project_id: str = "p", run_id: str = "") -> Moved:
    return Moved(UUID(int=number), project_id, run_id or f"run-{number}", "session", None)


def test_calls_that_move_to_many_runs_are_told_in_few_statements() -> None:
    """A backfill moves tens of thousands, and a statement for each run took a twentieth of a second."""
    told = list(move_params([moved(number) for number in range(2 * MOVED_AT_ONCE + 1)]))
    assert [len(params["call_ids"]) for params in told] == [MOVED_AT_ONCE, MOVED_AT_ONCE, 1]
    assert [len(params["run_ids"]) for params in told] == [MOVED_AT_ONCE, MOVED_AT_ONCE, 1]
    assert told[-1] == {
        "project_id": "p",
        "call_ids": [str(UUID(int=2 * MOVED_AT_ONCE))],
        "run_ids": [f"run-{2 * MOVED_AT_ONCE}"],
        "session_ids": ["session"],
        "parent_run_ids": [""],
    }


def test_moves_of_two_projects_are_two_statements() -> None:
    assert [params["project_id"] for params in move_params([moved(1, "a"), moved(2, "b")])] == ["a", "b"]


def test_of_a_call_that_moved_twice_the_last_place_counts() -> None:
    (params,) = move_params([moved(1, run_id="first"), moved(2), moved(1, run_id="second")])
    assert dict(zip(params["call_ids"], params["run_ids"], strict=True)) == {
        str(UUID(int=1)): "second",
        str(UUID(int=2)): "run-2",
    }
