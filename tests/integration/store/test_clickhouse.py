"""The event store, on the embedded engine and on a server: the same rows, the same answers, the same errors."""

from __future__ import annotations

import asyncio
import socket
import threading
from uuid import UUID

import pytest

from tests.unit.store.batches import bounds, busy_calls, full_call
from watchllm_proxy.errors import StoreRejected, StoreUnavailable
from watchllm_proxy.records import Moved
from watchllm_proxy.store.clickhouse import AsyncEventStore, ClickHouseServer, EventStore
from watchllm_proxy.store.event_rows import event_inserts, move_params, move_sql

HOSTILE = ["a'b", "\\", "\\'", "\t\n\r\0\b\f\v\a", '"', "é\U0001f600", "[]{},;-- ", "');DROP TABLE events;--", ""]


def insert_all(store: EventStore, calls: list, token: int = 1) -> None:
    for insert in event_inserts(calls, bounds(token), keep_raw_days=1):
        store.insert(*insert)


def count(store: EventStore, table: str) -> object:
    return store.query(f"SELECT count() AS rows FROM {table}")[0]["rows"]


def test_a_repeated_token_doubles_no_row(event_store: EventStore) -> None:
    calls = busy_calls(300)
    insert_all(event_store, calls)
    before = {table: count(event_store, table) for table in ("events", "messages", "raw_exchanges")}
    insert_all(event_store, calls)
    assert {table: count(event_store, table) for table in before} == before
    assert before["events"] == 300


def test_a_repeated_token_doubles_no_row_across_partitions(event_store: EventStore) -> None:
    calls = busy_calls(30, spread_days=12)
    insert_all(event_store, calls)
    insert_all(event_store, calls)
    assert count(event_store, "events") == 30
    (parts,) = event_store.query("SELECT uniqExact(toYYYYMM(started_at)) AS months FROM events")
    assert int(str(parts["months"])) > 10, "the batch is to span many partitions"


def test_a_batch_spans_more_partitions_than_the_default_limit(event_store: EventStore) -> None:
    insert_all(event_store, busy_calls(102, spread_days=31))
    assert count(event_store, "events") == 102


def test_equal_rows_under_another_token_are_one_call(event_store: EventStore) -> None:
    """The second line: a batch that was cut in halves after it was stored whole."""
    calls = busy_calls(50)
    insert_all(event_store, calls, token=1)
    insert_all(event_store, calls[:25], token=2)
    assert event_store.query("SELECT count() AS rows FROM events FINAL") == [{"rows": 50}]
    assert event_store.query("SELECT count() AS rows FROM messages FINAL") == [
        event_store.query("SELECT uniqExact(content_hash) AS rows FROM messages")[0]
    ]


def test_calls_of_a_run_that_is_hung_elsewhere_move_with_it(event_store: EventStore) -> None:
    calls = busy_calls(20, spread_days=3)
    insert_all(event_store, calls)
    moved = [
        Moved(call.call_id, call.project_id, "moved-run", "moved-session", parent)
        for (call, _), parent in zip(calls[:3], ["moved-parent", "moved-parent", None], strict=True)
    ]
    for _ in range(2):  # a crash between the two stores repeats it
        for params in move_params(moved):
            event_store.execute(move_sql(), params)
    found = event_store.query(
        "SELECT session_id, parent_run_id, count() AS rows FROM events FINAL WHERE run_id = 'moved-run'"
        " GROUP BY session_id, parent_run_id ORDER BY rows"
    )
    assert [(row["session_id"], row["parent_run_id"], row["rows"]) for row in found] == [
        ("moved-session", None, 1),
        ("moved-session", "moved-parent", 2),
    ]
    assert event_store.query("SELECT count() AS rows FROM events FINAL") == [{"rows": 20}]


def test_calls_of_many_runs_move_in_one_statement_wherever_each_goes(event_store: EventStore) -> None:
    calls = busy_calls(40, spread_days=3)
    insert_all(event_store, calls)
    names = [f"run {number} {text}" for number, text in enumerate(HOSTILE * 4)]
    moved = [
        Moved(call.call_id, call.project_id, name, f"of {name}", name if number % 2 else None)
        for number, ((call, _), name) in enumerate(zip(calls, names, strict=False))
    ]
    (params,) = move_params(moved)
    event_store.execute(move_sql(), params)
    found = event_store.query("SELECT call_id, run_id, session_id, parent_run_id FROM events FINAL")
    places = {row["call_id"]: (row["run_id"], row["session_id"], row["parent_run_id"]) for row in found}
    for each in moved:
        assert places[each.call_id] == (each.run_id, each.session_id, each.parent_run_id)
    for call, placement in calls[len(moved) :]:
        assert places[call.call_id][0] == placement.run_id, "the others stay"


def test_a_token_is_remembered_while_other_batches_come(empty_event_store: EventStore) -> None:
    store = empty_event_store
    store.execute(
        "CREATE TABLE t (a UInt32) ENGINE = MergeTree ORDER BY a "
        "SETTINGS non_replicated_deduplication_window = 1000"
    )
    store.insert("t", ["a"], [(0,)], "first")
    for number in range(1, 40):
        store.insert("t", ["a"], [(number,)], f"other-{number}")
    store.insert("t", ["a"], [(0,)], "first")
    assert count(store, "t") == 40


def test_any_bytes_come_back_as_they_were(empty_event_store: EventStore) -> None:
    store = empty_event_store
    store.execute("CREATE TABLE t (a UInt32, b Nullable(String)) ENGINE = MergeTree ORDER BY a")
    values = [bytes(range(256)), b"\n\n; DROP TABLE t;\n", b"", None, b"\xff" * 100_000, "é".encode()]
    store.insert("t", ["a", "b"], list(enumerate(values)), "x")
    found = store.query("SELECT hex(assumeNotNull(t.b)) AS b, isNull(t.b) AS nothing FROM t ORDER BY a")
    assert [None if row["nothing"] else bytes.fromhex(str(row["b"])) for row in found] == values


