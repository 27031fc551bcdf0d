"""What a tool gave, whole. Steps hold its beginning; the first request that brings it holds all of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from uuid import UUID

from aiohttp import web

from watchllm_proxy.console import files
from watchllm_proxy.console.answers import json_answer
from watchllm_proxy.console.changes import parsed
from watchllm_proxy.console.context import project_of, reading_of
from watchllm_proxy.console.loading import LoadedRun
from watchllm_proxy.console.pages.figures import MODEL_TYPES
from watchllm_proxy.insights.differences import Request
from watchllm_proxy.records import Step

MAX_SHOWN = 256 * 1024
"""Characters; of more the beginning is told."""

_MAX_LOOKED_INTO = 3
"""Requests after the call: in one of the next the result is, if anywhere."""


async def result_answer(request: web.Request, loaded: LoadedRun, index: int) -> web.Response:
    """`output` null: the step is no tool call, or what it gave is not stored (any more). Raises HTTPNotFound."""
    step = next((each for each in loaded.steps if each.step_index == index), None)
    if step is None:
        raise web.HTTPNotFound
    found = await _result(request, loaded, step)
    answer = json_answer(found or {"output": None, "characters": 0, "read_by": None, "files": {}})
    answer.enable_compression()
    return answer


async def _result(request: web.Request, loaded: LoadedRun, step: Step) -> dict[str, object] | None:
    """And the step that read it."""
    if step.tool_call_id is None:
        return None
    later = (each for each in loaded.steps if each.type in MODEL_TYPES and each.step_index > step.step_index)
    readers = [each for each in later if each.call_id not in {None, step.call_id}]
    for reader in readers[:_MAX_LOOKED_INTO]:
        found = await _brought_by(request, reader.call_id, step.tool_call_id)
        if found is not None:
            return {**found, "read_by": reader.step_index}
    return None


async def _brought_by(request: web.Request, call_id: UUID | None, tool_call_id: str) -> dict[str, object] | None:
    apart = files.FilesApart()
    reading, project_id = reading_of(request), project_of(request)
    call = await reading.get_call(project_id, call_id, through=apart.take) if call_id else None
    text = await asyncio.to_thread(result_in, call.request, tool_call_id) if call else None
    if text is None:
        return None
    in_it = {label: each for label, each in apart.references().items() if label in text}
    return {"output": text[:MAX_SHOWN], "characters": len(text), "files": in_it}


def result_in(body: bytes | None, tool_call_id: str) -> str | None:
    """The result of the tool call in a request, in any dialect; what is no text as JSON."""
    for said in Request.of(parsed(body)).conversation:
        for told_of, result in _results(said.value):
            if told_of == tool_call_id:
                return result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
    return None


def _results(message: object) -> Iterator[tuple[object, object]]:
    """Ids of tool calls and what they gave."""
    if not isinstance(message, dict):
        return
    if message.get("role") == "tool":
        yield message.get("tool_call_id"), message.get("content")
    elif str(message.get("type")).endswith("_output"):
        yield message.get("call_id"), message.get("output")
    elif isinstance(message.get("content"), list):
        for part in message["content"]:
            if isinstance(part, dict) and part.get("type") == "tool_result":
                yield part.get("tool_use_id"), part.get("content")
