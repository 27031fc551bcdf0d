"""`POST /api/exports`, `/api/exports/{job_id}/cancel` and `/api/erasures`: what the forms of pages ask for."""

from __future__ import annotations

from aiohttp import web

from watchllm_proxy.console import jobs
from watchllm_proxy.console.answers import Problem, json_answer
from watchllm_proxy.console.api.bodies import json_object
from watchllm_proxy.console.context import project_of
from watchllm_proxy.console.correcting import known_fields_only, text_field
from watchllm_proxy.console.formats import instant
from watchllm_proxy.console.jobs import EXPORTS, ExportJob
from watchllm_proxy.console.pages import data as data_pages
from watchllm_proxy.console.pages.jobs import export_document


async def ask_for_export(request: web.Request) -> web.Response:
    known_fields_only(await json_object(request))
    return _export(jobs.ask_for_export(request))


async def cancel_export(request: web.Request) -> web.Response:
    known_fields_only(await json_object(request))
    job = jobs.export_job(request)
    request.app[EXPORTS].cancel(project_of(request), job.job_id)
    return _export(jobs.export_job(request))


def _export(job: ExportJob) -> web.Response:
    return json_answer({"export": export_document(job)}, status=202)


async def ask_for_erasure(request: web.Request) -> web.Response:
    """200 with what would go; with `confirm` 202, and it is asked for."""
    fields = await json_object(request)
    known_fields_only(fields, "scope", "subject", "confirm")
    confirm = fields.get("confirm", False)
    if not isinstance(confirm, bool):
        raise Problem(422, "invalid_parameter", "confirm must be true or false.", "confirm")
    wanted = {name: text_field(fields, name) for name in ("scope", "subject")}
    scope, subject = data_pages.wanted_erasure(wanted)
    found = await data_pages.erasable_runs(request, scope, subject)
    known = {"runs": found.total, "is_total_exact": found.is_total_exact}
    if not confirm:
        return json_answer({"erasure": None, **known})
    erasure = await jobs.ask_for_erasure(request, scope, subject)
    document = {
        "erasure_id": erasure.erasure_id,
        "scope": erasure.scope,
        "subject": erasure.subject,
        "requested_at": instant(erasure.requested_at_us),
    }
    return json_answer({"erasure": document, **known}, status=202)
