"""The answer's side of a Call: one object or a stream of events, whichever the upstream really sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import orjson

from watchllm_proxy.decode import chat, completions, messages, responses
from watchllm_proxy.decode.answer import Answer
from watchllm_proxy.decode.canonical import UnfaithfulJson
from watchllm_proxy.decode.content import unpack
from watchllm_proxy.decode.errors import error_in_answer
from watchllm_proxy.decode.sse import Event, looks_like_events, parse_events
from watchllm_proxy.decode.values import Json, as_str
from watchllm_proxy.records import Api, CallError, Exchange, ExchangeEnd, Headers


@dataclass(frozen=True, slots=True)
class Response:
    """An answer as far as it was understood; `problem` says what was not."""

    answer: Answer = Answer()
    error: CallError | None = None
    is_stream: bool = False
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class _Reader:
    read: Callable[[dict[str, Json]], Answer]
    assemble: Callable[[Iterable[dict[str, Json]]], dict[str, Json]]


def _read_other(body: dict[str, Json]) -> Answer:
    """An answer of an API that we do not know: its id may come back (a conversation, a file), no more is read."""
    return Answer(
        response_id=as_str(body.get("id")), issued_ids=[as_str(body.get("id"))], model=as_str(body.get("model"))
    )


def _last_object(events: Iterable[dict[str, Json]]) -> dict[str, Json]:
    return next(iter(deque(events, maxlen=1)), {})


_READERS = {
    Api.CHAT_COMPLETIONS: _Reader(chat.read_answer, chat.assemble),
    Api.COMPLETIONS: _Reader(completions.read_completion, completions.assemble_completion),
    Api.EMBEDDINGS: _Reader(completions.read_embeddings, _last_object),
    Api.RESPONSES: _Reader(responses.read_answer, responses.assemble),
    Api.MESSAGES: _Reader(messages.read_answer, messages.assemble),
    Api.OTHER: _Reader(_read_other, _last_object),
}


def read_response(api: Api, exchange: Exchange) -> Response:
    if exchange.status is None:
        return Response()
    unpacked = unpack(exchange.response_body.content, exchange.response_headers)
    content = unpacked.data.removeprefix(b"\xef\xbb\xbf")
    problem = f"answer: {unpacked.problem}" if unpacked.problem else None
    if not content.strip():
        return _read_nothing(api, exchange, problem)
    if _is_event_stream(exchange.response_headers, content):
        return _read_events(api, exchange, content, problem)
    return _read_object(api, exchange, content, problem)


def _is_event_stream(headers: Headers, content: bytes) -> bool:
    """The bytes decide, then the header: JSON errors come as event streams, and streams come without a type."""
    if content[:1] in (b"{", b"["):
        return False
    if looks_like_events(content):
        return True
    return any(name.lower() == "content-type" and "event-stream" in value.lower() for name, value in headers)


def _read_nothing(api: Api, exchange: Exchange, problem: str | None) -> Response:
    status = exchange.status or 0
    if status >= 400:
        error = CallError(f"http_{status}", "the upstream answered without a body")
    elif api is not Api.OTHER and exchange.end is ExchangeEnd.COMPLETE and not problem:
        error = CallError("empty_answer", f"the upstream answered {status} without a body")
    else:
        return Response(problem=problem)
    return Response(error=error, problem=problem)


# --- one object -------------------------------------------------------------------------------------


def _read_object(api: Api, exchange: Exchange, content: bytes, problem: str | None) -> Response:
    status = exchange.status or 0
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        if status >= 400:  # a proxy's HTML page, plain text
            return Response(error=error_in_answer(content, status), problem=problem)
        return Response(problem=problem or _why_no_object(api, exchange, str(error.msg)))
    found = error_in_answer(body, status)
    if not isinstance(body, dict):
        is_foreign = api is not Api.OTHER and not found
        return Response(error=found, problem=problem or ("answer is not a JSON object" if is_foreign else None))
    if status >= 400:
        return Response(error=found, problem=problem)
    try:
        return Response(_READERS[api].read(body), found, problem=problem)
    except UnfaithfulJson as error:
        return Response(error=found, problem=f"answer: {error}")


def _why_no_object(api: Api, exchange: Exchange, detail: str) -> str | None:
    """An answer that was cut is no JSON: `end` or `is_truncated` tell that. Of other APIs, any bytes are fine."""
    if api is Api.OTHER or exchange.end is not ExchangeEnd.COMPLETE or exchange.response_body.is_truncated:
        return None
    return f"answer is not JSON: {detail}"


# --- a stream ---------------------------------------------------------------------------------------


def _read_events(api: Api, exchange: Exchange, content: bytes, problem: str | None) -> Response:
    events = parse_events(content)
    objects, undecodable = _decode_events(events)
    is_cut = exchange.end is not ExchangeEnd.COMPLETE or exchange.response_body.is_truncated
    if is_cut and undecodable and events and not _is_json(events[-1].data):
        undecodable -= 1
    if undecodable and not problem:
        problem = f"answer: {undecodable} of {len(events)} events are not JSON objects"
    body = _READERS[api].assemble(objects)
    found = error_in_answer(body, exchange.status)
    try:
        return Response(_READERS[api].read(body), found, is_stream=True, problem=problem)
    except UnfaithfulJson as error:
        return Response(error=found, is_stream=True, problem=f"answer: {error}")


def _decode_events(events: list[Event]) -> tuple[list[dict[str, Json]], int]:
    """The JSON objects of a stream. An `event:` line names the type where the object does not."""
    objects: list[dict[str, Json]] = []
    undecodable = 0
    for event in events:
        if event.data.strip() in (b"[DONE]", b""):
            continue
        try:
            value = orjson.loads(event.data)
        except orjson.JSONDecodeError:
            value = _with_replacements(event.data)
        if not isinstance(value, dict):
            if event.name == "error":
                objects.append({"type": "error", "error": value or event.data.decode("utf-8", "replace")})
            else:
                undecodable += 1
            continue
        if event.name == "error" and not value.get("error"):
            value = {"type": "error", "error": value}
        elif event.name and "type" not in value and "object" not in value:
            value["type"] = event.name
        objects.append(value)
    return objects, undecodable


def _with_replacements(data: bytes) -> Json:
    """Bytes that are no UTF-8 are replaced, so that one bad character does not cost an event."""
    try:
        return orjson.loads(data.decode("utf-8", "replace"))
    except orjson.JSONDecodeError:
        return None


def _is_json(data: bytes) -> bool:
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return True
