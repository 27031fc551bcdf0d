"""Long work of a project, and how far it is: exports that were asked for here, erasures, a backfill.

Two seams: `ExportDesk` (made by the process that has the data directory) and `UpkeepDesk` (rows of Postgres).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol
from uuid import UUID, uuid4

from aiohttp import web

from watchllm_proxy.console.answers import Problem
from watchllm_proxy.console.context import now_us, project_of
from watchllm_proxy.store import backfills
from watchllm_proxy.store.erasures import AskedErasure, Erasure, ErasureScope

MAX_UNFINISHED = 3
"""Exports of a project that wait or are being made."""


class JobState(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


UNFINISHED = frozenset({JobState.WAITING, JobState.RUNNING})


@dataclass(frozen=True, slots=True)
class ExportJob:
    """An export of all runs of a project. Its file is there while it is `done`, for `KEPT_S` of its maker."""

    job_id: UUID
    project_id: str
    asked_at_us: int
    state: JobState = JobState.WAITING
    started_at_us: int | None = None
    ended_at_us: int | None = None
    runs: int = 0  # done so far
    total_runs: int | None = None  # None: not counted yet
    size_bytes: int = 0  # written so far
    failure: str | None = None
    removed_at_us: int | None = None  # when its file will be removed; None: there is none


class ExportDesk(Protocol):
    """Exports in the background. A foreign job is an unknown one."""

    def jobs(self, project_id: str) -> Sequence[ExportJob]:
        """Newest first."""

    def ask(self, job: ExportJob) -> None:
        """It is made when those before it are."""

    def cancel(self, project_id: str, job_id: UUID) -> None:
        """What is over stays as it is."""

    def file(self, project_id: str, job_id: UUID) -> Path | None:
        """Of one that is done; None: it is not, or is removed by now."""


class NobodysExports:
    """Where no exports can be made: a console over runs that no recorder keeps."""

    def jobs(self, project_id: str) -> Sequence[ExportJob]:
        return ()

    def ask(self, job: ExportJob) -> None:
        raise LookupError("nobody would make it")

    def cancel(self, project_id: str, job_id: UUID) -> None:
        raise LookupError("there is none")

    def file(self, project_id: str, job_id: UUID) -> Path | None:
        return None


class UpkeepDesk(Protocol):
    """What is, or is to be, done about a project's stored data. All may raise `StoreUnavailable`."""

    async def erasures(self, project_id: str) -> Sequence[AskedErasure]:
        """The newest first."""

    async def ask_for_erasure(self, erasure: Erasure) -> None: ...

    async def backfill(self, project_id: str) -> backfills.Progress | None:
        """One that has not come to its end."""


class NobodysUpkeep:
    """Where nothing is stored that could be erased."""

    async def erasures(self, project_id: str) -> Sequence[AskedErasure]:
        return ()

    async def ask_for_erasure(self, erasure: Erasure) -> None:
        raise LookupError("nobody would do it")

    async def backfill(self, project_id: str) -> backfills.Progress | None:
        return None


EXPORTS: web.AppKey[ExportDesk] = web.AppKey("EXPORTS")
UPKEEP: web.AppKey[UpkeepDesk] = web.AppKey("UPKEEP")


# --- what the pages do ------------------------------------------------------------------------------


def export_job(request: web.Request) -> ExportJob:
    """The one of the address."""
    job_id = job_id_of(request)
    for job in request.app[EXPORTS].jobs(project_of(request)):
        if job.job_id == job_id:
            return job
    raise web.HTTPNotFound


def job_id_of(request: web.Request) -> UUID:
    try:
        return UUID(request.match_info["job_id"])
    except ValueError:
        raise web.HTTPNotFound from None


def ask_for_export(request: web.Request) -> ExportJob:
    """Raises `Problem` where too many of the project's are under way."""
    project_id, desk = project_of(request), request.app[EXPORTS]
    under_way = sum(job.state in UNFINISHED for job in desk.jobs(project_id))
    if under_way >= MAX_UNFINISHED:
        raise Problem(409, "too_many_exports", f"{under_way} exports are under way: wait, or cancel one at /jobs.")
    job = ExportJob(uuid4(), project_id, now_us())
    try:
        desk.ask(job)
    except LookupError:
        raise Problem(409, "no_exports", "Nothing makes exports here.") from None
    return job


async def ask_for_erasure(request: web.Request, scope: ErasureScope, subject: str) -> Erasure:
    """Of what was captured till now. The recorder does it between two batches."""
    erasure = Erasure(uuid4(), project_of(request), scope, subject, now_us())
    try:
        await request.app[UPKEEP].ask_for_erasure(erasure)
    except LookupError:
        raise Problem(409, "no_erasures", "Nothing that is stored here can be erased.") from None
    return erasure
