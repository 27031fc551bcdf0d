"""Tools that a call offers to the model, and how much of each request their schemas take.

A step tells it where its run offers these tools for the first time: the same list comes with nearly every request.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import orjson

from watchllm_proxy.records import Call, Message

BYTES_PER_TOKEN = 4
"""Of schemas, about: what no upstream tells apart from the rest of its input is estimated."""

_RUN_BY_CLIENT = frozenset({None, "function", "custom"})
"""A provider runs other types itself: whether those were used no tool call tells."""


def offered_tools(call: Call) -> str | None:
    """JSON: estimated tokens by name, in the order they are offered. None: no tools that a client would run."""
    if not call.tool_names:
        return None
    sizes: dict[str, int] = {}
    for message in call.messages:
        if message.slot == "tools":
            sizes |= _sizes(_Definitions(message))
    return orjson.dumps(sizes).decode() if sizes else None


class _Definitions:
    """Equal where the content is equal: it is long, and the same list comes again and again."""

    __slots__ = ("content", "content_hash")

    def __init__(self, message: Message) -> None:
        self.content, self.content_hash = message.content, message.content_hash

    def __hash__(self) -> int:
        return hash(self.content_hash)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Definitions) and self.content_hash == other.content_hash


@lru_cache(maxsize=256)
def _sizes(definitions: _Definitions) -> dict[str, int]:
    found: object = orjson.loads(definitions.content)
    return dict(_named(found)) if isinstance(found, list) else {}


def _named(definitions: list[object]) -> Iterator[tuple[str, int]]:
    for each in definitions:
        if not isinstance(each, dict) or each.get("type") not in _RUN_BY_CLIENT:
            continue
        function = each.get("function")
        name = (function if isinstance(function, dict) else each).get("name")
        if isinstance(name, str) and name:
            yield name, len(orjson.dumps(each)) // BYTES_PER_TOKEN
