"""The answer's side of a Call: one object or a stream of events, whichever the upstream really sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

import orjson

from watchllm_proxy.decode import chat, completions, messages, responses
from watchllm_proxy.decode.answer import Answer
from watchllm_proxy.decode.canonical import UnfaithfulJson
from watchllm_proxy.decode.content import unpack
from watchllm_proxy.decode.errors import error_in_answer
from watchllm_proxy.decode.lenient import Read, read_json
from watchllm_proxy.decode.sse import looks_like_events, parse_events
from watchllm_proxy.decode.values import Json, as_str
from watchllm_proxy.records import Api, CallError, Exchange, ExchangeEnd, Headers, record


@record
class Response:
    """An answer as far as it was understood; `problem` says what was not."""

    answer: Answer = Answer()
    error: CallError | None = None
    is_stream: bool = False
    problem: str | None = None


@record
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
    found = read_json(content)
    if found is None:
        if status >= 400:  # a proxy's HTML page, plain text
            return Response(error=error_in_answer(content, status), problem=problem)
        return Response(problem=problem or _why_no_object(api, exchange))
    error = error_in_answer(found.value, status)
    problem = problem or (None if found.is_exact else "answer is not quite JSON: something in it was replaced")
    if not isinstance(found.value, dict):
        is_foreign = api is not Api.OTHER and not error
        return Response(error=error, problem=problem or ("answer is not a JSON object" if is_foreign else None))
    if status >= 400:
        return Response(error=error, problem=problem)
    return _read_fields(api, found.value, error, problem, is_stream=False)


def _why_no_object(api: Api, exchange: Exchange) -> str | None:
    """An answer that was cut is no JSON: `end` or `is_truncated` tell that. Of other APIs, any bytes are fine."""
    return None if api is Api.OTHER or _is_cut(exchange) else "answer is not JSON"


def _is_cut(exchange: Exchange) -> bool:
    return exchange.end is not ExchangeEnd.COMPLETE or exchange.response_body.is_truncated


def _read_fields(
    api: Api, body: dict[str, Json], error: CallError | None, problem: str | None, *, is_stream: bool
) -> Response:
    try:
        answer = _READERS[api].read(body)
    except UnfaithfulJson as too_deep:
        answer, problem = Answer(), f"answer: {too_deep}"
    return Response(answer, error, is_stream=is_stream, problem=problem)


# --- a stream ---------------------------------------------------------------------------------------


def _read_events(api: Api, exchange: Exchange, content: bytes, problem: str | None) -> Response:
    events = parse_events(content)
    if events and _is_cut(exchange) and read_json(events[-1][1]) is None:
        events = events[:-1]  # broken off in the middle
    objects, odd = _read_objects(events)
    if odd and not problem:
        problem = f"answer: {odd} of {len(events)} events are not quite JSON objects"
    body = _READERS[api].assemble(objects)
    return _read_fields(api, body, error_in_answer(body, exchange.status), problem, is_stream=True)


_NO_JSON = Read(None, is_exact=False)


def _read_objects(events: Iterable[tuple[str, bytes]]) -> tuple[list[dict[str, Json]], int]:
    """The JSON objects of a stream, and how many events were none, or not quite one."""
    objects: list[dict[str, Json]] = []
    odd = 0
    for name, data in events:
        if not name and data[:1] == b"{":  # nearly all of them: at once
            try:
                objects.append(orjson.loads(data))
                continue
            except orjson.JSONDecodeError:
                pass
        elif data.strip() in (b"[DONE]", b""):
            continue
        value, is_exact = read_json(data) or _NO_JSON
        if name == "error":
            objects.append(_error_object(data, value))
        elif isinstance(value, dict):
            odd += not is_exact
            objects.append(_with_type(value, name) if name else value)
        else:
            odd += 1
    return objects, odd


def _error_object(data: bytes, value: Json) -> dict[str, Json]:
    """An `event: error` is an error whatever its data is: an object with or without `error`, or plain text."""
    if isinstance(value, dict) and value.get("error"):
        return value
    return {"type": "error", "error": value or data.decode("utf-8", "replace")}


def _with_type(value: dict[str, Json], name: str) -> dict[str, Json]:
    """An `event:` line names the type where the object does not."""
    return {**value, "type": name} if name and "type" not in value and "object" not in value else value
