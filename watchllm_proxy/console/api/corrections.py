"""`POST /api/agent-runs/{run_id}/merge`, `/split` and `/undo`: a person corrects which calls belong together."""

from __future__ import annotations

from aiohttp import web

from watchllm_proxy.console import correcting
from watchllm_proxy.console.answers import Problem, json_answer
from watchllm_proxy.console.api.bodies import json_object
from watchllm_proxy.console.formats import instant
from watchllm_proxy.store.corrections import CorrectionState


async def merge_run(request: web.Request) -> web.Response:
    fields = await json_object(request)
    correcting.known_fields_only(fields, "into")
    return _answer(await correcting.merge(request, correcting.text_field(fields, "into")))


async def split_run(request: web.Request) -> web.Response:
    fields = await json_object(request)
    correcting.known_fields_only(fields, "call_id", "only")
    only = fields.get("only", False)
    if not isinstance(only, bool):
        raise Problem(422, "invalid_parameter", "only must be true or false.", "only")
    return _answer(await correcting.split(request, correcting.uuid_field(fields, "call_id"), is_single=only))


async def undo_correction(request: web.Request) -> web.Response:
    fields = await json_object(request)
    correcting.known_fields_only(fields, "correction_id")
    return _answer(await correcting.undo(request, correcting.uuid_field(fields, "correction_id")))


def _answer(state: CorrectionState) -> web.Response:
    """200 with where the calls are now; 202 while it waits for the recorder."""
    correction, done = state.correction, state.carried_out
    document = {
        "correction_id": correction.correction_id,
        "kind": correction.kind,
        "status": "waiting" if done is None else "carried_out",
        "at": instant(correction.at_us),
        "run_id": correction.run_id,
        "to_run_id": None if done is None else done.to_run_id,
        "to_session_id": None if done is None else done.to_session_id,
        "call_ids": () if done is None else done.call_ids,
    }
    return json_answer({"correction": document}, status=202 if done is None else 200)
