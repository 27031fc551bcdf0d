"""The scripted model as an OpenAI-compatible server on a loopback port. It needs no key and asks for none."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import struct
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from aiohttp import web

from watchllm_proxy.demo import answers
from watchllm_proxy.demo.answers import Answer, Dialect
from watchllm_proxy.demo.conversation import Conversation, input_items, read_chat, read_messages, read_responses
from watchllm_proxy.demo.json_access import JsonObject, as_list, as_object, as_text, parse
from watchllm_proxy.demo.script import DEMO_SCRIPT, PRICES, Failure, Scenario, choose_turn

MAX_BODY_BYTES = 64 * 1024 * 1024
MAX_REMEMBERED_RESPONSES = 10_000
MAX_REMEMBERED_GENERATIONS = 10_000
EMBEDDING_DIMENSIONS = 8


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the model answers."""

    first_token_s: float = 0.12
    between_frames_s: float = 0.006


class ScriptedModel:
    """Serves `script`: `await start()`, point a client at `base_url`, `await stop()`."""

    def __init__(self, script: Sequence[Scenario] = DEMO_SCRIPT, pace: Pace | None = None) -> None:
        self._script = script
        self._pace = pace or Pace()
        self._failed: set[bytes] = set()
        self._chains: OrderedDict[str, list[JsonObject]] = OrderedDict()
        self._generations: OrderedDict[str, Answer] = OrderedDict()
        self._runner: web.AppRunner | None = None
        self.port = 0

    @property
    def base_url(self) -> str:
        """What a client takes for OPENAI_BASE_URL."""
        return f"http://127.0.0.1:{self.port}/v1"

    def app(self) -> web.Application:
        """The routes, for a server of the caller's own."""
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/responses", self._responses)
        app.router.add_post("/v1/messages", self._messages)
        app.router.add_post("/v1/embeddings", self._embeddings)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/v1/generation", self._generation)
        return app

    async def start(self, port: int = 0) -> None:
        """Listen on 127.0.0.1; port 0 lets the system choose, `port` then tells which."""
        self._runner = web.AppRunner(self.app(), access_log=None, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    # --- routes -------------------------------------------------------------------------------------

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await _body(request)
        answer = await self._answer(Dialect.CHAT, body, read_chat(body))
        if isinstance(answer, web.Response):
            return answer
        if body.get("stream"):
            return await self._stream(request, answers.chat_frames(answer), self._headers(answer))
        return web.json_response(answers.chat_body(answer), headers=self._headers(answer))

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        body = await _body(request)
        answer = await self._answer(Dialect.MESSAGES, body, read_messages(body))
        if isinstance(answer, web.Response):
            return answer
        if body.get("stream"):
            return await self._stream(request, answers.messages_frames(answer), self._headers(answer))
        return web.json_response(answers.messages_body(answer), headers=self._headers(answer))

    async def _responses(self, request: web.Request) -> web.StreamResponse:
        body = await _body(request)
        previous_id = as_text(body.get("previous_response_id"))
        if previous_id and previous_id not in self._chains:
            return _failure(_unknown_response(previous_id))
        remembered = self._chains.get(previous_id, [])
        answer = await self._answer(Dialect.RESPONSES, body, read_responses(body, remembered))
        if isinstance(answer, web.Response):
            return answer
        self._remember(answer, [*remembered, *input_items(body)])
        if body.get("stream"):
            return await self._stream(request, answers.responses_frames(answer, body), self._headers(answer))
        return web.json_response(answers.responses_body(answer, body), headers=self._headers(answer))

    async def _embeddings(self, request: web.Request) -> web.StreamResponse:
        body = await _body(request)
        given = body.get("input")
        texts = as_list(given) if isinstance(given, list) else [given]
        as_base64 = body.get("encoding_format") == "base64"
        data = [
            {"object": "embedding", "index": index, "embedding": _embedding(text, as_base64=as_base64)}
            for index, text in enumerate(texts)
        ]
        tokens = sum(len(json.dumps(text)) for text in texts) // 4
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        reply = {"object": "list", "data": data, "model": body.get("model"), "usage": usage}
        return web.json_response(reply, headers=_answer_headers())

    async def _models(self, _request: web.Request) -> web.StreamResponse:
        data = [
            {
                "id": model,
                "object": "model",
                "created": 1744000000,
                "owned_by": "demo",
                "pricing": {
                    "prompt": _a_token(price.input_usd),
                    "completion": _a_token(price.output_usd),
                    "input_cache_read": _a_token(price.cached_input_usd),
                },
            }
            for model, price in PRICES.items()
        ]
        return web.json_response({"object": "list", "data": data}, headers=_answer_headers())

    async def _generation(self, request: web.Request) -> web.StreamResponse:
        """What an answer cost, as OpenRouter tells it afterwards."""
        generation_id = request.query.get("id", "")
        answer = self._generations.get(generation_id)
        if answer is None or answer.cost_usd is None:
            return _failure(Failure(404, "not_found", "not_found", f"Generation {generation_id} not found."))
        data = {
            "id": generation_id,
            "model": answer.model,
            "total_cost": float(answer.cost_usd),
            "native_tokens_prompt": answer.input_tokens,
            "native_tokens_completion": answer.output_tokens,
            "native_tokens_cached": answer.cached_tokens,
            "is_byok": False,
        }
        return web.json_response({"data": data}, headers=_answer_headers())

    # --- the model ----------------------------------------------------------------------------------

    async def _answer(
        self, dialect: Dialect, body: JsonObject, conversation: Conversation
    ) -> Answer | web.Response:
        """The scripted answer, after some thought; or the failure that is scripted before it."""
        await asyncio.sleep(self._pace.first_token_s)
        turn = choose_turn(self._script, conversation.opening, conversation.answers)
        if turn.fails_first is not None and self._fails_now(body):
            return _failure(turn.fails_first)
        return answers.make_answer(turn, dialect, as_text(body.get("model")), conversation)

    def _fails_now(self, body: JsonObject) -> bool:
        """True the first time this body is seen, False when it is sent again. The ids in a conversation make
        its bodies unique, so conversations do not take each other's failures."""
        key = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).digest()
        if key in self._failed:
            self._failed.remove(key)
            return False
        self._failed.add(key)
        return True

    def _headers(self, answer: Answer) -> dict[str, str]:
        """A model that tells its cost names its generations, as OpenRouter does."""
        if answer.cost_usd is None:
            return _answer_headers()
        generation_id = answers.new_id("gen-")
        self._generations[generation_id] = answer
        if len(self._generations) > MAX_REMEMBERED_GENERATIONS:
            self._generations.popitem(last=False)
        return {**_answer_headers(), "X-Generation-Id": generation_id}

    def _remember(self, answer: Answer, items: list[JsonObject]) -> None:
        self._chains[answer.response_id] = [*items, *answers.output_items(answer)]
        if len(self._chains) > MAX_REMEMBERED_RESPONSES:
            self._chains.popitem(last=False)

    async def _stream(
        self, request: web.Request, frames: Iterable[bytes], headers: dict[str, str]
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={**headers, "Cache-Control": "no-cache"})
        response.content_type = "text/event-stream"
        await response.prepare(request)
        for frame in frames:
            await response.write(frame)
            await asyncio.sleep(self._pace.between_frames_s)
        await response.write_eof()
        return response


async def _body(request: web.Request) -> JsonObject:
    return as_object(parse(await request.read()))


def _answer_headers() -> dict[str, str]:
    return {"X-Request-Id": answers.new_id("req_")}


def _a_token(usd_per_million: Decimal) -> str:
    return format(usd_per_million / 1_000_000, "f")


def _failure(failure: Failure) -> web.Response:
    error = {"message": failure.message, "type": failure.type, "param": None, "code": failure.code}
    headers = _answer_headers()
    if failure.retry_after_s is not None:
        headers["Retry-After"] = str(failure.retry_after_s)
    return web.json_response({"error": error}, status=failure.status, headers=headers)


def _unknown_response(response_id: str) -> Failure:
    message = f"Previous response with id '{response_id}' not found."
    return Failure(400, "invalid_request_error", "previous_response_not_found", message)


def _embedding(text: object, *, as_base64: bool) -> list[float] | str:
    """A vector that depends on the text alone."""
    digest = hashlib.sha256(json.dumps(text).encode()).digest()
    vector = [byte / 255 for byte in digest[:EMBEDDING_DIMENSIONS]]
    if not as_base64:
        return vector
    return base64.b64encode(struct.pack(f"<{EMBEDDING_DIMENSIONS}f", *vector)).decode()
