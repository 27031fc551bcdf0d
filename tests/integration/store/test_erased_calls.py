"""Erasure in ClickHouse: what was asked for is gone, from the disk too; all else is as it was."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from tests.integration.store.stored_calls import count, orphans, store_calls
from tests.unit.store.batches import busy_calls, placed, stored_message
from watchllm_proxy.records import Call, Moved, Placement
from watchllm_proxy.store.clickhouse import AsyncEventStore, EventStore
from watchllm_proxy.store.embedded import EmbeddedClickHouse
from watchllm_proxy.store.erased_calls import CallEraser, ErasedCalls
from watchllm_proxy.store.event_rows import move_params, move_sql
from watchllm_proxy.store.sql import queries

ERASURE = UUID("00000000-0000-0000-0000-00000000e7a5")


@pytest.fixture
def calls() -> Sequence[tuple[Call, Placement]]:
    """60 calls of runs run-0 to run-5, of users u0 to u2; each holds a text of its own, all hold the system's."""
    return [
        (replace(call, user_id=f"u{number % 3}"), placement)
        for number, (call, placement) in enumerate(busy_calls(60))
    ]


def erase(store: EventStore, *run_ids: str, user_id: str | None = None, project: str = "default") -> ErasedCalls:
    async def run() -> ErasedCalls:
        eraser = CallEraser(AsyncEventStore(store), ERASURE, project)
        await eraser.note_runs(run_ids)
        if user_id is not None:
            await eraser.note_user(user_id)
        return await eraser.erase()

    return asyncio.run(run())


def test_a_run_goes_with_its_bodies_and_the_messages_that_no_other_call_holds(
    event_store: EventStore, calls: list[tuple[Call, Placement]]
) -> None:
    store_calls(event_store, calls)
    erased = erase(event_store, "run-2")
    assert erased == ErasedCalls(calls=10, messages=10, bodies=10)
    assert (count(event_store, "events"), count(event_store, "raw_exchanges")) == (50, 50)
    assert count(event_store, "events", "run_id = 'run-2'") == 0
    assert count(event_store, "messages") == 52, "the system's words and the answer are others' too"
    assert orphans(event_store) == (0, 0)
    assert (count(event_store, "erased_calls"), count(event_store, "erased_messages")) == (0, 0)


def test_a_user_goes_from_every_run(event_store: EventStore, calls: list[tuple[Call, Placement]]) -> None:
    store_calls(event_store, calls)
    assert erase(event_store, user_id="u1").calls == 20
    assert count(event_store, "events", "user_id = 'u1'") == 0
    assert count(event_store, "events") == 40
    assert orphans(event_store) == (0, 0)


def test_other_projects_keep_their_own(event_store: EventStore, calls: list[tuple[Call, Placement]]) -> None:
    store_calls(event_store, calls)
    others = [(replace(call, project_id="other"), replace(place, project_id="other")) for call, place in calls]
    store_calls(event_store, others, token=2)
    assert asyncio.run(CallEraser(AsyncEventStore(event_store), ERASURE, "other").erase_project()) == ErasedCalls(
        calls=60, messages=62, bodies=60
    )
    for table, rows in (("events", 60), ("messages", 62), ("raw_exchanges", 60)):
        assert count(event_store, table) == count(event_store, table, "project_id = 'default'") == rows
    assert erase(event_store, "run-0", project="other").calls == 0


def test_calls_that_moved_go_with_the_run_that_they_belong_to_now(
    event_store: EventStore, calls: list[tuple[Call, Placement]]
) -> None:
    store_calls(event_store, calls)
    moved = [Moved(call.call_id, "default", "run-5", "s", None) for call, _ in calls[:4]]  # out of run-0
    for params in move_params(moved):
        event_store.execute(move_sql(), params)
    assert erase(event_store, "run-0").calls == 6
    assert count(event_store, "events", "run_id = 'run-5'") == 14
    assert erase(event_store, "run-5").calls == 14
    assert orphans(event_store) == (0, 0)


def test_an_erasure_cut_short_anywhere_is_done_to_its_end_by_doing_it_again(
    event_store: EventStore, calls: list[tuple[Call, Placement]]
) -> None:
    store_calls(event_store, calls)
    names = ["note_messages_of_calls", "note_hours_of_calls", "erase_bodies", "erase_events", "erase_messages"]
    for run, cut in enumerate(names):
        with pytest.raises(Cut):
            erase(CutAt(event_store, cut), f"run-{run}")  # type: ignore[arg-type]
        erase(event_store, f"run-{run}")
        assert count(event_store, "events", f"run_id = 'run-{run}'") == 0
        assert orphans(event_store) == (0, 0), cut
    assert count(event_store, "events") == 10


def test_what_is_erased_is_in_no_file(event_store: EventStore) -> None:
    canary = f"canary-{uuid4()}"
    (kept, _), (call, _) = busy_calls(2)
    secret = stored_message("user", f'{{"content":"{canary}","role":"user"}}'.encode())
    call = replace(call, messages=(secret,), raw_request=canary.encode(), user_id=canary)
    store_calls(event_store, [placed(kept, "stays"), placed(call, canary)])
    assert erase(event_store, canary).is_gone_from_disk
    (row,) = event_store.query(
        "SELECT count() AS rows FROM system.parts WHERE database = currentDatabase() AND NOT active "
        "AND table IN ('events', 'messages', 'raw_exchanges')"
    )
    assert row["rows"] == 0, "the parts that held it are removed, not only put aside"
    assert count(event_store, "events") == 1


class Cut(Exception):
    """The process dies here."""


class CutAt:
    """A store behind which the process dies at the statement that is described so in queries.sql."""

    def __init__(self, store: EventStore, name: str) -> None:
        self._store, self._sql = store, queries("clickhouse")[name]

    def execute(self, sql: str, params: object = None) -> None:
        self._do(self._store.execute, sql, params)

    def define(self, sql: str, params: object = None) -> None:
        self._do(self._store.define, sql, params)

    def query(self, sql: str, params: object = None) -> list[dict[str, object]]:
        return self._store.query(sql, params)  # type: ignore[arg-type]

    def _do(self, operation: object, sql: str, params: object) -> None:
        if sql == self._sql:
            raise Cut
        operation(sql, params)  # type: ignore[operator]


@pytest.mark.parametrize("empty_event_store", ["embedded"], indirect=True)
def test_no_file_of_the_engine_holds_an_erased_text(
    event_store: EventStore, embedded_clickhouse: EmbeddedClickHouse
) -> None:
    """Looked for as bytes, in a column whose compression leaves a short text as it is: it is seen before."""
    canary = f"canary-{uuid4()}".encode()
    (kept, _), (call, _) = busy_calls(2)
    store_calls(event_store, [placed(kept, "stays"), placed(replace(call, user_agent=canary.decode()), "goes")])

    def files_with_it() -> list[str]:
        found = []
        for path in embedded_clickhouse._path.rglob("*"):
            with contextlib.suppress(FileNotFoundError, IsADirectoryError):  # the engine tidies up meanwhile
                if canary in path.read_bytes():
                    found.append(path.name)
        return found

    assert files_with_it()
    assert erase(event_store, "goes").is_gone_from_disk
    assert files_with_it() == []
