"""CONDUCTOR of ingestion, in a proxy worker: a report is looked at, kept in the capture log, and then accepted.

    POST   /v1/agent-runs                       a run, whole or as far as it has come
    POST   /v1/agent-runs/{run_id}/steps        more of its steps, or some anew
    PATCH  /v1/agent-runs/{run_id}              its end, its name, …
    POST   /v1/projects/{project_id}/events     one event
    POST   /v1/events/batch                     up to 1,000 of them; each is taken or not

It needs no store: what the log took, the recorder stores like everything else that is in it.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

from watchllm_proxy.capture.writer import LogWriter
from watchllm_proxy.ingest.reading import (
    TakenEvents,
    TakenRun,
    Unfit,
    read_change,
    read_event,
    read_events,
    read_run,
    read_steps,
)
from watchllm_proxy.outcomes import ShedReason
from watchllm_proxy.proxy import answers
from watchllm_proxy.proxy.answers import Answer, error
from watchllm_proxy.proxy.reported import MAX_BYTES, Reported
from watchllm_proxy.records import Report, ReportKind

LONG_BYTES = 64 * 1024
"""A body above this is looked at in a thread: calls that pass are not held up for as long as that takes."""

RETRY_AFTER_S = 5

Look = Callable[[], "TakenRun | TakenEvents"]

_WHOLE: dict[str, Callable[[bytes, str], TakenRun | TakenEvents]] = {
    "/v1/agent-runs": read_run,
    "/v1/events/batch": read_events,
}
_RUN = re.compile(r"/v1/agent-runs/([^/]+)(/steps)?")
_EVENTS = re.compile(r"/v1/projects/([^/]+)/events")

NO_SUCH_PATH = error(
    404,
    "not_found",
    "There is nothing to report to at this path. Runs go to /v1/agent-runs, events to /v1/events/batch.",
    type="not_found_error",
)
NO_SUCH_PROJECT = error(
    404, "not_found", "There is no such project, or the key is not one of it.", type="not_found_error"
)
_BUSY_WORDS = {
    ShedReason.BUFFER_FULL: "More is reported than can be written at the moment",
    ShedReason.LOG_FULL: "The capture log is full, since what is stored behind it is away or slow",
    ShedReason.DISK_FULL: "The disk of the capture log is full",
    ShedReason.IO_ERROR: "The capture log cannot be written",
}


@dataclass(frozen=True, slots=True)
class Ingestion:
    """Answers 202 for what is on disk, and for nothing else."""

    log: LogWriter

    async def __call__(self, reported: Reported) -> Answer:
        look = _look(reported)
        if isinstance(look, Answer):
            return look
        try:
            is_long = len(reported.body) > LONG_BYTES
            taken = await asyncio.to_thread(look) if is_long else look()
        except Unfit as exc:
            return _refusal(exc)
        if isinstance(taken, TakenEvents) and not taken.accepted:
            return _nothing_taken(taken)
        reason = await self.log.append_durable(_report(reported, taken))
        return _accepted(taken) if reason is None else _not_kept(reason)


def _look(reported: Reported) -> Look | Answer:
    """How to read the body at this path; or the answer, where there is nothing to read."""
    path, body, project_id = reported.target.partition("?")[0], reported.body, reported.project_id
    if path in _WHOLE:
        read = _WHOLE[path]
        return _only(reported, "POST", lambda: read(body, project_id))
    if match := _EVENTS.fullmatch(path):
        if unquote(match[1], errors="replace") != project_id:
            return NO_SUCH_PROJECT
        return _only(reported, "POST", lambda: read_event(body, project_id))
    match = _RUN.fullmatch(path)
    if match is None:
        return NO_SUCH_PATH
    run_id = unquote(match[1], errors="replace")
    if match[2]:
        return _only(reported, "POST", lambda: read_steps(body, project_id, run_id))
    return _only(reported, "PATCH", lambda: read_change(body, project_id, run_id))


def _only(reported: Reported, method: str, look: Look) -> Look | Answer:
    if reported.method == method:
        return look
    message = f"This path takes {method}."
    return error(405, "method_not_allowed", message, headers=((b"Allow", method.encode()),))


def _report(reported: Reported, taken: TakenRun | TakenEvents) -> Report:
    is_run = isinstance(taken, TakenRun)
    return Report(
        report_id=reported.request_id,
        project_id=reported.project_id,
        kind=ReportKind.RUN if is_run else ReportKind.EVENTS,
        run_id=taken.run_id if isinstance(taken, TakenRun) else None,
        body=taken.body,
        received_at_us=reported.received_at_us,
        is_content_refused=reported.is_content_refused,
    )


# --- answers ----------------------------------------------------------------------------------------


def _accepted(taken: TakenRun | TakenEvents) -> Answer:
    if isinstance(taken, TakenRun):
        return _json(202, {"run_id": taken.run_id, "accepted_steps": taken.steps, "status": "accepted"})
    return _json(202, _outcomes(taken))


def _outcomes(taken: TakenEvents) -> dict[str, object]:
    events: list[dict[str, object]] = []
    for place, each in enumerate(taken.outcomes):
        outcome: dict[str, object] = {"index": place, "event_id": each.event_id, "status": "accepted"}
        if each.unfit is not None:
            outcome |= {"status": "rejected", "error": _problem(each.unfit)}
        events.append(outcome)
    rejected = len(events) - taken.accepted
    return {"accepted": taken.accepted, "rejected": rejected, "events": events}


def _nothing_taken(taken: TakenEvents) -> Answer:
    """A batch of which nothing is kept is no success, empty ones included."""
    message = "No event of this batch can be taken; `events` says why of each. Send at least one that can."
    problem = {"message": message, "type": "invalid_request_error", "code": "no_event_taken", "param": "events"}
    return _json(422, {"error": problem, **_outcomes(taken)})


def _problem(unfit: Unfit) -> dict[str, object]:
    return {
        "message": str(unfit),
        "type": "invalid_request_error",
        "code": unfit.code,
        "param": unfit.param,
    }


def _refusal(unfit: Unfit) -> Answer:
    return _json(unfit.status, {"error": _problem(unfit)})


def _not_kept(reason: ShedReason) -> Answer:
    """It is in no log, so nobody may be told that it is."""
    if reason is ShedReason.TOO_LARGE:
        return answers.report_too_large(MAX_BYTES)
    if reason is ShedReason.INVALID:
        return answers.INTERNAL
    return error(
        503,
        str(reason),
        f"{_BUSY_WORDS[reason]}: nothing of this report was kept. Send it again shortly.",
        type="api_error",
        headers=((b"Retry-After", str(RETRY_AFTER_S).encode()),),
    )


def _json(status: int, value: object) -> Answer:
    return Answer(status, json.dumps(value, ensure_ascii=False).encode())
