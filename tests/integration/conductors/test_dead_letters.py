"""Records that were set aside, tried again: stored once at last, whatever dies between, and counted exactly."""

from __future__ import annotations

import time
from collections.abc import Sequence
from uuid import UUID

import pytest

from tests.integration.conductors.recording import (
    Bug,
    Killed,
    Recording,
    Running,
    chat,
    run_until_stored,
    until_true,
)
from watchllm_proxy import crash_points, inserting
from watchllm_proxy import recorder as recorder_module
from watchllm_proxy.decode import rebuild
from watchllm_proxy.outcomes import DeadLetterReason
from watchllm_proxy.records import DEFAULT_PROJECT_ID, Call
from watchllm_proxy.store.costs import CostBy
from watchllm_proxy.store.dead_letters import DeadLetters
from watchllm_proxy.store.event_rows import DEFAULT_RETENTION
from watchllm_proxy.store.reading import StoreReading
from watchllm_proxy.store.shapes import CallRow
from watchllm_proxy.store.transfer import EventRows

only_embedded = pytest.mark.parametrize("empty_event_store", ["embedded"], indirect=True)


def now_us() -> int:
    return time.time_ns() // 1000


async def test_a_record_tried_again_is_stored_once_and_is_no_dead_letter_any_more(
    recording: Recording, letters: DeadLetters, bug: Bug
) -> None:
    ids = await recording.write([chat(n, run=f"run-{n % 2}") for n in range(9)])
    bug({ids[3], ids[6]})
    await run_until_stored(recording.recorder())
    assert {each.record_id for each in await letters.listed()} == {ids[3], ids[6]}

    bug(set())
    assert await letters.ask_again([ids[3]], now_us()) == [ids[3]]
    await run_until_stored(recording.recorder())
    assert sorted(await recording.call_ids()) == sorted(ids[:6] + ids[7:])
    assert await recording.dead_letters() == {ids[6]: "crashed"}
    assert await recording.in_postgres("SELECT sum(total_calls) FROM agent_debug_logs") == 8
    assert await recording.in_postgres("SELECT stored_records FROM capture_offsets") == 8
    assert await recording.in_postgres("SELECT count(*) FROM pending_batches") == 0


@only_embedded
async def test_a_running_recorder_takes_them_up_by_itself(
    recording: Recording, letters: DeadLetters, bug: Bug
) -> None:
    ids = await recording.write([chat(n) for n in range(3)])
    bug({ids[1]})
    async with Running(recording.recorder()) as recorder:
        await until_true(lambda: recording.count_of("dead_letters", 1), "the letter")
        bug(set())
        await letters.ask_again([ids[1]], now_us())
        await until_true(lambda: recording.count_of("dead_letters", 0), "the letter to be stored")
        assert recorder.stats.stored_calls == 3
    assert sorted(await recording.call_ids()) == sorted(ids)


POINTS = ["recorder.after_begin", "recorder.after_messages", "recorder.after_events", "recorder.after_commit"]


@pytest.mark.parametrize("point", POINTS)
async def test_a_retry_cut_short_anywhere_is_finished_with_the_same_rows(
    recording: Recording, letters: DeadLetters, bug: Bug, point: str
) -> None:
    ids = await recording.write([chat(n, run="agent") for n in range(5)])
    bug({ids[1], ids[3]})
    await run_until_stored(recording.recorder())
    bug(set())
    await letters.ask_again(ids, now_us())

    def kill() -> None:
        raise Killed

    crash_points.arm(point, kill)
    with pytest.raises(Killed):
        await run_until_stored(recording.recorder())
    crash_points._armed.clear()
    await run_until_stored(recording.recorder())
    assert sorted(await recording.call_ids()) == sorted(ids)
    assert await recording.dead_letters() == {}
    assert await recording.in_postgres("SELECT sum(total_calls) FROM agent_debug_logs") == 5
    assert await recording.in_postgres("SELECT stored_records FROM capture_offsets") == 5
    await recording.assert_adds_up()


@only_embedded
async def test_nobody_sees_twice_what_a_retry_that_was_cut_left_there_twice(
    recording: Recording, letters: DeadLetters, bug: Bug
) -> None:
    """Its parts go under tokens of their own (0255): until ClickHouse merges, a call may have two equal rows."""
    began_us = now_us()
    ids = await recording.write([chat(n, run="agent") for n in range(5)])
    bug({ids[1], ids[3]})
    await run_until_stored(recording.recorder())
    bug(set())
    await letters.ask_again(ids, now_us())
    await recording.events.execute("SYSTEM STOP MERGES events")
    try:
        for _ in range(2):
            crash_points.arm("recorder.after_events", killed)
            with pytest.raises(Killed):
                await run_until_stored(recording.recorder())
        crash_points._armed.clear()
        await run_until_stored(recording.recorder())
        lying_there = await recording.call_ids()
        assert sorted(set(lying_there)) == sorted(ids)
        assert len(lying_there) > len(ids), "nothing lies there twice: this shows nothing"
        await assert_each_is_told_once(recording, ids, began_us)
    finally:
        await recording.events.execute("SYSTEM START MERGES events")


