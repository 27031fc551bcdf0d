"""A record that ends each recorder that thinks about it is set aside; one that others are killed beside is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from tests.integration.conductors.recording import Killed, Recording, chat, run_until_stored
from tests.integration.conductors.test_recorder import only_embedded
from tests.integration.conductors.test_redaction import redacting
from watchllm_proxy import crash_points
from watchllm_proxy.capture.merge import Batch, MergedRecord
from watchllm_proxy.histories import Histories
from watchllm_proxy.redacting import Redacting
from watchllm_proxy.store.dead_letters import DeadLetters
from watchllm_proxy.store.postgres import DeadLetter
from watchllm_proxy.suspecting import ENDED_AT_MOST
from watchllm_proxy.thinking import Thinker, Thought, Understood

pytestmark = only_embedded

Deadly = Callable[[set[UUID]], None]


@pytest.fixture
def deadly(monkeypatch: pytest.MonkeyPatch) -> Deadly:
    """These records end whoever thinks about them."""
    ids: set[UUID] = set()
    understand = Thinker.understand

    def end(self: Thinker, batch: Batch) -> Understood:
        if ids & {record.record_id for record in batch.records}:
            raise Killed
        return understand(self, batch)

    monkeypatch.setattr(Thinker, "understand", end)

    def choose(chosen: set[UUID]) -> None:
        ids.clear()
        ids.update(chosen)

    return choose


async def deaths_until_stored(recording: Recording, note: Path, redacted: Redacting | None = None) -> int:
    for deaths in range(30):
        try:
            await run_until_stored(recording.recorder(suspect_file=note, redacting=redacted))
        except Killed:
            continue
        return deaths
    raise AssertionError("it makes no progress")


async def test_it_alone_is_set_aside_with_its_bytes_and_stored_once_it_ends_nobody(
    recording: Recording, letters: DeadLetters, deadly: Deadly, tmp_path: Path
) -> None:
    note = tmp_path / "suspect.json"
    ids = await recording.write([chat(n, run=f"run-{n % 2}") for n in range(7)])
    deadly({ids[4]})
    assert await deaths_until_stored(recording, note) < 12
    (letter,) = await letters.listed()
    assert (letter.record_id, letter.reason, letter.detail) == (ids[4], "deadly", "ended the recorder 3 times")
    assert sorted(await recording.call_ids()) == sorted(ids[:4] + ids[5:])
    books = await recording.assert_adds_up()
    assert (books.stored, books.in_log, sum(books.dead_lettered.values())) == (6, 0, 1)
    assert not note.exists()

    await letters.ask_again([ids[4]], letter.at_us)
    assert await deaths_until_stored(recording, note) == 1 + ENDED_AT_MOST, "it still ends whoever tries"
    assert await recording.dead_letters() == {ids[4]: "deadly"}

    deadly(set())
    await letters.ask_again([ids[4]], letter.at_us)
    assert await deaths_until_stored(recording, note) == 0
    assert sorted(await recording.call_ids()) == sorted(ids), "its bytes were kept"
    assert (await recording.assert_adds_up()).stored == 7


@pytest.mark.parametrize("point", ["recorder.after_cut", "recorder.after_begin", "recorder.after_events"])
async def test_kills_from_outside_accuse_nobody(recording: Recording, tmp_path: Path, point: str) -> None:
    """However many, before it is thought about or after."""
    note = tmp_path / "suspect.json"
    ids = await recording.write([chat(1)])
    crash_points.arm("recorder.after_begin", killed)
    for _ in range(ENDED_AT_MOST + 4):
        with pytest.raises(Killed):
            await run_until_stored(recording.recorder(suspect_file=note))
        crash_points._armed.clear()
        crash_points.arm(point, killed)
    crash_points._armed.clear()
    await run_until_stored(recording.recorder(suspect_file=note))
    assert await recording.call_ids() == ids
    assert await recording.dead_letters() == {}
    await recording.assert_adds_up()


async def test_one_thought_that_came_to_its_end_clears_a_record(recording: Recording, tmp_path: Path) -> None:
    """Two kills that met it, one that came after it, two that met it again: three in a row are needed."""
    note = tmp_path / "suspect.json"
    ids = await recording.write([chat(1)])
    alone, after = "recorder.thinking_alone", "recorder.after_events"
    for point in ("recorder.after_begin", alone, alone, after, alone, alone):
        crash_points.arm(point, killed)
        with pytest.raises(Killed):
            await run_until_stored(recording.recorder(suspect_file=note))
        crash_points._armed.clear()
    await run_until_stored(recording.recorder(suspect_file=note))
    assert await recording.call_ids() == ids


async def test_a_kill_while_it_waits_for_a_store_does_not_count(
    recording: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = tmp_path / "suspect.json"
    await recording.write([chat(1, run="a")])
    await run_until_stored(recording.recorder(suspect_file=note))
    ids = await recording.write([chat(2, run="a")])
    load_runs = type(recording.runs).load_runs
    monkeypatch.setattr(type(recording.runs), "load_runs", killed)
    for _ in range(ENDED_AT_MOST + 3):
        with pytest.raises(Killed):
            await run_until_stored(recording.recorder(suspect_file=note))
    monkeypatch.setattr(type(recording.runs), "load_runs", load_runs)
    await run_until_stored(recording.recorder(suspect_file=note))
    assert ids[0] in await recording.call_ids()
    assert await recording.dead_letters() == {}
    await recording.assert_adds_up()


async def test_one_that_ends_who_redacts_it_too_is_set_aside_without_bytes(
    recording: Recording, letters: DeadLetters, deadly: Deadly, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await recording.write([chat(n) for n in range(2)])
    deadly({ids[0]})

    def end(self: Thinker, letter: DeadLetter, record: MergedRecord) -> DeadLetter:
        raise Killed

    monkeypatch.setattr(Thinker, "as_kept", end)
    await deaths_until_stored(recording, tmp_path / "suspect.json", redacting(recording))
    (letter,) = await letters.listed()
    assert (letter.record_id, letter.payload_bytes) == (ids[0], 0)
    assert await recording.call_ids() == [ids[1]]


async def test_one_that_ends_who_explains_it_is_found_as_well(
    recording: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(self: Thinker, thought: Thought, histories: Histories) -> Thought:
        raise Killed

    ids = await recording.write([chat(1)])
    monkeypatch.setattr(Thinker, "with_insights", end)
    assert await deaths_until_stored(recording, tmp_path / "suspect.json") == 1 + ENDED_AT_MOST
    assert await recording.dead_letters() == {ids[0]: "deadly"}


def killed(*_: object) -> None:
    raise Killed
