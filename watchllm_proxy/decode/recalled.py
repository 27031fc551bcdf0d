"""A stored call, understood again: what a store keeps of it -> the Call that was made of its exchange.

Figures, ids and errors are as they were noted. What today's rules read out of the text (tool calls, hashes of
histories, ids that are mentioned) is read out of the text again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import orjson

from watchllm_proxy.decode import chat, completions, messages, responses
from watchllm_proxy.decode.answer import Answer
from watchllm_proxy.decode.call import distinct_ids
from watchllm_proxy.decode.ids import client_id
from watchllm_proxy.decode.known import KnownMessages
from watchllm_proxy.decode.request import read_request
from watchllm_proxy.decode.values import Json, as_dict, as_list
from watchllm_proxy.records import Api, Body, Call


def recalled(
    call: Call,
    client_ids: Iterable[tuple[str, str]],
    request: bytes | None,
    answer: bytes | None,
    *,
    known: KnownMessages | None = None,
) -> Call:
    """`call` as its figures tell it, with all that is in its text and in `client_ids` (source, value).

    `request`: the JSON of its body, `answer` that of its answer; None where there was none that was understood.
    """
    ids = [client_id(source, value) for source, value in client_ids]
    call = replace(call, client_ids=tuple(sorted((each for each in ids if each), key=lambda one: one.strength)))
    if request is not None:
        body = Body(request, len(request))
        read = read_request(call.api, call.target, body, (), known or KnownMessages())
        call = replace(call, messages=read.messages, mentioned_ids=read.mentioned_ids)
    given = _answer(call, answer)
    return replace(call, answer=given.message, issued_ids=distinct_ids([*given.issued_ids, call.response_id]))


def _answer(call: Call, content: bytes | None) -> Answer:
    reader = _READERS.get(call.api)
    if reader is None or (content is None and call.response_id is None):
        return Answer()
    metadata = as_dict(orjson.loads(call.response_metadata or b"{}"))
    value = None if content is None else orjson.loads(content)
    return reader({**metadata, "id": call.response_id}, value)


def _chat(body: dict[str, Json], value: Json) -> Answer:
    first = [] if value is None else [{"index": 0, "message": value}]
    return chat.read_answer({**body, "choices": [*first, *as_list(body.get("other_choices"))]})


def _completion(body: dict[str, Json], value: Json) -> Answer:
    first = [] if value is None else [{"index": 0, "text": as_dict(value).get("content")}]
    return completions.read_completion({**body, "choices": first})


def _responses(body: dict[str, Json], value: Json) -> Answer:
    return responses.read_answer({**body, "output": value or []})


def _messages(body: dict[str, Json], value: Json) -> Answer:
    return messages.read_answer({**body, "content": as_list(as_dict(value).get("content"))})


_READERS: dict[Api, Callable[[dict[str, Json], Json], Answer]] = {
    Api.CHAT_COMPLETIONS: _chat,
    Api.COMPLETIONS: _completion,
    Api.RESPONSES: _responses,
    Api.MESSAGES: _messages,
}
