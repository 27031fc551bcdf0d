"""accepted = stored + in the log + dead-lettered + dropped, to the record, and loud when it is not."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.conductors.recording import Bug, Killed, Recording, chat, run_until_stored
from watchllm_proxy import accounting, crash_points, recorder_metrics
from watchllm_proxy import recorder as recorder_module
from watchllm_proxy.accounting import Balance, balances
from watchllm_proxy.capture.writer import LogWriter
from watchllm_proxy.commands.checks_captures import _findings
from watchllm_proxy.commands.findings import Level
from watchllm_proxy.health import StoresAway, checks
from watchllm_proxy.outcomes import DeadLetterReason, ShedReason
from watchllm_proxy.recorder_stats import RecorderStats
from watchllm_proxy.store.dead_letters import DeadLetters

pytestmark = pytest.mark.parametrize("empty_event_store", ["embedded"], indirect=True)


async def test_every_capture_is_in_one_place_from_the_first_to_the_last(
    recording: Recording, bug: Bug, letters: DeadLetters, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await recording.books() == Balance()
    tiny = LogWriter(recording.logs / "w0", max_bytes=200_000, segment_bytes=1 << 16)
    tiny.open()
    recording.writers["w0"] = tiny
    ids = await recording.write([chat(n) for n in range(60)])
    assert await recording.assert_adds_up() == Balance(accepted=60, in_log=60)

    bug({ids[3], ids[7]})
    monkeypatch.setattr(recorder_module, "BATCH_RECORDS", 25)
    await recording.recorder().run_once()
    await recording.write([chat(n) for n in range(60, 400)])
    books = await recording.assert_adds_up()
    assert (books.stored, books.dead_lettered) == (23, {DeadLetterReason.CRASHED: 2})
    assert books.shed == {ShedReason.LOG_FULL: recording.shed}
    assert books.accepted + recording.shed == 400
    assert books.in_log == books.accepted - 25

    await run_until_stored(recording.recorder())
    bug(set())
    await letters.drop([ids[3]], time.time_ns() // 1000)
    assert (await recording.assert_adds_up()).dropped == 1
    await letters.ask_again([ids[7]], time.time_ns() // 1000)
    await run_until_stored(recording.recorder())
    books = await recording.assert_adds_up()
    assert (books.in_log, books.set_aside, books.dropped) == (0, 0, 1)
    assert books.stored == books.accepted - 1


@pytest.mark.parametrize("point", ["recorder.after_begin", "recorder.after_events", "recorder.after_commit"])
async def test_it_adds_up_through_a_death_of_the_recorder(recording: Recording, point: str) -> None:
    await recording.write([chat(n) for n in range(20)])
    await recording.write([chat(n) for n in range(20)], log="w1")

    def kill() -> None:
        raise Killed

    crash_points.arm(point, kill)
    with pytest.raises(Killed):
        await run_until_stored(recording.recorder())
    crash_points._armed.clear()
    assert (await recording.books()).missing == 0
    await run_until_stored(recording.recorder())
    assert (await recording.assert_adds_up()).stored == 40


async def test_the_writer_s_count_goes_on_over_its_restarts(recording: Recording) -> None:
    for start in range(3):
        await recording.write([chat(n) for n in range(10)])
        if start != 1:
            await run_until_stored(recording.recorder())
        await recording.writers.pop("w0").close()
    assert await recording.assert_adds_up() == Balance(accepted=30, stored=30)


async def test_a_damaged_record_is_told_as_missing(recording: Recording) -> None:
    await recording.write([chat(n) for n in range(5)])
    segment = recording.logs / "w0" / recording.segments()[0]
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 0xFF
    segment.write_bytes(content)
    assert (await recording.books()).in_log == 5
    await run_until_stored(recording.recorder())
    books = await recording.books()
    assert (books.stored, books.missing, books.damaged_stretches) == (4, 1, 1)
    assert "1 MISSING" in books.in_words()
    (finding,) = _findings({"w0": books})
    assert finding.level is Level.PROBLEM
    assert "w0" in finding.text and "damaged" in finding.text and "disk" in (finding.next_step or "")  # noqa: PT018
    stats = RecorderStats(is_starting=False, books=books)
    assert "do not add up" in (checks(stats, StoresAway())["recorder"] or "")
    assert b'watchllm_captures{reason="",state="missing"} 1.0' in recorder_metrics.exposition(stats)


async def test_a_record_counted_twice_is_told_as_well(recording: Recording) -> None:
    await recording.write([chat(0)])
    await run_until_stored(recording.recorder())
    await recording.runs.pool.execute("UPDATE capture_offsets SET stored_records = 2")
    (finding,) = _findings({"w0": await recording.books()})
    assert finding.level is Level.PROBLEM
    assert "-1 MISSING" in finding.text


async def test_a_log_that_was_deleted_is_told_and_the_others_are_counted(recording: Recording) -> None:
    await recording.write([chat(n) for n in range(3)])
    await recording.write([chat(n) for n in range(4)], log="w1")
    await run_until_stored(recording.recorder())
    await recording.writers.pop("w1").close()
    shutil.rmtree(recording.logs / "w1")
    by_log = await balances(recording.runs.pool, recording.logs)
    assert by_log["w0"] == Balance(accepted=3, stored=3)
    assert by_log["w1"] == Balance(accepted=4, stored=4, lost_logs=1)
    assert [finding.level for finding in _findings(by_log)] == [Level.WARNING, Level.OK]


async def test_a_log_that_is_released_meanwhile_is_looked_at_again(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    await recording.write([chat(n) for n in range(3)])
    real, looks = accounting._of_logs, []

    def released(capture_dir: Path, *rest: object, **options: object) -> dict[str, Balance]:
        looks.append(1)
        if len(looks) < 3:
            raise FileNotFoundError
        return real(capture_dir, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(accounting, "_of_logs", released)
    assert (await recording.books()).accepted == 3


def test_the_sum_in_words(empty_event_store: object) -> None:
    books = Balance(
        1234, 4, 1226, {DeadLetterReason.CRASHED: 1, DeadLetterReason.REJECTED: 2}, 1, {ShedReason.DISK_FULL: 5}
    )
    told = "1,234 accepted = 1,226 stored + 4 in the log + 3 dead-lettered (crashed 1, rejected 2) + 1 dropped"
    assert books.in_words() == f"{told}; 5 shed (disk_full 5)"
    assert replace(books, shed={}, dropped=0).in_words().endswith("+ 1 MISSING")
    assert (books + books).accepted == 2468
    assert (books + books).missing == 0
