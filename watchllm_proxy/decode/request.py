"""The request's side of a Call: messages, skeleton, hashes and ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from watchllm_proxy.decode import chat, completions, messages, responses
from watchllm_proxy.decode.canonical import UnfaithfulJson, digest, dump, parse
from watchllm_proxy.decode.content import unpack
from watchllm_proxy.decode.dialects import SLOTS
from watchllm_proxy.decode.growing import Base, beginning
from watchllm_proxy.decode.known import KnownMessages
from watchllm_proxy.decode.lenient import read_json
from watchllm_proxy.decode.mentions import (
    MAX_TEXT_IDS,
    count_ids,
    ids_outside,
    mentioned_ids,
    more_mentioned_ids,
    read_ids,
)
from watchllm_proxy.decode.pieces import Pieces, build_message, tool_definitions_text, tool_names
from watchllm_proxy.decode.reading import Reading, Request
from watchllm_proxy.decode.rebuild import lengthened, split
from watchllm_proxy.decode.values import Json, as_dict, as_str
from watchllm_proxy.records import Api, Body, Headers, Message


def read_request(api: Api, target: str, body: Body, headers: Headers, known: KnownMessages) -> Request:
    if body.is_partial:
        # Not what was asked, so no other request is told to be the same: an empty hash says that.
        return Request(problem="request body had not arrived when the exchange ended")
    if body.is_truncated:
        whole = digest((body.sha256 or "").encode())
        return Request(request_hash=whole, problem="request body cut at the capture limit")
    unpacked = unpack(body.content, headers)
    if not unpacked.data and not unpacked.problem:
        return Request(request_hash=digest(b""), problem=None if api is Api.OTHER else "request body is empty")
    if unpacked.problem:
        return _not_read(unpacked.data or body.content, unpacked.problem)
    try:
        return _read_data(api, target, unpacked.data, known)
    except UnfaithfulJson as error:
        return _read_mended(api, target, unpacked.data, known, str(error))


def _not_read(data: bytes, why: str) -> Request:
    return Request(request_hash=digest(data), problem=f"request body is not JSON: {why}")


def _read_mended(api: Api, target: str, data: bytes, known: KnownMessages, why: str) -> Request:
    """What the upstream may well have read of a body that is nearly JSON, such as one with half of an emoji. It
    belongs to its conversation all the same; the bytes are kept, for it cannot be rebuilt."""
    read = read_json(data) if SLOTS[api] else None
    if read is None:
        return _not_read(data, why)
    try:
        mended = _read_json(api, target, read.value, known)
    except UnfaithfulJson:
        return _not_read(data, why)
    return replace(mended, problem=f"request body is not quite JSON: {why}")


def _read_data(api: Api, target: str, data: bytes, known: KnownMessages) -> Request:
    """The news where it goes on from a request that is known, else all of it."""
    key = (api, target, beginning(data))
    found = known.requests.find(key, data)
    if found is not None:
        base, news = found
        request = _grown(api, target, base, news, known) if news else base.known
        if request is not None:
            known.requests.grow(base, data, request)
            return request
    request = _read_json(api, target, parse(data), known)
    if SLOTS[api]:
        known.requests.put(key, data, request)
    return request


def _read_json(api: Api, target: str, body: Json, known: KnownMessages) -> Request:
    skeleton, parts, rest = split(body, SLOTS[api])
    fields = as_dict(rest)
    readings = _read_parts(api, parts, known)
    found = tuple([reading.message for reading in readings])
    id_count = count_ids(readings)
    is_foreign = api is not Api.OTHER and not isinstance(body, dict)
    return Request(
        fields=fields,
        skeleton=skeleton,
        readings=tuple(readings),
        messages=found,
        request_hash=_request_hash(skeleton, found),
        model=as_str(fields.get("model")),
        is_stream=fields.get("stream") is True,
        tool_names=_tool_names(api, fields, readings),
        mentioned_ids=mentioned_ids(ids_outside(target, fields), readings, id_count),
        id_count=id_count,
        problem="request body is not a JSON object" if is_foreign else None,
    )


def _grown(api: Api, target: str, base: Base[Request], news: bytes, known: KnownMessages) -> Request | None:
    """The request that `base` becomes by these messages; None where it is not so simple."""
    former, slot = base.known, base.slot
    try:
        values = parse(news)
    except UnfaithfulJson:
        return None  # the reason is found in the whole
    if len(values) != 1 or not values[0]:
        return None
    skeleton = lengthened(former.skeleton, slot, len(values[0]))
    if skeleton is None:
        return None
    new = _read_parts(api, [(slot, value) for value in values[0]], known)
    end = _end_of(slot, former.messages)
    readings = (*former.readings[:end], *new, *former.readings[end:])
    found = (*former.messages[:end], *[reading.message for reading in new], *former.messages[end:])
    id_count = former.id_count + count_ids(new)
    if id_count <= MAX_TEXT_IDS:
        mentioned = more_mentioned_ids(former.mentioned_ids, new)
    else:
        mentioned = mentioned_ids(ids_outside(target, former.fields), readings, id_count)
    return Request(
        fields=former.fields,
        skeleton=skeleton,
        readings=readings,
        messages=found,
        request_hash=_request_hash(skeleton, found),
        model=former.model,
        is_stream=former.is_stream,
        tool_names=former.tool_names,
        mentioned_ids=mentioned,
        id_count=id_count,
    )


def _end_of(slot: str, messages: tuple[Message, ...]) -> int:
    end = len(messages)
    while messages[end - 1].slot != slot:
        end -= 1
    return end


def _request_hash(skeleton: bytes, messages: Iterable[Message]) -> bytes:
    """The skeleton and the addresses of the messages say exactly as much as the canonical body would."""
    return digest(skeleton + b"".join([message.content_hash for message in messages]))


def _tool_names(api: Api, fields: dict[str, Json], readings: list[Reading]) -> tuple[str, ...]:
    """Of `tools`, which are read already where the API has them, and of the older `functions`."""
    if "tools" in SLOTS[api]:
        offered = tuple([name for reading in readings for name in reading.tool_names])
    else:
        offered = tool_names(fields.get("tools"))
    return offered + tool_names(fields.get("functions"))


def _read_parts(api: Api, parts: list[tuple[str, Json]], known: KnownMessages) -> list[Reading]:
    readings: list[Reading] = []
    for slot, value in parts:
        content = dump(value)
        place = (api, slot, content)
        reading = known.get(place)
        if reading is None:
            message = known.get_answer(place) or build_message(
                slot, value, _READERS[api, slot](value), content=content
            )
            reading = read_ids(value, message)
            known.put(place, reading)
        readings.append(reading)
    return readings


def _read_tools(value: Json) -> Pieces:
    # The tools themselves tell two lists apart: names and descriptions alone do not.
    return Pieces("", (tool_definitions_text(value),), others=(value,))


def _read_system(value: Json) -> Pieces:
    return messages.read_message(value, role="system")


_READERS: dict[tuple[Api, str], Callable[[Json], Pieces]] = {
    (Api.CHAT_COMPLETIONS, "messages"): chat.read_message,
    (Api.CHAT_COMPLETIONS, "tools"): _read_tools,
    (Api.COMPLETIONS, "prompt"): completions.read_prompt,
    (Api.EMBEDDINGS, "input"): completions.read_embedding_input,
    (Api.RESPONSES, "instructions"): _read_system,
    (Api.RESPONSES, "input"): responses.read_item,
    (Api.RESPONSES, "tools"): _read_tools,
    (Api.MESSAGES, "system"): _read_system,
    (Api.MESSAGES, "messages"): messages.read_message,
    (Api.MESSAGES, "tools"): _read_tools,
}
