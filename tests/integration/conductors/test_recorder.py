"""The recorder between a real log and real stores: everything stored once, whatever breaks, and told truly."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import parse_qs, urlsplit, urlunsplit
from uuid import UUID

import pytest

from tests.fixtures.fault_proxy import FaultProxy
from tests.integration.conductors.recording import Killed, Recording, Running, chat, run_until_stored, until
from watchllm_proxy import crash_points, inserting, pricing, recorder_metrics, thinking
from watchllm_proxy import recorder as recorder_module
from watchllm_proxy.capture.merge import LogSet
from watchllm_proxy.capture.writer import LogWriter
from watchllm_proxy.errors import StoreRejected, StoreUnavailable
from watchllm_proxy.health import StoresAway, checks
from watchllm_proxy.outcomes import ShedReason
from watchllm_proxy.records import (
    BatchBounds,
    Call,
    Exchange,
    Explanation,
    Flag,
    Placement,
    Run,
    RunChanges,
)
from watchllm_proxy.store.clickhouse import AsyncEventStore, ClickHouseServer, EventStore
from watchllm_proxy.store.event_rows import Insert
from watchllm_proxy.store.postgres import DeadLetter, RunKey, RunStore, Tally
from watchllm_proxy.store.usage import Spending

only_embedded = pytest.mark.parametrize("empty_event_store", ["embedded"], indirect=True)
"""For what does not depend on the engine."""


# --- once -------------------------------------------------------------------------------------------


async def test_each_exchange_is_stored_once_in_both_stores_and_its_log_is_released(recording: Recording) -> None:
    ids = await recording.write([chat(n) for n in range(200)])
    assert len(recording.segments()) > 1
    recorder = recording.recorder()
    await run_until_stored(recorder)
    assert sorted(await recording.call_ids()) == sorted(ids)
    assert await recording.in_postgres("SELECT count(DISTINCT call_id) FROM run_links") == 200
    assert await recording.in_postgres("SELECT count(*) FROM agent_debug_logs") == 200
    assert await recording.in_postgres("SELECT count(*) FROM pending_batches") == 0
    assert recording.in_log(recorder) == 0
    assert len(recording.segments()) == 1
    assert recorder.stats.stored_calls == 200


async def test_a_recorder_that_starts_again_stores_nothing_twice(recording: Recording) -> None:
    await recording.write([chat(n) for n in range(20)])
    await run_until_stored(recording.recorder())
    again = recording.recorder()
    await run_until_stored(again)
    assert again.stats.batches == 0
    assert await recording.count("events") == 20


CRASH_POINTS = [
    "recorder.after_begin",
    "recorder.after_messages",
    "recorder.after_raw_exchanges",
    "recorder.after_events",
    "recorder.after_commit",
    "capture.segment_released",
]


@pytest.mark.parametrize("point", CRASH_POINTS)
async def test_a_batch_cut_short_anywhere_is_finished_with_the_same_rows(recording: Recording, point: str) -> None:
    before = await recording.write([chat(n, run=f"run-{n % 7}") for n in range(40)])
    await run_until_stored(recording.recorder())
    ids = before + await recording.write([chat(n, run=f"run-{n % 7}") for n in range(40, 120)])
    killed_at = []

    def kill() -> None:
        killed_at.append(point)
        raise Killed

    crash_points.arm(point, kill)
    with pytest.raises(Killed):
        await run_until_stored(recording.recorder())
    assert killed_at == [point]
    crash_points._armed.clear()
    ids += await recording.write([chat(n, run=f"run-{n % 7}") for n in range(120, 150)])

    recorder = recording.recorder()
    await run_until_stored(recorder)

    assert sorted(await recording.call_ids()) == sorted(ids)
    messages = await recording.count("messages")
    assert messages == len(await recording.events.query("SELECT DISTINCT content_hash FROM messages"))
    assert await recording.in_postgres("SELECT count(DISTINCT call_id) FROM run_links") == 150
    assert await recording.in_postgres("SELECT count(*) FROM agent_debug_logs") == 7
    assert await recording.in_postgres("SELECT sum(total_steps) FROM agent_debug_logs") == 300
    assert await recording.in_postgres("SELECT count(*) FROM agent_debug_steps") == 300
    assert recording.in_log(recorder) == 0


async def test_rows_of_both_stores_agree_on_the_run_after_a_crash(recording: Recording) -> None:
    await recording.write([chat(n) for n in range(30)])
    crash_points.arm("recorder.after_events", lambda: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        await run_until_stored(recording.recorder())
    crash_points._armed.clear()
    await run_until_stored(recording.recorder())
    placed = {
        (UUID(str(row["call_id"])), row["run_id"])
        for row in await recording.events.query("SELECT call_id, run_id FROM events")
    }
    linked = await recording.runs.pool.fetch("SELECT DISTINCT call_id, run_id FROM run_links")
    assert placed == {(row["call_id"], row["run_id"]) for row in linked}


async def test_stop_takes_what_the_log_holds_and_not_what_goes_on_coming(recording: Recording) -> None:
    """A recorder alone is stopped while proxies go on writing: it must not run after them for ever."""
    await recording.write([chat(n) for n in range(10)])
    recorder = recording.recorder()
    stop = asyncio.Event()
    stop.set()
    running = asyncio.ensure_future(recorder.run(stop))
    number = 10
    async with asyncio.timeout(20):
        while not running.done():
            await recording.write([chat(number)])
            number += 1
    await running
    assert recorder.stats.stored_calls >= 10


# --- a store that is away ---------------------------------------------------------------------------


@pytest.fixture
def postgres_wire(postgres_dsn: str) -> Iterator[FaultProxy]:
    socket_dir = parse_qs(urlsplit(postgres_dsn).query)["host"][0]
    with FaultProxy(Path(socket_dir) / ".s.PGSQL.5432") as wire:
        yield wire


@pytest.fixture
def clickhouse_wire(clickhouse_url: str) -> Iterator[FaultProxy]:
    parts = urlsplit(clickhouse_url)
    assert parts.hostname is not None
    with FaultProxy((parts.hostname, parts.port or 9000)) as wire:
        yield wire


def through(dsn: str, wire: FaultProxy) -> str:
    """The same database on the wire."""
    parts = urlsplit(dsn)
    user = parts.netloc.rpartition("@")[0]
    return urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{wire.port}", query=""))


@only_embedded
async def test_postgres_away_for_a_while_is_told_and_waited_for(
    recording: Recording, postgres_dsn: str, postgres_wire: FaultProxy
) -> None:
    runs = await RunStore.open(through(postgres_dsn, postgres_wire))
    async with Running(recording.recorder(runs=runs)) as recorder:
        ids = await recording.write([chat(n) for n in range(20)])
        await until(lambda: recorder.stats.stored_calls == 20, "the first 20")
        postgres_wire.refuse()
        ids += await recording.write([chat(n) for n in range(20, 60)])
        await until(lambda: recorder.stats.waiting_for == "postgres", "the recorder to say so")
        told = checks(recorder.stats, StoresAway())
        assert "away" in (told["postgres"] or "")
        assert told["clickhouse"] is None
        await until(lambda: recorder.stats.log_depth_bytes > 0, "the depth of the log, while it waits")
        assert recorder.stats.stored_calls == 20
        postgres_wire.restore()
        await until(lambda: recorder.stats.stored_calls == 60, "the rest")
        assert checks(recorder.stats, StoresAway()) == dict.fromkeys(("postgres", "clickhouse", "recorder"))
    await runs.close()
    assert sorted(await recording.call_ids()) == sorted(ids)
    await recording.assert_adds_up()


@pytest.mark.parametrize("empty_event_store", ["server"], indirect=True)
async def test_clickhouse_away_for_a_while_is_told_and_waited_for(
    recording: Recording, clickhouse_url: str, clickhouse_wire: FaultProxy
) -> None:
    events = AsyncEventStore(ClickHouseServer(through(clickhouse_url, clickhouse_wire)))
    async with Running(recording.recorder(events=events)) as recorder:
        ids = await recording.write([chat(n) for n in range(20)])
        await until(lambda: recorder.stats.stored_calls == 20, "the first 20")
        clickhouse_wire.refuse()
        ids += await recording.write([chat(n) for n in range(20, 60)])
        await until(lambda: recorder.stats.waiting_for == "clickhouse", "the recorder to say so")
        told = checks(recorder.stats, StoresAway())
        assert "away" in (told["clickhouse"] or "")
        assert told["postgres"] is None
        clickhouse_wire.restore()
        await until(lambda: recorder.stats.stored_calls == 60, "the rest")
        assert recorder.stats.waiting_for is None
    await events.close()
    assert sorted(await recording.call_ids()) == sorted(ids)
    await recording.assert_adds_up()


@only_embedded
async def test_a_commit_whose_answer_is_lost_is_made_once(
    recording: Recording, postgres_dsn: str, postgres_wire: FaultProxy
) -> None:
    runs = await RunStore.open(through(postgres_dsn, postgres_wire))
    await recording.write([chat(n, run="one") for n in range(30)])
    postgres_wire.lose_answer_after(b"COMMIT\0")
    recorder = recording.recorder(runs=runs)
    await run_until_stored_despite_waits(recorder)
    await runs.close()
    assert postgres_wire.answers_lost == 1
    assert await recording.count("events") == 30
    assert await recording.in_postgres("SELECT total_steps FROM agent_debug_logs") == 60
    assert await recording.in_postgres("SELECT count(*) FROM agent_debug_steps") == 60
    await recording.assert_adds_up()


@pytest.mark.parametrize("empty_event_store", ["server"], indirect=True)
async def test_an_insert_that_is_cut_is_made_once(
    recording: Recording, clickhouse_url: str, clickhouse_wire: FaultProxy
) -> None:
    events = AsyncEventStore(ClickHouseServer(through(clickhouse_url, clickhouse_wire)))
    ids = await recording.write([chat(n) for n in range(30)])
    clickhouse_wire.lose_answer_after(b"request_skeleton")  # stands in the statement, before any of its rows
    await run_until_stored_despite_waits(recording.recorder(events=events))
    await events.close()
    assert clickhouse_wire.answers_lost == 1
    assert sorted(await recording.call_ids()) == sorted(ids)
    await recording.assert_adds_up()


class _AnswerLost(AsyncEventStore):
    """The rows of this table are there, and who sent them never hears of it: once."""

    table: str | None = None

    async def insert(
        self, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]], token: str
    ) -> None:
        await super().insert(table, columns, rows, token)
        if rows and table == self.table:
            self.table = None
            raise StoreUnavailable("the answer is lost")


@pytest.mark.parametrize(("table", "rows"), [("events", 30), ("messages", 60)])
async def test_an_insert_whose_answer_is_lost_is_made_once(recording: Recording, table: str, rows: int) -> None:
    events = _AnswerLost(recording.store)
    events.table = table
    await recording.write([chat(n) for n in range(30)])
    await run_until_stored_despite_waits(recording.recorder(events=events))
    assert events.table is None
    assert await recording.count(table) == rows, "as they lie there"
    await recording.assert_adds_up()


async def run_until_stored_despite_waits(recorder: recorder_module.Recorder) -> None:
    async with Running(recorder):
        await until(lambda: recorder.stats.batches > 0, "a batch")


@only_embedded
async def test_a_recorder_told_to_stop_while_a_store_is_away_stops_and_loses_nothing(
    recording: Recording, postgres_dsn: str, postgres_wire: FaultProxy
) -> None:
    runs = await RunStore.open(through(postgres_dsn, postgres_wire))
    ids = await recording.write([chat(n) for n in range(20)])
    async with Running(recording.recorder(runs=runs)) as recorder:
        postgres_wire.refuse()
        ids += await recording.write([chat(n) for n in range(20, 40)])
        await until(lambda: recorder.stats.waiting_for == "postgres", "the recorder to wait")
        began = time.monotonic()
    assert time.monotonic() - began < 20.0
    await asyncio.wait_for(runs.pool.expire_connections(), 5)
    await runs.close()
    await run_until_stored(recording.recorder())
    assert sorted(await recording.call_ids()) == sorted(ids)


# --- records that cannot be stored ------------------------------------------------------------------


@only_embedded
async def test_garbage_with_a_right_checksum_is_set_aside_and_holds_up_nothing(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await recording.write([chat(0)])
    with monkeypatch.context() as patch:
        patch.setattr("watchllm_proxy.capture.writer.pack", lambda exchange, spilled: [b"\xff" * 100])
        (garbage,) = await recording.write([chat(1)])
    last = await recording.write([chat(2)])
    recorder = recording.recorder()
    await run_until_stored(recorder)
    assert sorted(await recording.call_ids()) == sorted(first + last)
    assert await recording.dead_letters() == {garbage: "corrupt"}
    assert await recording.in_postgres("SELECT payload FROM dead_letters") == b"\xff" * 100
    assert "dead list" in (checks(recorder.stats, StoresAway())["recorder"] or "")
    await recording.assert_adds_up()


@only_embedded
@pytest.mark.parametrize("stage", ["decode", "estimate_usage", "cost_of"])
async def test_a_record_that_crashes_a_stage_is_set_aside_and_holds_up_nothing(
    recording: Recording, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    ids = await recording.write([chat(n) for n in range(9)])
    crash_on(monkeypatch, stage, ids[4])
    recorder = recording.recorder()
    await run_until_stored(recorder)
    assert sorted(await recording.call_ids()) == sorted(ids[:4] + ids[5:])
    assert await recording.dead_letters() == {ids[4]: "crashed"}
    assert recorder.stats.batches == 1, "the others need not be thought about again"


def crash_on(monkeypatch: pytest.MonkeyPatch, stage: str, victim: UUID) -> None:
    """A bug in `stage` that one record meets."""
    stands_in = pricing if stage == "cost_of" else thinking
    real = getattr(stands_in, stage)

    def crashing(value: Exchange | Call, *more: object, **options: object) -> object:
        met = value.exchange_id if isinstance(value, Exchange) else value.call_id
        if met == victim:
            raise KeyError("a bug")
        return real(value, *more, **options)

    monkeypatch.setattr(stands_in, stage, crashing)


@only_embedded
async def test_a_record_whose_rows_crash_is_found_by_bisection(
    recording: Recording, monkeypatch: pytest.MonkeyPatch, logged: list[dict[str, object]]
) -> None:
    ids = await recording.write([chat(n) for n in range(9)])
    real = inserting.event_inserts

    def crashing(calls: Sequence[tuple[Call, Placement]], *rest: object, **options: object) -> list[Insert]:
        if any(call.call_id == ids[5] for call, _ in calls):
            raise KeyError("the words of a body")
        return real(calls, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(inserting, "event_inserts", crashing)
    await run_until_stored(recording.recorder())
    assert sorted(await recording.call_ids()) == sorted(ids[:5] + ids[6:])
    assert await recording.dead_letters() == {ids[5]: "crashed"}
    assert await recording.in_postgres("SELECT detail FROM dead_letters") == "KeyError"
    assert {entry["event"] for entry in logged} >= {"recorder.batch_crashed", "recorder.record_crashed"}


@only_embedded
@pytest.mark.parametrize("stage", ["find_flags", "explain"])
async def test_a_run_that_crashes_an_insight_is_stored_all_the_same(
    recording: Recording, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    ids = await recording.write([chat(n, run=f"run-{n}") for n in range(9)])
    real = getattr(thinking, stage)

    def crashing(run: Run, *rest: object) -> object:
        if "run-6" in run.run_id:
            raise ZeroDivisionError
        return real(run, *rest)

    monkeypatch.setattr(thinking, stage, crashing)
    recorder = recording.recorder()
    await run_until_stored(recorder)
    assert sorted(await recording.call_ids()) == sorted(ids)
    assert await recording.dead_letters() == {}
    assert await recording.in_postgres("SELECT count(*) FROM agent_debug_logs") == 9
    assert recorder.stats.insight_crashes == 1
    assert b"watchllm_recorder_insight_crashes_total 1.0" in recorder_metrics.exposition(recorder.stats)


class Picky:
    """The event store, but for one call that it refuses for ever."""

    def __init__(self, store: EventStore, refused: UUID) -> None:
        self._store = store
        self._refused = refused

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]], token: str) -> None:
        if "call_id" in columns and any(row[columns.index("call_id")] == self._refused for row in rows):
            raise StoreRejected("a value that no column can hold")
        self._store.insert(table, columns, rows, token)

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


@only_embedded
@pytest.mark.parametrize("position", range(9))
async def test_a_record_that_a_store_refuses_is_found_wherever_it_stands(
    recording: Recording, position: int
) -> None:
    ids = await recording.write([chat(n, run=f"run-{n % 2}") for n in range(9)])
    picky = AsyncEventStore(Picky(recording.store, ids[position]))  # type: ignore[arg-type]
    recorder = recording.recorder(events=picky)
    await run_until_stored(recorder)
    others = [each for each in ids if each != ids[position]]
    assert sorted(await recording.call_ids()) == sorted(others)
    assert await recording.dead_letters() == {ids[position]: "rejected"}
    assert recorder.stats.stored_calls == 8
    assert recorder.stats.dead_letters == {"rejected": 1}
    assert await recording.in_postgres("SELECT sum(total_steps) FROM agent_debug_logs") == 16
    assert recording.in_log(recorder) == 0


@only_embedded
async def test_a_bisection_cut_short_goes_on_where_it_was(recording: Recording) -> None:
    ids = await recording.write([chat(n) for n in range(9)])
    picky = AsyncEventStore(Picky(recording.store, ids[7]))  # type: ignore[arg-type]
    commits = []

    def kill_at_second_commit() -> None:
        commits.append(1)
        if len(commits) == 2:
            raise Killed

    crash_points.arm("recorder.after_commit", kill_at_second_commit)
    with pytest.raises(Killed):
        await run_until_stored(recording.recorder(events=picky))
    crash_points._armed.clear()
    await run_until_stored(recording.recorder(events=picky))
    assert sorted(await recording.call_ids()) == sorted(ids[:7] + ids[8:])
    assert await recording.dead_letters() == {ids[7]: "rejected"}
    await recording.assert_adds_up()


# --- the sum ----------------------------------------------------------------------------------------


@only_embedded
async def test_every_capture_is_in_exactly_one_place_and_counted(
    recording: Recording, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """accepted = stored + still in the log + dead-lettered; appended = accepted + shed."""
    tiny = LogWriter(recording.logs / "w0", max_bytes=200_000, segment_bytes=1 << 16)
    tiny.open()
    recording.writers["w0"] = tiny
    ids = await recording.write([chat(n) for n in range(60)])
    crash_on(monkeypatch, "decode", ids[3])
    monkeypatch.setattr(recorder_module, "BATCH_RECORDS", 25)
    recorder = recording.recorder()
    await recorder.run_once()
    ids += await recording.write([chat(n) for n in range(60, 400)])

    left = LogSet(recording.logs).choose(
        recorder._offsets, time.time_ns() // 1000, max_records=10_000, max_bytes=1 << 30
    )
    stored = recorder.stats.stored_calls
    dead = sum(recorder.stats.dead_letters.values())
    shed = sum(tiny.shed.values())

    assert (stored, dead) == (24, 1)
    assert shed == tiny.shed[ShedReason.LOG_FULL] > 0
    assert tiny.accepted + shed == 400
    assert tiny.accepted == stored + dead + len(left.records)
    assert await recording.count("events") == stored


# --- time, several logs, runs that come back ---------------------------------------------------------


@only_embedded
async def test_a_run_that_falls_silent_ends_without_another_call(recording: Recording) -> None:
    long_ago_us = time.time_ns() // 1000 - SILENCE_BUT_A_SECOND_US
    exchange = chat(0, run="quiet", ended_at_us=long_ago_us)
    await recording.write([exchange])
    async with Running(recording.recorder()) as recorder:
        await until(lambda: recorder.stats.batches == 1, "the call")
        started = time.monotonic()
        while await recording.in_postgres("SELECT status FROM agent_debug_logs") == "running":
            assert time.monotonic() - started < 60.0
            await asyncio.sleep(0.05)
    assert await recording.in_postgres("SELECT ended_at IS NOT NULL FROM agent_debug_logs")
    assert recorder.stats.batches == 1


SILENCE_BUT_A_SECOND_US = 599 * 1_000_000


@only_embedded
async def test_calls_of_one_agent_through_two_workers_are_one_run_in_order(recording: Recording) -> None:
    began_us = time.time_ns() // 1000 - 60 * 1_000_000
    exchanges = [chat(n, run="agent", ended_at_us=began_us + n * 1000) for n in range(20)]
    await recording.write(exchanges[0::2], log="w0")
    await recording.write(exchanges[1::2], log="w1")
    recorder = recording.recorder()
    await run_until_stored(recorder)
    steps = await recording.runs.pool.fetch("SELECT call_id FROM agent_debug_steps ORDER BY step_index")
    order = list(dict.fromkeys(row["call_id"] for row in steps))
    assert order == [exchange.exchange_id for exchange in exchanges]
    assert await recording.in_postgres("SELECT count(*) FROM agent_debug_logs") == 1
    assert await recording.in_postgres("SELECT count(*) FROM capture_offsets") == 2
    assert recording.in_log(recorder) == 0


@only_embedded
async def test_stop_waits_for_what_was_held_back_for_another_log(recording: Recording) -> None:
    await recording.write([chat(0)], log="w0")
    await recording.write([chat(1)], log="w1")
    await run_until_stored(recording.recorder())
    await recording.write([chat(2)], log="w1")
    recorder = recording.recorder()
    await run_until_stored(recorder)
    assert await recording.count("events") == 3
    assert recording.in_log(recorder) == 0


@only_embedded
async def test_a_named_run_that_comes_back_after_days_is_numbered_on(recording: Recording) -> None:
    day_us = 86_400 * 1_000_000
    now_us = time.time_ns() // 1000
    await recording.write([chat(0, run="nightly", ended_at_us=now_us - 3 * day_us)])
    await recording.write([chat(1, run="other", ended_at_us=now_us - day_us)])
    await run_until_stored(recording.recorder())
    await recording.write([chat(2, run="nightly", ended_at_us=now_us)])
    await run_until_stored(recording.recorder())
    steps = await recording.runs.pool.fetch(
        "SELECT step_index, call_id FROM agent_debug_steps WHERE run_id LIKE '%nightly%' ORDER BY step_index"
    )
    assert [row["step_index"] for row in steps] == [0, 1, 2, 3]
    assert len({row["call_id"] for row in steps}) == 2


@only_embedded
async def test_a_log_that_cannot_be_read_is_waited_for(recording: Recording) -> None:
    ids = await recording.write([chat(0)])
    segment = recording.logs / "w0" / recording.segments()[0]
    twin = segment.with_name(segment.name.replace(segment.name[13:45], "0" * 32))
    twin.write_bytes(segment.read_bytes())
    async with Running(recording.recorder()) as recorder:
        await until(lambda: recorder.stats.waiting_for is not None, "the recorder to say so")
        assert "capture log" in (checks(recorder.stats, StoresAway())["recorder"] or "")
        twin.unlink()
        await until(lambda: recorder.stats.stored_calls == 1, "the call")
    assert await recording.call_ids() == ids


# --- a record that only the second store refuses ------------------------------------------------------


@only_embedded
async def test_a_record_that_postgres_refuses_is_found_though_its_rows_are_in_clickhouse(
    recording: Recording, postgres_dsn: str
) -> None:
    """ClickHouse was first and has taken the batch: halves are written again, and of two equal rows one counts."""
    ids = await recording.write([chat(n) for n in range(9)])
    runs = await RunStore.open(postgres_dsn)
    commit = runs.commit_batch

    async def picky(
        bounds: BatchBounds | None,
        changes: RunChanges,
        flags: Mapping[RunKey, Sequence[Flag]],
        explanations: Mapping[RunKey, Sequence[Explanation]],
        dead_letters: Sequence[DeadLetter] = (),
        *,
        tallies: Mapping[str, Tally],
        spending: Spending,
        displaced: Sequence[RunKey],
    ) -> None:
        if any(placement.call_id == ids[2] for placement in changes.placements):
            raise StoreRejected("SQLSTATE 22")
        await commit(
            bounds,
            changes,
            flags,
            explanations,
            dead_letters,
            tallies=tallies,
            spending=spending,
            displaced=displaced,
        )

    runs.commit_batch = picky  # type: ignore[method-assign]
    recorder = recording.recorder(runs=runs)
    await run_until_stored(recorder)
    await runs.close()
    assert await recording.dead_letters() == {ids[2]: "rejected"}
    assert await recording.in_postgres("SELECT count(DISTINCT call_id) FROM run_links") == 8
    assert await recording.count("events FINAL") == 9
    assert recorder.stats.stored_calls == 8
    orphans = await recording.events.query("SELECT toString(call_id) AS id FROM events FINAL WHERE run_id IS NULL")
    assert [row["id"] for row in orphans] == [str(ids[2])], "readable, and of no run: it counts as set aside, once"
    runs_in_postgres = await recording.runs.pool.fetch("SELECT run_id FROM agent_debug_logs")
    named = await recording.events.query("SELECT DISTINCT run_id FROM events FINAL WHERE run_id IS NOT NULL")
    assert {row["run_id"] for row in named} == {row["run_id"] for row in runs_in_postgres}
