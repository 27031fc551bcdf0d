"""Erasure through the recorder: from both stores, its memory, the dead letters and the logs; and nothing else."""

from __future__ import annotations

import time
from pathlib import Path
from uuid import uuid4

import pytest

from tests.integration.conductors.recording import Recording, Running, chat, run_until_stored, until_true
from tests.integration.store.stored_calls import orphans
from watchllm_proxy.recorder import Recorder
from watchllm_proxy.records import DEFAULT_PROJECT_ID
from watchllm_proxy.store import erasures
from watchllm_proxy.store.erasures import Erasure, ErasureScope
from watchllm_proxy.store.migrate import postgres_tables

only_embedded = pytest.mark.parametrize("empty_event_store", ["embedded"], indirect=True)


async def erased(recording: Recording, scope: ErasureScope, subject: str = "") -> dict[str, int]:
    """Ask for it as the command does, and let the recorder that runs do it."""
    erasure = Erasure(uuid4(), DEFAULT_PROJECT_ID, scope, subject, time.time_ns() // 1000)
    await erasures.ask_for(recording.runs.pool, erasure)

    async def is_done() -> bool:
        return (await erasures.progress(recording.runs.pool, erasure.erasure_id)).erased is not None

    await until_true(is_done, "the erasure")
    found = (await erasures.progress(recording.runs.pool, erasure.erasure_id)).erased
    assert found is not None
    return found


def bytes_on_disk(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


async def runs_with_rows(recording: Recording) -> dict[str, set[str]]:
    """By table of Postgres that knows of runs: those that it names."""
    found = {}
    for row in await recording.runs.pool.fetch(
        "SELECT table_name FROM information_schema.columns "
        "WHERE table_schema = 'public' AND column_name = 'run_id'"
    ):
        rows = await recording.runs.pool.fetch(f"SELECT DISTINCT run_id FROM {row['table_name']}")
        found[row["table_name"]] = {each["run_id"] for each in rows}
    return found


@only_embedded
async def test_a_run_is_gone_from_everywhere_and_the_others_are_whole(recording: Recording) -> None:
    async with Running(recording.recorder()):
        await recording.write([chat(n, run=f"run-{n % 3}") for n in range(9)])
        await until_true(lambda: recording.count_of("run_links", 9), "nine calls")
        found = await erased(recording, ErasureScope.RUN, "run-1")
    assert (found["runs"], found["calls"], found["dead_letters"], found["waits_for_disk"]) == (1, 3, 0, 0)
    assert await recording.count("events") == 6
    assert orphans(recording.store) == (0, 0)
    named = await runs_with_rows(recording)
    assert set().union(*named.values()) == {"run-0", "run-2"}
    assert set(named) <= set(postgres_tables())
    assert await recording.in_postgres("SELECT subject FROM erasures") == ""


@only_embedded
async def test_the_recorder_does_not_write_an_erased_run_back(recording: Recording) -> None:
    """It remembers open runs, and the messages that are stored: a call that comes later must have both anew."""
    async with Running(recording.recorder()):
        await recording.write([chat(1, run="mine"), chat(2, run="mine")])
        await until_true(lambda: recording.count_of("run_links", 2), "two calls")
        await erased(recording, ErasureScope.RUN, "mine")
        await recording.write([chat(1, run="mine")])
        await until_true(lambda: recording.count_of("run_links", 1), "the call of afterwards")
    assert await recording.in_postgres("SELECT total_calls FROM agent_debug_logs") == 1
    assert await recording.in_postgres("SELECT min(step_index) FROM agent_debug_steps") == 0
    assert await recording.count("events") == 1
    assert orphans(recording.store) == (0, 0)


@only_embedded
async def test_what_was_captured_before_is_stored_first_and_then_erased(recording: Recording) -> None:
    await recording.write([chat(n, run="mine") for n in range(20)])
    erasure = Erasure(uuid4(), DEFAULT_PROJECT_ID, ErasureScope.RUN, "mine", time.time_ns() // 1000)
    await erasures.ask_for(recording.runs.pool, erasure)
    async with Running(recording.recorder()):

        async def is_done() -> bool:
            return (await erasures.progress(recording.runs.pool, erasure.erasure_id)).erased is not None

        await until_true(is_done, "the erasure")
    assert await recording.count("events") == 0
    assert await recording.count_of("agent_debug_logs", 0)


@only_embedded
async def test_no_byte_of_a_stored_call_stays_in_the_capture_log(recording: Recording) -> None:
    canary = f"canary-{uuid4()}"
    async with Running(recording.recorder()):
        await recording.write([chat(1, run=canary)])
        await until_true(lambda: recording.count_of("run_links", 1), "the call")
        assert canary.encode() in bytes_on_disk(recording.logs), "the newest segment is kept, whatever is stored"
        found = await erased(recording, ErasureScope.RUN, canary)
        assert found["log_bytes"] > 0
        assert canary.encode() not in bytes_on_disk(recording.logs)
        await recording.write([chat(2, run="other")])  # the writer goes on in the same segment
        await until_true(lambda: recording.count_of("run_links", 1), "the next call")
    await run_until_stored(recording.recorder())
    assert await recording.count("events") == 1
    assert await recording.dead_letters() == {}


@only_embedded
async def test_a_project_is_emptied(recording: Recording) -> None:
    async with Running(recording.recorder()):
        await recording.write([chat(n) for n in range(5)])
        await until_true(lambda: recording.count_of("run_links", 5), "five calls")
        found = await erased(recording, ErasureScope.PROJECT)
    assert (found["calls"], found["runs"]) == (5, 5)
    for table in ("events", "messages", "raw_exchanges", "changed_hours"):
        assert await recording.count(table) == 0, table
    assert set().union(*(await runs_with_rows(recording)).values()) == set()


@only_embedded
async def test_dead_letters_of_the_run_lose_their_bytes_and_stay_counted(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Recorder, *arguments: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr("watchllm_proxy.thinking.estimate_usage", broken)
    async with Running(recording.recorder()):
        await recording.write([chat(1, run="mine"), chat(2, run="other")])
        await until_true(lambda: recording.count_of("dead_letters", 2), "two letters")
        assert (await erased(recording, ErasureScope.RUN, "mine"))["dead_letters"] == 1
    assert await recording.in_postgres("SELECT count(*) FROM dead_letters WHERE payload = ''") == 1
    assert await recording.count_of("dead_letters", 2)
