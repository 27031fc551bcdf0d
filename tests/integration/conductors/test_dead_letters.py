"""Records that were set aside, tried again: stored once at last, whatever dies between, and counted exactly."""

from __future__ import annotations

import time

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
from watchllm_proxy import crash_points
from watchllm_proxy import recorder as recorder_module
from watchllm_proxy.outcomes import DeadLetterReason
from watchllm_proxy.records import Call
from watchllm_proxy.store.dead_letters import DeadLetters

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
    real = recorder_module.event_inserts

    def crashing(calls: list[tuple[Call, object]], *rest: object, **options: object) -> object:
        if any(call.call_id == ids[5] for call, _ in calls):
            raise KeyError
        return real(calls, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(recorder_module, "event_inserts", crashing)
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
