"""Exports that were asked for in the dashboard: made one after the other in the background, kept for a day.

Each is a file beside a small one that says what became of it, in a directory that only our user may enter; both
outlast a restart, after which what was not finished is made anew. Like `watchllm export` this asks the recorder's
process (`exporting`), so each run is of one moment. Where something of a project is erased, exports of before go.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

import asyncpg
import orjson
import structlog

from watchllm_proxy.console.jobs import UNFINISHED, ExportJob, JobState
from watchllm_proxy.errors import AlreadyRunning, StoreError, WatchLLMError
from watchllm_proxy.exporting import ask_for_export
from watchllm_proxy.lifecycle import rest
from watchllm_proxy.settings import Settings
from watchllm_proxy.store import erasures

log = structlog.get_logger(__name__)

KEPT_S = 24 * 3600
MAX_KEPT = 10
"""Exports of a project, those that came to nothing too."""

LEFT_FREE_BYTES = 1024 * 1024 * 1024
"""On the disk, whatever exports may take."""

SWEEP_S = 5.0
RECORDER_AWAY_S = 2.0


class NoRoom(WatchLLMError):
    """The exports would take more of the disk than they may, or the disk has."""


class ExportJobs:
    """`console.jobs.ExportDesk`. `run` makes what was asked for; till then it waits."""

    def __init__(self, settings: Settings, pool: asyncpg.Pool) -> None:
        self._directory = settings.exports_dir
        self._socket = settings.export_socket
        self._room_bytes = settings.export_bytes
        self._pool = pool
        self._jobs: dict[UUID, ExportJob] = {}
        self._asked = asyncio.Event()
        self._making: tuple[UUID, asyncio.Task[None]] | None = None
        self._is_swept = False

    # --- for the console

    def jobs(self, project_id: str) -> Sequence[ExportJob]:
        of_project = (job for job in self._jobs.values() if job.project_id == project_id)
        return sorted(of_project, key=lambda job: job.asked_at_us, reverse=True)

    def ask(self, job: ExportJob) -> None:
        self._note(job)
        self._asked.set()
        for old in [each for each in self.jobs(job.project_id) if each.state not in UNFINISHED][MAX_KEPT:]:
            self._forget(old.job_id)

    def cancel(self, project_id: str, job_id: UUID) -> None:
        job = self._jobs.get(job_id)
        if job is None or job.project_id != project_id:
            raise LookupError("there is no such export")
        if job.state in UNFINISHED:
            self._end(job_id, JobState.CANCELLED)
            self._stop_making(job_id)

    def file(self, project_id: str, job_id: UUID) -> Path | None:
        """None also until it is known what was erased meanwhile."""
        job = self._jobs.get(job_id)
        if job is None or job.project_id != project_id or job.state is not JobState.DONE or not self._is_swept:
            return None
        return self._path(job_id, "ndjson")

    # --- in the background

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; what is not finished then is made anew after the next start."""
        try:
            self._take_up()
        except OSError as exc:  # the rest of the process does without
            log.error("export_jobs.no_directory", directory=str(self._directory), error=exc.strerror)
            return
        async with asyncio.TaskGroup() as task_group:
            task_group.create_task(self._sweep_now_and_then(stop))
            task_group.create_task(self._make_all(stop))
            await stop.wait()
            self._asked.set()
            if self._making is not None:
                self._stop_making(self._making[0])

    async def _make_all(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            waiting = [job for job in self._jobs.values() if job.state is JobState.WAITING]
            if not waiting:
                self._asked.clear()
                await self._asked.wait()
                continue
            job_id = min(waiting, key=lambda job: job.asked_at_us).job_id
            async with asyncio.TaskGroup() as making_group:  # a task of its own, to be cancelled alone
                self._making = job_id, making_group.create_task(self._make(job_id, stop))
            self._making = None

    async def _make(self, job_id: UUID, stop: asyncio.Event) -> None:
        self._change(job_id, state=JobState.RUNNING, started_at_us=_now_us())
        try:
            await self._write(job_id, stop)
            self._path(job_id, "part").rename(self._path(job_id, "ndjson"))
            self._end(job_id, JobState.DONE)
        except (WatchLLMError, OSError) as exc:
            words = exc.strerror if isinstance(exc, OSError) else str(exc)
            log.warning("export_job.failed", job_id=str(job_id), error=words)
            self._end(job_id, JobState.FAILED, words)
        except Exception as exc:  # a bug here must not end the process, which records
            log.error("export_job.failed", job_id=str(job_id), error=type(exc).__name__)
            self._end(job_id, JobState.FAILED, "an error of WatchLLM's own; its log says more")
        finally:
            with contextlib.suppress(OSError):
                self._path(job_id, "part").unlink(missing_ok=True)

    async def _write(self, job_id: UUID, stop: asyncio.Event) -> None:
        project_id = self._jobs[job_id].project_id

        def told(done: int, total: int) -> None:
            self._change(job_id, runs=done, total_runs=total, size_bytes=out.written)

        with self._new_file(job_id) as file:
            out = _Bounded(file, self._room())
            while True:
                try:
                    count = await ask_for_export(self._socket, project_id, None, out, told)
                except AlreadyRunning:  # nothing has come yet: the recorder is not there yet
                    await rest(stop, RECORDER_AWAY_S)
                    continue
                break
            file.flush()
            os.fsync(file.fileno())
        self._change(job_id, runs=count, total_runs=count, size_bytes=out.written)

    def _new_file(self, job_id: UUID) -> BinaryIO:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        return open(os.open(self._path(job_id, "part"), flags, 0o600), "wb")

    def _stop_making(self, job_id: UUID) -> None:
        if self._making is not None and self._making[0] == job_id:
            self._making[1].cancel()

    # --- what goes again

    async def _sweep_now_and_then(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            with contextlib.suppress(StoreError, OSError):  # who is away is told by others
                await self._sweep()
                self._is_swept = True
            await rest(stop, SWEEP_S)

    async def _sweep(self) -> None:
        """Exports that are old go, and those from before an erasure; one that is being made begins anew."""
        erased_at = await erasures.last_done(self._pool) if self._jobs else {}
        for job in list(self._jobs.values()):
            is_old = job.ended_at_us is not None and job.ended_at_us < _now_us() - KEPT_S * 1_000_000
            began_us = job.started_at_us or job.asked_at_us
            holds_erased = job.state in {JobState.RUNNING, JobState.DONE} and began_us <= erased_at.get(
                job.project_id, -1
            )
            if is_old or (holds_erased and job.state is JobState.DONE):
                self._forget(job.job_id)
            elif holds_erased:
                self._stop_making(job.job_id)
                self._note(ExportJob(job.job_id, job.project_id, job.asked_at_us))

    def _forget(self, job_id: UUID) -> None:
        del self._jobs[job_id]
        for suffix in ("ndjson", "json"):
            self._path(job_id, suffix).unlink(missing_ok=True)

    def _room(self) -> int:
        """Bytes for one more. The capture log, which requests are kept in, wants to go on writing."""
        used = sum(path.stat().st_size for path in self._directory.glob("*.ndjson"))
        return min(self._room_bytes - used, shutil.disk_usage(self._directory).free - LEFT_FREE_BYTES)

    # --- what is known of each

    def _take_up(self) -> None:
        """What an earlier process knew. Half an export is of no use."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self._directory.glob("*.part"):
            path.unlink()
        for path in self._directory.glob("*.json"):
            try:
                job = _job_from(path.read_bytes())
            except (ValueError, TypeError, KeyError):  # a power cut: what it was about is not known any more
                path.unlink()
                path.with_suffix(".ndjson").unlink(missing_ok=True)
                continue
            if job.state in UNFINISHED:
                job = ExportJob(job.job_id, job.project_id, job.asked_at_us)
            self._jobs.setdefault(job.job_id, job)

    def _end(self, job_id: UUID, state: JobState, failure: str | None = None) -> None:
        now = _now_us()
        removed_at_us = now + KEPT_S * 1_000_000 if state is JobState.DONE else None
        job = replace(
            self._jobs[job_id], state=state, ended_at_us=now, failure=failure, removed_at_us=removed_at_us
        )
        self._note(job)

    def _note(self, job: ExportJob) -> None:
        """So that it outlasts a restart, where the disk takes it."""
        self._jobs[job.job_id] = job
        beside = self._path(job.job_id, "new")
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            beside.write_bytes(orjson.dumps(asdict(job)))
            beside.rename(self._path(job.job_id, "json"))
        except OSError as exc:
            log.warning("export_job.not_noted", job_id=str(job.job_id), error=exc.strerror)

    def _change(self, job_id: UUID, **changes: object) -> None:
        """How far it is: known here alone."""
        self._jobs[job_id] = replace(self._jobs[job_id], **changes)  # type: ignore[arg-type]

    def _path(self, job_id: UUID, suffix: str) -> Path:
        return self._directory / f"{job_id}.{suffix}"


class _Bounded:
    """A file that takes so many bytes."""

    def __init__(self, file: BinaryIO, room_bytes: int) -> None:
        self._file = file
        self._room_bytes = room_bytes
        self.written = 0

    def write(self, piece: bytes) -> None:
        if self.written + len(piece) > self._room_bytes:
            raise NoRoom("there is no room for it: see WATCHLLM_EXPORT_BYTES, and how much of the disk is free")
        self.written += self._file.write(piece)

    def flush(self) -> None:
        self._file.flush()


def _job_from(text: bytes) -> ExportJob:
    fields = orjson.loads(text)
    return ExportJob(**{**fields, "job_id": UUID(fields["job_id"]), "state": JobState(fields["state"])})


def _now_us() -> int:
    return time.time_ns() // 1000
