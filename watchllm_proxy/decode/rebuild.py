"""A request body taken apart, and put together again.

The skeleton is what is left of a body when its messages are taken out, in canonical JSON:

    {"rest": {"model": "gpt-4o", …}, "slots": {"messages": 12, "tools": "whole"}}

`slots` names each field that was taken out, and how: a number is a list of that many messages, "whole" a value
(a string, an object, the array of tools, a list of token ids) that is one message. A body that holds no messages
has empty `slots`, and `rest` is the body itself, whatever its type.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

import orjson

from watchllm_proxy.decode.canonical import dump
from watchllm_proxy.decode.values import Json

WHOLE = "whole"
_SLOTS = b'"slots":'


class StoredMessage(Protocol):
    """What is needed of a message: records.Message has it, and so has a row of the store."""

    @property
    def slot(self) -> str: ...
    @property
    def content(self) -> bytes: ...


class Split(NamedTuple):
    """`messages` are (slot, value) in the order of the slots; `rest` is what is left of the body without them."""

    skeleton: bytes
    messages: list[tuple[str, Json]]
    rest: Json


def split(body: Json, slots: Iterable[str]) -> Split:
    """The body taken apart, whatever its type."""
    shapes: dict[str, int | str] = {}
    values: list[tuple[str, Json]] = []
    if isinstance(body, dict):
        for slot in slots:
            value = body.get(slot)
            if value is None:  # absent, or null: stays where it is
                continue
            if _is_list_of_messages(slot, value):
                shapes[slot] = len(value)
                values += [(slot, item) for item in value]
            else:
                shapes[slot] = WHOLE
                values.append((slot, value))
    rest = {key: value for key, value in body.items() if key not in shapes} if shapes else body
    return Split(dump({"rest": rest, "slots": shapes}), values, rest)


def lengthened(skeleton: bytes, slot: str, more: int) -> bytes | None:
    """The skeleton of that body with so many more messages in this slot; None where that is no list of them."""
    before, name, slots = skeleton.rpartition(_SLOTS)
    shapes = orjson.loads(slots[:-1])
    count = shapes.get(slot)
    if type(count) is not int:
        return None
    shapes[slot] = count + more
    return before + name + dump(shapes) + b"}"


def _is_list_of_messages(slot: str, value: Json) -> bool:
    """Tools are one message: they are resent as they are. So is a prompt given as token ids."""
    if slot == "tools" or not isinstance(value, list):
        return False
    return not (slot in ("prompt", "input") and value and isinstance(value[0], int))


def rebuild(skeleton: bytes, messages: Iterable[StoredMessage]) -> bytes:
    """The JSON of a request, equal to the one sent but for the order of keys and white space.

    `messages` are those of the call, in their order. Raises ValueError when skeleton and messages do not
    belong together (or the skeleton is that of a call that could not be understood).
    """
    if not skeleton:
        raise ValueError("no skeleton: the request had no body, or one that was not understood")
    parts = orjson.loads(skeleton)
    waiting: dict[str, list[bytes]] = {}
    for message in messages:
        waiting.setdefault(message.slot, []).append(message.content)
    fields = []
    for slot, shape in parts["slots"].items():
        contents = waiting.pop(slot, [])
        if len(contents) != (1 if shape == WHOLE else shape):
            raise ValueError(f"the skeleton wants {shape} of {slot!r}, there are {len(contents)} messages")
        content = contents[0] if shape == WHOLE else b"[" + b",".join(contents) + b"]"
        fields.append(dump(slot) + b":" + content)
    if waiting:
        raise ValueError(f"the skeleton has no place for {sorted(waiting)}")
    if not parts["slots"]:
        return dump(parts["rest"])
    rest = dump(parts["rest"])[1:-1]
    return b"{" + b",".join([*fields, *([rest] if rest else [])]) + b"}"
