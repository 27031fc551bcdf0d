"""Long work: exports of a whole project, erasures and a backfill, with how far they are. And both for programs."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

from watchllm_proxy.console import jobs
from watchllm_proxy.console.answers import json_answer
from watchllm_proxy.console.context import may, now_us, project_of
from watchllm_proxy.console.formats import count_of, duration, instant, size
from watchllm_proxy.console.html import render
from watchllm_proxy.console.jobs import EXPORTS, UNFINISHED, UPKEEP, ExportJob, JobState
from watchllm_proxy.errors import StoreUnavailable
from watchllm_proxy.grants import Scope
from watchllm_proxy.store.backfills import Progress
from watchllm_proxy.store.erasures import AskedErasure, ErasureScope

STATE_WORDS = {
    JobState.WAITING: "Waiting",
    JobState.RUNNING: "Running",
    JobState.DONE: "Done",
    JobState.FAILED: "Failed",
    JobState.CANCELLED: "Cancelled",
}
SCOPE_WORDS = {
    ErasureScope.RUN: "a run",
    ErasureScope.USER: "a user",
    ErasureScope.PROJECT: "all runs of the project",
    ErasureScope.BEFORE: "what is out of retention",
}
_ENOUGH_TO_GUESS_S = 3


async def jobs_page(request: web.Request) -> web.Response:
    exports = request.app[EXPORTS].jobs(project_of(request))
    stored = await _stored(request)
    return render(
        request,
        "jobs.html",
        nav="jobs",
        exports=exports,
        erasures=stored[0] if stored else [],
        backfill=stored[1] if stored else None,
        backfill_share=_share(stored[1]) if stored else None,
        is_stored_known=stored is not None,
        state_words=STATE_WORDS,
        scope_words=SCOPE_WORDS,
        words_of=words_of,
        now=now_us(),
        may_change=may(request, Scope.ADMIN),
    )


async def _stored(request: web.Request) -> tuple[list[AskedErasure], Progress | None] | None:
    """None: Postgres cannot be read now; exports are told all the same."""
    desk, project_id = request.app[UPKEEP], project_of(request)
    try:
        return list(await desk.erasures(project_id)), await desk.backfill(project_id)
    except StoreUnavailable:
        return None


async def jobs_json(request: web.Request) -> web.Response:
    desk, project_id = request.app[UPKEEP], project_of(request)
    backfill = await desk.backfill(project_id)
    return json_answer(
        {
            "exports": [export_document(job) for job in request.app[EXPORTS].jobs(project_id)],
            "erasures": [erasure_document(each) for each in await desk.erasures(project_id)],
            "backfill": None if backfill is None else backfill_document(backfill),
        }
    )


async def job_page(request: web.Request) -> web.Response:
    job = jobs.export_job(request)
    return render(
        request,
        "job.html",
        nav="jobs",
        job=job,
        is_over=job.state not in UNFINISHED,
        has_file=_file_of(request, job) is not None,
        state_word=STATE_WORDS[job.state],
        words=words_of(job, now_us()),
        now=now_us(),
        may_change=may(request, Scope.ADMIN),
    )


async def job_json(request: web.Request) -> web.Response:
    job = jobs.export_job(request)
    return json_answer({"export": export_document(job), "words": words_of(job, now_us())})


async def job_file(request: web.Request) -> web.StreamResponse:
    """The whole file, or the part that is asked for: an interrupted download goes on."""
    job = jobs.export_job(request)
    path = _file_of(request, job)
    if path is None:
        raise web.HTTPNotFound
    day = (instant(job.asked_at_us) or "")[:10]
    named = f'attachment; filename="watchllm-export-{day}.ndjson"'
    answer = web.FileResponse(path, headers={"Content-Disposition": named})
    answer.content_type = "application/x-ndjson"
    return answer


async def export_form(request: web.Request) -> web.Response:
    job = jobs.ask_for_export(request)
    raise web.HTTPSeeOther(f"/jobs/{job.job_id}")


async def cancel_form(request: web.Request) -> web.Response:
    job = jobs.export_job(request)
    request.app[EXPORTS].cancel(project_of(request), job.job_id)
    raise web.HTTPSeeOther(f"/jobs/{job.job_id}")


def _file_of(request: web.Request, job: ExportJob) -> Path | None:
    return request.app[EXPORTS].file(job.project_id, job.job_id)


# --- in words and for programs ------------------------------------------------------------------------


def words_of(job: ExportJob, now: int) -> str:
    """How far it is, for a person."""
    match job.state:
        case JobState.WAITING:
            return "Others are made before it. You can leave this page."
        case JobState.RUNNING if not job.total_runs:
            return "It begins as soon as the recorder is ready. You can leave this page."
        case JobState.RUNNING:
            left = _left(job, now)
            done = f"{job.runs:,} of {count_of(job.total_runs or 0, 'run')}, {size(job.size_bytes)}"
            return f"{done}{left} · you can leave this page"
        case JobState.DONE:
            return f"{count_of(job.runs, 'run')}, {size(job.size_bytes)}"
        case JobState.FAILED:
            return f"It failed: {job.failure}."
        case _:
            return "It was cancelled; nothing of it is kept."


def _left(job: ExportJob, now: int) -> str:
    """A guess, once there is something to guess from; "" before."""
    began_us = job.started_at_us or now
    if not job.runs or not job.total_runs or now - began_us < _ENOUGH_TO_GUESS_S * 1_000_000:
        return ""
    left_us = (now - began_us) * (job.total_runs - job.runs) // job.runs
    return f" · about {duration(max(1, left_us // 1_000_000) * 1_000_000)} left"


def _share(backfill: Progress | None) -> int | None:
    """Of its times, in per cent."""
    if backfill is None:
        return None
    return 100 * (backfill.done_until_us - backfill.from_us) // max(1, backfill.to_us - backfill.from_us)


def export_document(job: ExportJob) -> dict[str, object]:
    return {
        "job_id": job.job_id,
        "state": job.state,
        "asked_at": instant(job.asked_at_us),
        "started_at": instant(job.started_at_us),
        "ended_at": instant(job.ended_at_us),
        "runs": job.runs,
        "total_runs": job.total_runs,
        "size_bytes": job.size_bytes,
        "failure": job.failure,
        "removed_at": instant(job.removed_at_us),
    }


def erasure_document(each: AskedErasure) -> dict[str, object]:
    return {
        "erasure_id": each.erasure_id,
        "scope": each.scope,
        "subject": each.subject or None,
        "requested_at": instant(each.requested_at_us),
        "done_at": instant(each.done_at_us),
        "failure": each.failure,
        "erased": each.erased,
    }


def backfill_document(backfill: Progress) -> dict[str, object]:
    return {
        "from": instant(backfill.from_us),
        "to": instant(backfill.to_us),
        "done_until": instant(backfill.done_until_us),
        "thought_calls": backfill.thought_calls,
        "moved_calls": backfill.moved_calls,
        "left_calls": backfill.left_calls,
        "repriced_calls": backfill.repriced_calls,
    }
