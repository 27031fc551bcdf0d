"""A person's correction: checked against what is stored, left at the desk, and waited for a little.

What can be told at once is told at once, with the field that is wrong. The recorder looks again when it comes to
it, for runs go on meanwhile; its refusal is answered in the same shape.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from uuid import UUID, uuid4

from aiohttp import web

from watchllm_proxy.console.addresses import decode_id
from watchllm_proxy.console.answers import Problem
from watchllm_proxy.console.context import desk_of, now_us, project_of, reading_of
from watchllm_proxy.records import Correction, CorrectionKind, Run, RunStatus
from watchllm_proxy.store.corrections import CorrectionState

WAIT_S = 5.0
"""For the recorder. It looks twice a second, but a batch may be under way, or a store away."""

POLL_S = 0.05

_STATUS = {
    "run_not_found": 404,
    "call_not_found": 404,
    "correction_not_found": 404,
    "same_run": 422,
    "own_family": 422,
    "first_call": 422,
    "run_is_running": 409,
    "not_captured": 409,
    "not_in_force": 409,
    "corrected_since": 409,
    "failed": 500,
}
"""By the recorder's code, and ours. What is 409 may be possible another time."""


async def merge(request: web.Request, into: str) -> CorrectionState:
    """The run of the address joins `into`. Raises `Problem`, 404 or 401."""
    run = await _run(request)
    if into == run.run_id:
        raise _problem("same_run", "A run cannot be merged into itself. Name another run.", "into")
    found = await reading_of(request).get_run(project_of(request), into)
    if found is None:
        raise _problem("run_not_found", "There is no such run to merge into.", "into")
    if run.run_id == found.run.parent_run_id or found.run.run_id == run.parent_run_id:
        raise _problem(
            "own_family", "One of the two is a sub-agent of the other: they are linked as they are.", "into"
        )
    _must_have_ended(found.run)
    return await _ask(request, CorrectionKind.MERGE, run.run_id, into_run_id=into)


async def split(request: web.Request, call_id: UUID, *, is_single: bool) -> CorrectionState:
    """The call, alone or with those after it, leaves the run of the address for one of its own."""
    run = await _run(request)
    steps = await reading_of(request).get_steps(project_of(request), run.run_id)
    calls = list(dict.fromkeys(step.call_id for step in steps if step.call_id is not None))
    if call_id not in calls:
        raise _problem("call_not_found", "This run has no such call.", "call_id")
    if len(calls) == 1 or (call_id == calls[0] and not is_single):
        raise _problem(
            "first_call", "The run begins with this call: nothing would be left. Name a later one.", "call_id"
        )
    return await _ask(request, CorrectionKind.SPLIT, run.run_id, call_id=call_id, is_single=is_single)


async def undo(request: web.Request, correction_id: UUID) -> CorrectionState:
    """The calls of a correction that has to do with the run of the address go back."""
    run = await _run(request)
    of_run = await desk_of(request).of_run(project_of(request), run.run_id)
    if all(each.correction.correction_id != correction_id for each in of_run):
        raise _problem("correction_not_found", "No such correction is in force for this run.", "correction_id")
    return await _ask(request, CorrectionKind.UNDO, run.run_id, undoes=correction_id)


async def _run(request: web.Request) -> Run:
    run_id = decode_id(request.match_info["run_id"])
    found = await reading_of(request).get_run(project_of(request), run_id)
    if found is None:
        raise web.HTTPNotFound
    _must_have_ended(found.run)
    return found.run


def _must_have_ended(run: Run) -> None:
    if run.status is RunStatus.RUNNING:
        raise _problem(
            "run_is_running",
            f"The run {run.run_id} still receives calls. Correct it when it has ended: with its final answer, an "
            "error, or silence.",
        )


async def _ask(
    request: web.Request,
    kind: CorrectionKind,
    run_id: str,
    *,
    call_id: UUID | None = None,
    is_single: bool = False,
    into_run_id: str | None = None,
    undoes: UUID | None = None,
) -> CorrectionState:
    """How it stands when the recorder has come to it, or has not within `WAIT_S`."""
    project_id, desk = project_of(request), desk_of(request)
    correction = Correction(uuid4(), project_id, kind, run_id, now_us(), call_id, is_single, into_run_id, undoes)
    await desk.ask(correction)
    state = CorrectionState(correction, None, None, is_undone=False)
    deadline = asyncio.get_running_loop().time() + WAIT_S
    while state.carried_out is None and state.refusal is None:
        if asyncio.get_running_loop().time() > deadline:
            return state
        await asyncio.sleep(POLL_S)
        state = await desk.state(project_id, correction.correction_id) or state
    if state.refusal is not None:
        raise _problem(*state.refusal)
    return state


def _problem(code: str, message: str, param: str | None = None) -> Problem:
    return Problem(_STATUS.get(code, 409), code, message, param)


# --- reading what was asked, whether it came as JSON or as a form


def text_field(fields: Mapping[str, object], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value.strip():
        raise Problem(422, "invalid_parameter", f"{name} is missing: it must be a text.", name)
    return value.strip()


def uuid_field(fields: Mapping[str, object], name: str) -> UUID:
    try:
        return UUID(text_field(fields, name))
    except ValueError:
        raise Problem(
            422, "invalid_parameter", f"{name} must be an id as the debug document gives it.", name
        ) from None


def known_fields_only(fields: Mapping[str, object], *names: str) -> None:
    for name in fields:
        if name not in names:
            raise Problem(
                422,
                "invalid_parameter",
                f"There is no field {name!r:.60}; there are {', '.join(names) or 'none'}.",
                name,
            )