async def assert_each_is_told_once(recording: Recording, ids: list[UUID], began_us: int) -> None:
    reading = StoreReading(recording.runs.pool, recording.events, rebuild=rebuild)
    found = await reading.get_run(DEFAULT_PROJECT_ID, "agent")
    assert found is not None
    assert found.run.total_calls == len(ids)
    sent = await reading.get_sent_calls(DEFAULT_PROJECT_ID, found.run)
    assert sent is not None
    assert sorted(each.call.call_id for each in sent) == sorted(ids)
    for newest in (await reading.recent_calls(DEFAULT_PROJECT_ID, None, 50), await after_the_first(reading)):
        seen = [call.call_id for call in newest]
        assert len(seen) == len(set(seen))
        assert set(seen) <= set(ids)
    hour_us = 3_600_000_000
    from_us = began_us // hour_us * hour_us
    costs = await reading.costs(DEFAULT_PROJECT_ID, CostBy.MODEL, from_us=from_us, to_us=from_us + 2 * hour_us)
    assert [group.calls for group in costs] == [len(ids)]
    events = EventRows(recording.events, DEFAULT_PROJECT_ID, DEFAULT_RETENTION)
    exported = [row["call_id"] async for page in events.calls("agent") for table, row in page if table == "events"]
    assert sorted(exported) == sorted(map(str, ids))
    await recording.assert_adds_up()


async def after_the_first(reading: StoreReading) -> Sequence[CallRow]:
    oldest = (await reading.recent_calls(DEFAULT_PROJECT_ID, None, 50))[0]
    return await reading.recent_calls(DEFAULT_PROJECT_ID, oldest.call_id, 50)


def killed() -> None:
    raise Killed


@only_embedded
async def test_what_fails_again_stays_with_its_count_and_the_others_are_stored(
    recording: Recording, letters: DeadLetters, bug: Bug
) -> None:
    ids = await recording.write([chat(n) for n in range(6)])
    bug(set(ids[:4]))
    await run_until_stored(recording.recorder())
    bug({ids[2]})
    await letters.ask_again(ids[:4], now_us())
    await run_until_stored(recording.recorder())
    (left,) = await letters.listed()
    assert (left.record_id, left.attempts, left.is_wanted) == (ids[2], 2, False)
    assert sorted(await recording.call_ids()) == sorted(ids[:2] + ids[3:])


@only_embedded
async def test_a_letter_whose_rows_crash_is_found_by_bisection_among_those_tried_again(
    recording: Recording, letters: DeadLetters, bug: Bug, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await recording.write([chat(n) for n in range(7)])
    bug(set(ids))
    await run_until_stored(recording.recorder())
    bug(set())
    real = inserting.event_inserts

    def crashing(calls: list[tuple[Call, object]], *rest: object, **options: object) -> object:
        if any(call.call_id == ids[5] for call, _ in calls):
            raise KeyError
        return real(calls, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(inserting, "event_inserts", crashing)
    await letters.ask_again(ids, now_us())
    await run_until_stored(recording.recorder())
    (left,) = await letters.listed()
    assert (left.record_id, left.attempts) == (ids[5], 2)
    assert sorted(await recording.call_ids()) == sorted(ids[:5] + ids[6:])


@only_embedded
async def test_a_dropped_letter_loses_its_bytes_and_stays_as_a_mark(
    recording: Recording, letters: DeadLetters, bug: Bug
) -> None:
    ids = await recording.write([chat(n) for n in range(3)])
    bug(set(ids[:2]))
    await run_until_stored(recording.recorder())
    await letters.ask_again([ids[1]], now_us())
    assert await letters.drop(ids, now_us()) == [ids[0]], "not what is to be tried again, not what is stored"
    assert await letters.payload(ids[0]) is None
    assert await letters.ask_again([ids[0]], now_us()) == []
    assert [each.record_id for each in await letters.listed()] == [ids[1]]
    everything = {each.record_id: each for each in await letters.listed(with_dropped=True)}
    assert everything[ids[0]].dropped_at_us is not None
    assert everything[ids[0]].payload_bytes == 0
    assert await letters.listed(reason=DeadLetterReason.CORRUPT) == []


@only_embedded
async def test_many_large_letters_are_taken_in_several_batches(
    recording: Recording, letters: DeadLetters, bug: Bug, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await recording.write([chat(n) for n in range(10)])
    bug(set(ids))
    await run_until_stored(recording.recorder())
    bug(set())
    await letters.ask_again(ids, now_us())
    (first,) = await letters.wanted(max_records=10, max_bytes=1)
    assert first.record_id == min(ids), "asked for at one moment: by id"
    monkeypatch.setattr(recorder_module, "RETRIED_RECORDS", 3)
    monkeypatch.setattr(recorder_module, "RETRY_LOOK_INTERVAL_S", 0.0)
    recorder = recording.recorder()
    await run_until_stored(recorder)
    assert recorder.stats.batches == 4
    assert sorted(await recording.call_ids()) == sorted(ids)
