"""The request's side of a Call: messages, skeleton, hashes and ids."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field

from watchllm_proxy.decode import chat, completions, messages, responses
from watchllm_proxy.decode.canonical import UnfaithfulJson, digest, dump, parse
from watchllm_proxy.decode.content import unpack
from watchllm_proxy.decode.dialects import SLOTS
from watchllm_proxy.decode.known import KnownMessages, Reading
from watchllm_proxy.decode.mentions import mentioned_ids, read_ids
from watchllm_proxy.decode.pieces import Pieces, build_message, tool_definitions_text, tool_names
from watchllm_proxy.decode.rebuild import split
from watchllm_proxy.decode.values import Json, as_dict, as_str
from watchllm_proxy.records import Api, Body, Headers, Message, record


@record
class Request:
    """A request body, understood, or the `problem` that kept us from it. `fields` is the body's object, or {}."""

    fields: dict[str, Json] = field(default_factory=dict)
    skeleton: bytes = b""
    messages: tuple[Message, ...] = ()
    request_hash: bytes = b""
    model: str | None = None
    is_stream: bool = False
    tool_names: tuple[str, ...] = ()
    mentioned_ids: tuple[str, ...] = ()
    problem: str | None = None


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
    try:
        if unpacked.problem:
            raise UnfaithfulJson(unpacked.problem)
        parsed = parse(unpacked.data)
    except UnfaithfulJson as error:
        return Request(
            request_hash=digest(unpacked.data or body.content), problem=f"request body is not JSON: {error}"
        )
    return _read_json(api, target, parsed, known)


def _read_json(api: Api, target: str, body: Json, known: KnownMessages) -> Request:
    fields = as_dict(body)
    skeleton, parts = split(body, SLOTS[api])
    readings = _read_parts(api, parts, known)
    found = tuple([reading.message for reading in readings])
    is_foreign = api is not Api.OTHER and not isinstance(body, dict)
    return Request(
        fields=fields,
        skeleton=skeleton,
        messages=found,
        # The skeleton and the addresses of the messages say exactly as much as the canonical body would.
        request_hash=digest(skeleton + b"".join([message.content_hash for message in found])),
        model=as_str(fields.get("model")),
        is_stream=fields.get("stream") is True,
        tool_names=_tool_names(api, fields, readings),
        mentioned_ids=mentioned_ids(target, body, readings),
        problem="request body is not a JSON object" if is_foreign else None,
    )


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
            message = build_message(slot, value, _READERS[api, slot](value), content=content)
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
