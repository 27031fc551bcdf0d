"""An export beside a recorder at work: each run as both stores have it at one moment; or none, and why is told."""

from __future__ import annotations

import asyncio
import io
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from aiohttp import web

from tests.integration.conductors.recording import Recording, Running, chat, until
from tests.integration.conductors.test_transferring import exported as exported_alone
from watchllm_proxy import exporting
from watchllm_proxy.errors import AlreadyRunning, StoreUnavailable
from watchllm_proxy.exporting import ask_for_export, export_app
from watchllm_proxy.recorder import Recorder
from watchllm_proxy.records import DEFAULT_PROJECT_ID
from watchllm_proxy.store.old_runs import RetentionRules
from watchllm_proxy.store.transactions import open_pool
from watchllm_proxy.transferring import check

RUNS, ROUNDS, CALLS_A_ROUND = 3, 8, 20

pytestmark = pytest.mark.parametrize("empty_event_store", ["embedded"], indirect=True)


@pytest.fixture
async def recorder(recording: Recording) -> Recorder:
    return recording.recorder()


@pytest.fixture
async def socket(recording: Recording, recorder: Recorder, tmp_path: Path) -> AsyncIterator[Path]:
    rules = RetentionRules(recording.runs.pool, 90)
    runner = web.AppRunner(export_app(recording.runs.pool, recording.events, rules, recorder.at_rest))
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "s")).start()
    yield tmp_path / "s"
    await runner.cleanup()


async def exported(socket: Path, run_ids: list[str] | None = None) -> tuple[bytes, list[tuple[int, int]]]:
    out, told = io.BytesIO(), list[tuple[int, int]]()
    done = await ask_for_export(
        socket, DEFAULT_PROJECT_ID, run_ids, out, lambda done, total: told.append((done, total))
    )
    assert check(io.BytesIO(out.getvalue())).runs == done
    return out.getvalue(), told


def assert_each_run_is_of_one_moment(export: bytes) -> int:
    """Its row, its links and its calls agree; returns how many calls there are in all."""
    lines = [orjson.loads(line) for line in export.splitlines()]
    rows = [(line["table"], line["row"]) for line in lines if "table" in line]
    said = {row["run_id"]: row["total_calls"] for table, row in rows if table == "agent_debug_logs"}
    placed = Counter(row["run_id"] for table, row in rows if table == "run_links" and row["ordinal"] == 0)
    calls = Counter(row["run_id"] for table, row in rows if table == "events")
    assert said == placed == calls
    return calls.total()


async def test_runs_that_go_on_meanwhile_are_whole(recording: Recording, recorder: Recorder, socket: Path) -> None:
    sizes = []
    async with Running(recorder):
        for first in range(0, ROUNDS * CALLS_A_ROUND, CALLS_A_ROUND):
            before = recorder.stats.stored_calls
            for number in range(first, first + CALLS_A_ROUND):
                await recording.write([chat(number, run=f"run-{number % RUNS}")])
            await until(lambda: recorder.stats.stored_calls > before, "some of them")  # noqa: B023
            export, told = await exported(socket)
            sizes.append(assert_each_run_is_of_one_moment(export))
            assert told[-1] == (RUNS, RUNS)
        await until(lambda: recorder.stats.stored_calls == ROUNDS * CALLS_A_ROUND, "the rest")
        last, _ = await exported(socket)
    assert sizes == sorted(sizes)
    assert assert_each_run_is_of_one_moment(last) == ROUNDS * CALLS_A_ROUND
    assert last == await exported_alone(recording)


async def test_some_runs_and_none_are_exports_as_well(
    recording: Recording, recorder: Recorder, socket: Path
) -> None:
    async with Running(recorder):
        await recording.write([chat(number, run=f"run-{number % 2}") for number in range(4)])
        await until(lambda: recorder.stats.stored_calls == 4, "the calls")
        assert assert_each_run_is_of_one_moment((await exported(socket, ["run-1"]))[0]) == 2
        assert await exported(socket, ["nobody"]) == (await exported_alone(recording, ["nobody"]), [])


async def test_a_recorder_that_waits_for_a_store_ends_the_export_and_it_is_told(
    recording: Recording, recorder: Recorder, socket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Running(recorder):
        await recording.write([chat(1, run="one")])
        await until(lambda: recorder.stats.stored_calls == 1, "the call")
    monkeypatch.setattr(exporting, "REST_WITHIN_S", 0.05)
    async with recorder.at_rest:  # as if a batch were under way
        with pytest.raises(StoreUnavailable, match="broke off"):
            await exported(socket)
    assert (await exported(socket))[1] == [(1, 1)]


async def test_a_store_that_is_away_is_told_before_anything_is_written(
    recording: Recording, tmp_path: Path
) -> None:
    pool = await open_pool("postgresql://watchllm_app@127.0.0.1:1/nobody", min_size=0)
    app = export_app(pool, recording.events, RetentionRules(pool, 90), asyncio.Lock())
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "s")).start()
    out = io.BytesIO()
    try:
        with pytest.raises(StoreUnavailable, match="Postgres"):
            await ask_for_export(tmp_path / "s", DEFAULT_PROJECT_ID, None, out, lambda done, total: None)
    finally:
        await runner.cleanup()
        await pool.close()
    assert out.getvalue() == b""


async def test_nobody_there_to_ask_is_told(recording: Recording, tmp_path: Path) -> None:
    with pytest.raises(AlreadyRunning, match="try again"):
        await exported(tmp_path / "nobody")
