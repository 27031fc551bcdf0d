"""What is new in a step's request since the one before of the same agent: for the tabs Conversation and Diff."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from functools import partial
from typing import Protocol
from uuid import UUID

from aiohttp import web

from watchllm_proxy.console import changes, files
from watchllm_proxy.console.answers import dumps, raw_json
from watchllm_proxy.console.context import project_of, reading_of
from watchllm_proxy.console.loading import LoadedRun
from watchllm_proxy.console.pages.figures import MODEL_TYPES
from watchllm_proxy.console.reading import RunReading
from watchllm_proxy.insights.differences import differences
from watchllm_proxy.records import LinkKind, Step, Usage
from watchllm_proxy.store.grown_calls import STUB
from watchllm_proxy.store.shapes import CallDetail, Through

_FOLLOWED = {
    LinkKind.PREVIOUS_RESPONSE,
    LinkKind.ISSUED_ID,
    LinkKind.RETRY,
    LinkKind.HISTORY,
    LinkKind.FORKED_FROM,
}
"""Evidence that points at the request which this one goes on from, where several went on at once."""


class GetTwo(Protocol):
    """How a call and one before it are had."""

    async def __call__(
        self, project_id: str, call_id: UUID, before_id: UUID, *, through: Through
    ) -> tuple[CallDetail | None, CallDetail | None]: ...


async def changes_answer(request: web.Request, loaded: LoadedRun, index: int) -> web.Response:
    """Raises HTTPNotFound for a step that has no call of its own, or one that is not stored (any more)."""
    step = next((each for each in loaded.steps if each.step_index == index), None)
    if step is None or step.call_id is None or step.type not in MODEL_TYPES:
        raise web.HTTPNotFound
    before = previous_step(loaded, step)
    told = await _told(request, step.call_id, before, get_two=reading_of(request).get_grown_call)
    if STUB in told:
        told = await _told(request, step.call_id, before, get_two=partial(_get_whole, reading_of(request)))
    answer = web.Response(body=told, content_type="application/json")
    answer.enable_compression()
    return answer


def previous_step(loaded: LoadedRun, step: Step) -> Step | None:
    """The model step whose request this one goes on from, as the evidence says; without any the one before it."""
    earlier = [
        each
        for each in loaded.steps
        if each.type in MODEL_TYPES
        and each.step_index < step.step_index
        and each.call_id not in {None, step.call_id}
    ]
    links = loaded.links.get(step.call_id, ()) if step.call_id else ()
    named = {link.to_call_id for link in links if link.kind in _FOLLOWED}
    linked = [each for each in earlier if each.call_id in named]
    found = linked or earlier
    return found[-1] if found else None


async def _told(request: web.Request, call_id: UUID, before: Step | None, *, get_two: GetTwo) -> bytes:
    """Files are compared by their labels, which tell them apart by their hashes."""
    apart, project_id = files.FilesApart(), project_of(request)
    if before is None or before.call_id is None:
        now, earlier = await reading_of(request).get_call(project_id, call_id, through=apart.take), None
    else:
        now, earlier = await get_two(project_id, call_id, before.call_id, through=apart.take)
    if now is None:
        raise web.HTTPNotFound
    previous = before.step_index if before and earlier else None

    def written() -> bytes:
        return dumps({**_document(now, earlier), "files": apart.references(), "previous": previous})

    return await asyncio.to_thread(written)


async def _get_whole(
    reading: RunReading, project_id: str, call_id: UUID, before_id: UUID, *, through: Through
) -> tuple[CallDetail | None, CallDetail | None]:
    return (
        await reading.get_call(project_id, call_id, through=through),
        await reading.get_call(project_id, before_id, through=through),
    )


def _document(call: CallDetail, earlier: CallDetail | None) -> dict[str, object]:
    now = changes.parsed(call.request)
    if now is None:
        return {"note": call.opaque_reason or "This request is no JSON object.", "answer": raw_json(call.answer)}
    return {
        "note": "The capture limit cut a body of this call: this is not all of it." if call.is_truncated else None,
        "answer": raw_json(call.answer),
        **(_since(now, call, earlier) if earlier else {"kept": 0, "fresh": _raw(changes.fresh(now, 0))}),
    }


def _since(now: object, call: CallDetail, earlier: CallDetail) -> dict[str, object]:
    found = differences(changes.parsed(earlier.request) or {}, now)
    kept = changes.kept(found)
    broke = changes.broken_prefix(found)
    return {
        "kept": kept,
        "fresh": _raw(changes.fresh(now, kept)),
        "rows": changes.rows(found),
        "settings": changes.fields(found.parameters),
        "tools": changes.fields(found.tools),
        "broke": broke,
        "lost": _lost(call.row.usage, earlier.row.usage) if broke else None,
    }


def _raw(messages: Sequence[object]) -> list[object]:
    return [raw_json(json.dumps(each)) for each in messages]


def _lost(now: Usage, before: Usage) -> str | None:
    """Where the upstream tells what came from its cache."""
    one, other = before.cache_read_input_tokens, now.cache_read_input_tokens
    if one is None or other is None or one <= other:
        return None
    return f"{one - other:,} tokens that came from the cache before were billed at the full rate."
