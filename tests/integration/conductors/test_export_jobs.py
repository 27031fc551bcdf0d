"""Exports in the background: whole, one after the other, bounded, gone after a time and after an erasure."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from aiohttp import web

from tests.integration.conductors.recording import Recording, Running, chat, run_until_stored, until
from tests.integration.conductors.test_erasing import erased as erase
from watchllm_proxy import export_jobs
from watchllm_proxy.console.jobs import ExportJob, JobState
from watchllm_proxy.export_jobs import ExportJobs
from watchllm_proxy.exporting import export_app
from watchllm_proxy.records import DEFAULT_PROJECT_ID
from watchllm_proxy.settings import Settings
from watchllm_proxy.store.erasures import ErasureScope
from watchllm_proxy.store.old_runs import RetentionRules
from watchllm_proxy.transferring import check

pytestmark = pytest.mark.parametrize("empty_event_store", ["embedded"], indirect=True)

RUNS = 3


@pytest.fixture
async def settings(recording: Recording, tmp_path: Path) -> AsyncIterator[Settings]:
    """With a recorder's process that makes exports of three runs."""
    await recording.write([chat(number, run=f"run-{number}") for number in range(RUNS)])
    recorder = recording.recorder()
    await run_until_stored(recorder)
    settings = replace(Settings(), data_dir=tmp_path / "data")
    settings.run_dir.mkdir(parents=True)
    rules = RetentionRules(recording.runs.pool, 90)
    runner = web.AppRunner(export_app(recording.runs.pool, recording.events, rules, recorder.at_rest))
    await runner.setup()
    await web.UnixSite(runner, str(settings.export_socket)).start()
    yield settings
    await runner.cleanup()


@asynccontextmanager
async def at_work(settings: Settings, recording: Recording) -> AsyncIterator[ExportJobs]:
    jobs, stop = ExportJobs(settings, recording.runs.pool), asyncio.Event()
    async with asyncio.TaskGroup() as task_group:
        task_group.create_task(jobs.run(stop))
        try:
            yield jobs
        finally:
            stop.set()


def _job() -> ExportJob:
    return ExportJob(uuid4(), DEFAULT_PROJECT_ID, export_jobs._now_us())


def _now(jobs: ExportJobs, job: ExportJob) -> ExportJob | None:
    return next((each for each in jobs.jobs(DEFAULT_PROJECT_ID) if each.job_id == job.job_id), None)


async def _over(jobs: ExportJobs, job: ExportJob, state: JobState) -> ExportJob:
    await until(lambda: getattr(_now(jobs, job), "state", None) is state, f"an export that is {state}")
    found = _now(jobs, job)
    assert found is not None
    return found


async def test_what_was_asked_for_is_made_whole_and_outlasts_a_restart(
    recording: Recording, settings: Settings
) -> None:
    first, second = _job(), replace(_job(), project_id="nobody")
    async with at_work(settings, recording) as jobs:
        jobs.ask(first)
        jobs.ask(second)
        done = await _over(jobs, first, JobState.DONE)
        assert (done.runs, done.total_runs) == (RUNS, RUNS)
        await until(lambda: jobs.file(DEFAULT_PROJECT_ID, first.job_id) is not None, "its file")
        path = jobs.file(DEFAULT_PROJECT_ID, first.job_id)
        assert path is not None
        assert check(io.BytesIO(path.read_bytes())).runs == RUNS
        assert (path.stat().st_size, path.stat().st_mode & 0o777) == (done.size_bytes, 0o600)
        assert jobs.file("nobody", first.job_id) is None
        with pytest.raises(LookupError):
            jobs.cancel("nobody", first.job_id)
        await until(lambda: jobs.jobs("nobody")[0].state is JobState.DONE, "the second export")
    async with at_work(settings, recording) as again:
        assert await _over(again, first, JobState.DONE) == done


async def test_what_a_restart_cut_short_is_made_anew(recording: Recording, settings: Settings) -> None:
    job = _job()
    before = ExportJobs(settings, recording.runs.pool)
    before.ask(job)  # and nobody came to it
    (settings.exports_dir / f"{job.job_id}.part").write_bytes(b"half of it")
    (settings.exports_dir / f"{uuid4()}.json").write_bytes(b"")  # a power cut
    async with at_work(settings, recording) as jobs:
        assert (await _over(jobs, job, JobState.DONE)).runs == RUNS
    assert sorted(path.suffix for path in settings.exports_dir.iterdir()) == [".json", ".ndjson"]


async def test_while_no_recorder_answers_it_waits_and_can_be_cancelled(
    recording: Recording, settings: Settings
) -> None:
    settings = replace(settings, data_dir=settings.data_dir.parent / "elsewhere")
    job = _job()
    async with at_work(settings, recording) as jobs:
        jobs.ask(job)
        await _over(jobs, job, JobState.RUNNING)
        jobs.cancel(DEFAULT_PROJECT_ID, job.job_id)
        await _over(jobs, job, JobState.CANCELLED)
        await until(lambda: not list(settings.exports_dir.glob("*.part")), "its half to go")
        jobs.cancel(DEFAULT_PROJECT_ID, job.job_id)  # again is no harm


async def test_one_without_room_fails_and_leaves_nothing(recording: Recording, settings: Settings) -> None:
    job = _job()
    async with at_work(replace(settings, export_bytes=500), recording) as jobs:
        jobs.ask(job)
        failed = await _over(jobs, job, JobState.FAILED)
        assert "WATCHLLM_EXPORT_BYTES" in (failed.failure or "")
        await until(
            lambda: [path.suffix for path in settings.exports_dir.iterdir()] == [".json"], "its half to go"
        )


async def test_after_an_erasure_and_after_a_day_it_is_gone(
    recording: Recording, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_jobs, "SWEEP_S", 0.05)
    erased, old = _job(), _job()
    async with at_work(settings, recording) as jobs:
        jobs.ask(erased)
        await _over(jobs, erased, JobState.DONE)
        async with Running(recording.recorder()):
            await erase(recording, ErasureScope.RUN, "run-1")
        await until(lambda: _now(jobs, erased) is None, "it to go with what was erased")
        jobs.ask(replace(old, asked_at_us=export_jobs._now_us()))
        assert (await _over(jobs, old, JobState.DONE)).runs == RUNS - 1
        monkeypatch.setattr(export_jobs, "KEPT_S", 0)
        await until(lambda: _now(jobs, old) is None, "it to go by age")
    assert list(settings.exports_dir.iterdir()) == []
