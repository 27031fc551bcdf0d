"""The scripted upstream of the recordings: the policy's words in three dialects, and what goes wrong."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterable

from aiohttp import web
from aiohttp.typedefs import Handler

from tests.traffic.policy import answer
from tests.traffic.reading import Seen, read_chat, read_messages, read_responses
from tests.traffic.truth import HEADER, Label, Unlabelled, read_label
from watchllm_proxy.demo import answers
from watchllm_proxy.demo.answers import Answer, Dialect
from watchllm_proxy.demo.conversation import CHARS_PER_TOKEN, Conversation, input_items
from watchllm_proxy.demo.json_access import JsonObject, as_list, as_object, as_text, parse

MAX_BODY_BYTES = 16 * 1024 * 1024
THINKS_S = (0.02, 0.08)
MAX_HANG_S = 10.0
FRAMES_BEFORE_A_CUT = 4
EMBEDDING_DIMENSIONS = 6


class TrafficModel:
    """`await start()`, point the proxy at `url`, `await stop()`; `unlabelled` tells what came without a label."""

    def __init__(self) -> None:
        self.port = 0
        self.unlabelled: list[str] = []
        self._asked: Counter[tuple[str, str, str]] = Counter()  # (set-up, scenario, run)
        self._chains: dict[str, list[JsonObject]] = {}
        self._conversations: dict[str, list[JsonObject]] = {}
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def start(self) -> None:
        app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[self._as_labelled])
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/messages", self._messages)
        app.router.add_post("/v1/responses", self._responses)
        app.router.add_post("/v1/conversations", self._new_conversation)
        app.router.add_post("/v1/embeddings", self._embeddings)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    # --- what goes wrong ----------------------------------------------------------------------------

    @web.middleware
    async def _as_labelled(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            label = read_label(request.headers.get(HEADER))
        except Unlabelled as exc:
            self.unlabelled.append(f"{request.method} {request.path}: {exc}")
            return web.json_response({"error": {"message": str(exc), "type": "unlabelled"}}, status=400)
        request["label"] = label
        await request.read()  # also where an error is the answer, as most providers do
        await asyncio.sleep(random.uniform(*THINKS_S))
        run = (label.setup, label.scenario, label.run)
        self._asked[run] += 1
        match label.faults.get(str(self._asked[run])):
            case "500":
                return _error(500, "server_error", "The server had an error while processing your request.")
            case "429":
                return _error(429, "rate_limit_error", "Rate limit reached.", {"retry-after-ms": "60"})
            case "hang":
                await asyncio.sleep(MAX_HANG_S)
                return _error(503, "overloaded", "Nobody waits as long as that.")
            case "cut":
                request["is_cut"] = True
            case _:
                pass
        return await handler(request)

    # --- routes -------------------------------------------------------------------------------------

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await _body(request)
        said = _say(Dialect.CHAT, body, read_chat(body))
        if body.get("stream"):
            return await _stream(request, answers.chat_frames(said))
        return web.json_response(answers.chat_body(said), headers=_head())

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        body = await _body(request)
        said = _say(Dialect.MESSAGES, body, read_messages(body))
        if body.get("stream"):
            return await _stream(request, answers.messages_frames(said))
        return web.json_response(answers.messages_body(said), headers=_head())

    async def _responses(self, request: web.Request) -> web.StreamResponse:
        body = await _body(request)
        conversation = self._conversation(body)
        earlier = conversation if conversation is not None else self._chains.get(_previous(body), [])
        items = [*earlier, *input_items(body)]
        said = _say(Dialect.RESPONSES, body, read_responses(body, items))
        items += answers.output_items(said)
        self._chains[said.response_id] = items
        if conversation is not None:
            conversation[:] = items
        if body.get("stream"):
            return await _stream(request, answers.responses_frames(said, body))
        return web.json_response(answers.responses_body(said, body), headers=_head())

    async def _new_conversation(self, _request: web.Request) -> web.StreamResponse:
        conversation_id = answers.new_id("conv_")
        self._conversations[conversation_id] = []
        created = {"id": conversation_id, "object": "conversation", "created_at": 0, "metadata": {}}
        return web.json_response(created)

    async def _embeddings(self, request: web.Request) -> web.StreamResponse:
        body = await _body(request)
        given = body.get("input")
        texts = as_list(given) or [given]
        data = [{"object": "embedding", "index": i, "embedding": _vector(text)} for i, text in enumerate(texts)]
        usage = {"prompt_tokens": 8, "total_tokens": 8}
        return web.json_response({"object": "list", "data": data, "model": body.get("model"), "usage": usage})

    def _conversation(self, body: JsonObject) -> list[JsonObject] | None:
        named = body.get("conversation")
        conversation_id = as_text(named) or as_text(as_object(named).get("id"))
        return self._conversations.setdefault(conversation_id, []) if conversation_id else None


def _previous(body: JsonObject) -> str:
    return as_text(body.get("previous_response_id"))


def _say(dialect: Dialect, body: JsonObject, seen: Seen) -> Answer:
    tokens = len(json.dumps(body)) // CHARS_PER_TOKEN
    figures = Conversation(opening="", answers=seen.rounds, input_tokens=tokens, earlier_tokens=0)
    return answers.make_answer(answer(seen), dialect, as_text(body.get("model")), figures)


async def _stream(request: web.Request, frames: Iterable[bytes]) -> web.StreamResponse:
    label: Label = request["label"]
    response = web.StreamResponse(headers={**_head(), "Content-Type": "text/event-stream; charset=utf-8"})
    await response.prepare(request)
    for number, frame in enumerate(frames):
        if request.get("is_cut") and number == FRAMES_BEFORE_A_CUT and request.transport is not None:
            request.transport.abort()
            return response
        await response.write(frame)
        await asyncio.sleep(label.frame_ms / 1000)
    await response.write_eof()
    return response


def _head() -> dict[str, str]:
    return {"X-Request-Id": answers.new_id("req_")}


def _error(status: int, kind: str, message: str, headers: dict[str, str] | None = None) -> web.Response:
    error = {"message": message, "type": kind, "param": None, "code": None}
    body = {"type": "error", "error": error}
    return web.json_response(body, status=status, headers={**_head(), **(headers or {})})


async def _body(request: web.Request) -> JsonObject:
    return as_object(parse(await request.read()))


def _vector(text: object) -> list[float]:
    digest = hashlib.sha256(json.dumps(text).encode()).digest()
    return [byte / 255 for byte in digest[:EMBEDDING_DIMENSIONS]]
