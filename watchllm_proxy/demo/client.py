"""A small HTTP client of chat completions and Responses, as a home-made agent has one: streams, and tries again.

It knows nothing of the proxy but its base URL; it merely notes the `X-WatchLLM-Request-Id` of each answer, so
that the demo can show what became of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

import aiohttp

from watchllm_proxy.demo.json_access import JsonObject, as_list, as_object, as_text, parse

MAX_TRIES = 3
RETRIED_STATUSES = frozenset({408, 409, 429, 500, 502, 503, 504})
DEFAULT_RETRY_AFTER_S = 0.5
MAX_RETRY_AFTER_S = 5.0
REQUEST_ID_HEADER = "X-WatchLLM-Request-Id"


class ModelRefused(Exception):
    """The model's server said no, and trying again is of no use or did not help."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A tool that the model asked for."""

    call_id: str
    tool: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: its text, the tools it asks for, and what a next request repeats of it."""

    response_id: str
    text: str
    asked: tuple[Asked, ...]


@dataclass(slots=True)
class ModelClient:
    """One agent's line to the model. `request_ids` grows by one with every HTTP answer, failed ones included."""

    session: aiohttp.ClientSession
    base_url: str
    headers: Mapping[str, str]
    request_ids: list[str] = field(default_factory=list)

    async def chat(self, body: JsonObject) -> Reply:
        """POST /chat/completions; streamed when the body says so. Raises `ModelRefused`."""
        async with await self._post("chat/completions", body) as response:
            if body.get("stream"):
                return await _read_chat_stream(response)
            answer = as_object(parse(await response.read()))
        message = as_object(as_object(as_list(answer.get("choices"))[0]).get("message"))
        asked = tuple(_asked_in_chat(call) for call in as_list(message.get("tool_calls")))
        return Reply(as_text(answer.get("id")), as_text(message.get("content")), asked)

    async def respond(self, body: JsonObject) -> Reply:
        """POST /responses. Raises `ModelRefused`."""
        async with await self._post("responses", body) as response:
            answer = as_object(parse(await response.read()))
        items = [as_object(item) for item in as_list(answer.get("output"))]
        texts = [
            as_text(as_object(part).get("text"))
            for item in items
            if item.get("type") == "message"
            for part in as_list(item.get("content"))
        ]
        asked = tuple(
            Asked(as_text(item.get("call_id")), as_text(item.get("name")), as_text(item.get("arguments")))
            for item in items
            if item.get("type") == "function_call"
        )
        return Reply(as_text(answer.get("id")), "".join(texts), asked)

    async def _post(self, path: str, body: JsonObject) -> aiohttp.ClientResponse:
        """A successful answer, its head read. The same body is sent again after a failure that may pass."""
        for attempt in range(1, MAX_TRIES + 1):
            response = await self.session.post(f"{self.base_url}/{path}", json=body, headers=self.headers)
            self.request_ids.append(response.headers.get(REQUEST_ID_HEADER, ""))
            if response.status < 400:
                return response
            async with response:
                refusal = f"{path}: {response.status} {await response.text()}"
            if response.status not in RETRIED_STATUSES or attempt == MAX_TRIES:
                raise ModelRefused(refusal)
            await asyncio.sleep(_retry_after_s(response))
        raise AssertionError("the loop returns or raises")


def _retry_after_s(response: aiohttp.ClientResponse) -> float:
    try:
        wanted_s = float(response.headers["Retry-After"])
    except (KeyError, ValueError):
        return DEFAULT_RETRY_AFTER_S
    return min(max(wanted_s, 0.0), MAX_RETRY_AFTER_S)


def _asked_in_chat(call: object) -> Asked:
    function = as_object(as_object(call).get("function"))
    call_id = as_text(as_object(call).get("id"))
    return Asked(call_id, as_text(function.get("name")), as_text(function.get("arguments")))


async def _read_chat_stream(response: aiohttp.ClientResponse) -> Reply:
    response_id, text = "", ""
    asked: dict[object, Asked] = {}
    async for chunk in _events(response):
        response_id = as_text(chunk.get("id")) or response_id
        for choice in as_list(chunk.get("choices")):
            delta = as_object(as_object(choice).get("delta"))
            text += as_text(delta.get("content"))
            for piece in as_list(delta.get("tool_calls")):
                index = as_object(piece).get("index")
                asked[index] = _joined(asked.get(index), _asked_in_chat(piece))
    return Reply(response_id, text, tuple(asked.values()))


def _joined(before: Asked | None, piece: Asked) -> Asked:
    if before is None:
        return piece
    return Asked(before.call_id, before.tool, before.arguments + piece.arguments)


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[JsonObject]:
    """The JSON of each `data:` line. Comments and `[DONE]` are no JSON objects and read as empty ones."""
    async for line in response.content:
        if line.startswith(b"data:"):
            yield as_object(parse(line.removeprefix(b"data:")))