def test_rows_that_look_like_sql_stay_rows(empty_event_store: EventStore) -> None:
    """The embedded engine cuts inline data at line ends and runs the rest: rows must never stand in the text."""
    store = empty_event_store
    store.execute("CREATE TABLE t (a UInt32, b String) ENGINE = MergeTree ORDER BY a")
    for number in range(3):
        store.insert("t", ["a", "b"], [(number, b"x\n\nDROP TABLE t;\n\nSELECT 1;\n" * 1000)], f"x{number}")
    assert count(store, "t") == 3


@pytest.mark.parametrize("value", HOSTILE)
def test_parameters_are_bound_and_arrive_unchanged(empty_event_store: EventStore, value: str) -> None:
    found = empty_event_store.query(
        "SELECT {one:String} AS one, {many:Array(String)} AS many, {number:Int64} AS number",
        {"one": value, "many": [value, "x", value], "number": -5},
    )
    assert found == [{"one": value, "many": [value, "x", value], "number": -5}]


def test_a_quote_in_a_token_ends_nothing(empty_event_store: EventStore) -> None:
    store = empty_event_store
    store.execute("CREATE TABLE t (a UInt32) ENGINE = MergeTree ORDER BY a")
    store.insert("t", ["a"], [(1,)], "it's; DROP TABLE t;\n--")
    assert count(store, "t") == 1


def test_an_insert_without_rows_does_nothing(event_store: EventStore) -> None:
    event_store.insert("events", ["project_id"], [], "nothing")
    assert count(event_store, "events") == 0


def test_a_value_that_does_not_fit_is_rejected_and_the_store_goes_on(empty_event_store: EventStore) -> None:
    store = empty_event_store
    store.execute("CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a")
    for poison in ("text", 256, -1, None, 1.5):
        with pytest.raises(StoreRejected) as caught:
            store.insert("t", ["a"], [(1,), (poison,)], f"poison-{poison}")
        assert "text" not in str(caught.value), "an error must not quote values"
    store.insert("t", ["a"], [(1,)], "good")
    assert store.query("SELECT a FROM t") == [{"a": 1}]


def test_a_wrong_query_is_rejected_by_its_code(empty_event_store: EventStore) -> None:
    with pytest.raises(StoreRejected):
        empty_event_store.query("SELEKT 1")
    with pytest.raises(StoreRejected):
        empty_event_store.query("SELECT {number:UInt8}", {"number": "Ünsinn"})


def test_a_missing_table_waits_for_its_migration(empty_event_store: EventStore) -> None:
    """Dead-lettering a whole log because nobody ran `watchllm migrate` would be a bad joke."""
    with pytest.raises(StoreUnavailable):
        empty_event_store.query("SELECT * FROM events")


def test_what_there_is_no_memory_for_waits_and_is_stored_once_there_is(empty_event_store: EventStore) -> None:
    empty_event_store.execute("CREATE TABLE t (a String) ENGINE = MergeTree ORDER BY a")
    much = "INSERT INTO t SELECT arrayStringConcat(groupArray(toString(number)), ',') FROM numbers(200000)"
    with pytest.raises(StoreUnavailable, match="code 241"):
        empty_event_store.execute(f"{much} SETTINGS max_memory_usage = 1000000")
    assert empty_event_store.query("SELECT count() AS rows FROM t") == [{"rows": 0}]
    empty_event_store.execute(much)
    assert empty_event_store.query("SELECT count() AS rows FROM t") == [{"rows": 1}]


def test_a_server_that_is_away_is_unavailable_at_once() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        store = ClickHouseServer(f"clickhouse://default@127.0.0.1:{nobody.getsockname()[1]}/x")
        with pytest.raises(StoreUnavailable):
            store.ping()
        with pytest.raises(StoreUnavailable):
            store.insert("events", ["project_id"], [("p",)], "token")
        store.close()


def test_a_server_that_talks_nonsense_is_unavailable() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def answer() -> None:
            connection, _ = server.accept()
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        store = ClickHouseServer(f"clickhouse://default@127.0.0.1:{server.getsockname()[1]}/x")
        with pytest.raises(StoreUnavailable):
            store.ping()
        thread.join()
        store.close()


def test_a_call_comes_back_with_every_figure(event_store: EventStore) -> None:
    call, placement = full_call()
    insert_all(event_store, [(call, placement)])
    (row,) = event_store.query("SELECT * FROM events")
    assert row["call_id"] == call.call_id
    assert row["cost_usd"] == call.cost.usd
    assert row["upstream_cost_usd"] == call.usage.cost_usd
    assert row["tags"] == dict(call.tags)
    assert row["input_tokens"] == call.usage.input_tokens
    assert row["total_tokens"] is None
    assert row["run_id"] == placement.run_id
    assert isinstance(row["call_id"], UUID)


async def test_operations_keep_their_order_in_the_worker_thread(empty_event_store: EventStore) -> None:
    store = AsyncEventStore(empty_event_store)
    await store.execute("CREATE TABLE t (a UInt32) ENGINE = MergeTree ORDER BY a")
    writes = [store.insert("t", ["a"], [(number,)], f"{number}") for number in range(5)]
    *_, rows = await asyncio.gather(*writes, store.query("SELECT count() AS rows FROM t"))
    assert rows == [{"rows": 5}]
    await store.ping()
