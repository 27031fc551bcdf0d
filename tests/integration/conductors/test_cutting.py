"""A recorder that is killed again and again, before the batch that it takes up is stored."""

from __future__ import annotations

import pytest

from tests.integration.conductors.recording import Killed, Recording, chat, run_until_stored
from tests.integration.conductors.test_recorder import only_embedded
from watchllm_proxy import crash_points
from watchllm_proxy.capture.merge import Batch
from watchllm_proxy.thinking import Thinker, Understood

ENOUGH = 3
"""Records of a batch that is stored before the kill comes."""


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of the batches that were thought about."""
    found: list[int] = []
    understand = Thinker.understand

    def noted(self: Thinker, batch: Batch) -> Understood:
        found.append(len(batch.records))
        return understand(self, batch)

    monkeypatch.setattr(Thinker, "understand", noted)
    return found


async def starts_until_stored(recording: Recording) -> int:
    for start in range(1, 40):
        try:
            await run_until_stored(recording.recorder())
        except Killed:
            continue
        return start
    raise AssertionError("it makes no progress")


@pytest.mark.parametrize("point", ["recorder.after_messages", "recorder.after_events"])
async def test_who_never_lives_long_enough_stores_less_at_a_time_and_everything_in_the_end(
    recording: Recording, sizes: list[int], point: str
) -> None:
    ids = await recording.write([chat(n, run=f"run-{n % 5}") for n in range(13)])

    def kill() -> None:
        if sizes[-1] > ENOUGH:
            raise Killed

    crash_points.arm(point, kill)
    assert await starts_until_stored(recording) < 12
    assert sizes[:4] == [13, 13, 6, 3]
    assert max(sizes[4:]) <= 2 * ENOUGH, "what follows is not as large as ever at once"
    assert sorted(await recording.call_ids()) == sorted(ids), "each once, whatever was left behind"
    books = await recording.assert_adds_up()
    assert (books.stored, books.in_log) == (13, 0)


@only_embedded
async def test_a_kill_between_the_cut_and_its_batch_cuts_once_more(recording: Recording, sizes: list[int]) -> None:
    """Down to one record, which is tried again and again."""
    ids = await recording.write([chat(n) for n in range(9)])
    points = ["recorder.after_events", "recorder.after_cut", "recorder.after_cut", "recorder.after_cut"]
    for point in [*points, "recorder.after_events", "recorder.after_events"]:
        crash_points.arm(point, killed)
        with pytest.raises(Killed):
            await run_until_stored(recording.recorder())
        crash_points._armed.clear()
    assert sizes == [9, 1, 1]
    await run_until_stored(recording.recorder())
    assert sorted(await recording.call_ids()) == sorted(ids)
    assert await recording.in_postgres("SELECT count(*) FROM pending_batches") == 0
    await recording.assert_adds_up()


@only_embedded
async def test_one_start_after_a_crash_takes_the_batch_whole(recording: Recording, sizes: list[int]) -> None:
    await recording.write([chat(n) for n in range(4)])
    crash_points.arm("recorder.after_begin", killed)
    with pytest.raises(Killed):
        await run_until_stored(recording.recorder())
    crash_points._armed.clear()
    await run_until_stored(recording.recorder())
    assert sizes == [4]
    assert await recording.in_postgres("SELECT count(tried_segment) FROM capture_offsets") == 0


def killed() -> None:
    raise Killed
