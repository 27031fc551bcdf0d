"""The forms of the run page: the same corrections as the API's, answered with the page of the run they led to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit
from uuid import UUID

from aiohttp import web

from watchllm_proxy.console import correcting
from watchllm_proxy.console.addresses import decode_id, run_path
from watchllm_proxy.console.formats import count_of, instant
from watchllm_proxy.console.forms import form_fields
from watchllm_proxy.console.html import render_message
from watchllm_proxy.records import CarriedOut, CorrectionKind
from watchllm_proxy.store.corrections import CorrectionState


@dataclass(frozen=True, slots=True)
class Remark:
    """A correction in force, as the page tells of it. `other` is the run at its other end."""

    correction_id: UUID
    text: str
    other: str
    at: str  # to the minute
    can_undo: bool


def remarks(of_run: Sequence[CarriedOut], run_id: str) -> list[Remark]:
    return [_remark(each, run_id) for each in of_run]


def _remark(done: CarriedOut, run_id: str) -> Remark:
    is_here = done.to_run_id == run_id
    calls = count_of(len(done.call_ids), "call")
    if done.correction.kind is CorrectionKind.MERGE:
        text = f"A person merged {calls} into this run, from" if is_here else f"A person merged {calls} of it into"
    else:
        text = f"A person split {calls} off into this run, from" if is_here else f"A person split {calls} off into"
    other = done.correction.run_id if is_here else done.to_run_id
    at = instant(done.correction.at_us) or ""
    return Remark(done.correction.correction_id, text, other, f"{at[:10]} {at[11:16]} UTC", is_here)


async def merge_form(request: web.Request) -> web.StreamResponse:
    fields = await _fields(request)
    return _answer(request, await correcting.merge(request, _run_named(correcting.text_field(fields, "into"))))


async def split_form(request: web.Request) -> web.StreamResponse:
    fields = await _fields(request)
    call_id = correcting.uuid_field(fields, "call_id")
    return _answer(request, await correcting.split(request, call_id, is_single=fields.get("only") == "true"))


async def undo_form(request: web.Request) -> web.StreamResponse:
    fields = await _fields(request)
    return _answer(request, await correcting.undo(request, correcting.uuid_field(fields, "correction_id")))


async def _fields(request: web.Request) -> Mapping[str, object]:
    return dict(await form_fields(request))


def _run_named(text: str) -> str:
    """A run's id, or the address of its page, as people paste it."""
    path = urlsplit(text).path if "://" in text else text
    marker = "/runs/"
    if marker not in path:
        return text
    return decode_id(unquote(path.rpartition(marker)[2].split("/")[0].removesuffix(".json")))


def _answer(request: web.Request, state: CorrectionState) -> web.StreamResponse:
    if state.carried_out is None:
        return render_message(
            request,
            202,
            "It is noted, and is carried out as soon as the recorder comes to it. There is nothing else to do.",
        )
    # A browser would take the former page's step along: its number says nothing here.
    raise web.HTTPSeeOther(f"{run_path(state.carried_out.to_run_id)}#step-0")
