"""Requests that go on from an earlier one, told by their bytes before any JSON is parsed.

An agent's next request is, as a rule, its last one to the byte, but for the messages that came since:

    earlier   {"model": "m", "messages": [A, B], "tools": […]}
    later     {"model": "m", "messages": [A, B, C, D], "tools": […]}
              ╰───────────── head ───────────╯╰news╯╰─── rest ────╯

Then only the news are parsed and read: what a call costs grows with what is new in it. Where the head ends is
proven by a parse, once for each conversation, so that no text passes for structure.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

import orjson

T = TypeVar("T")

MAX_ALIKE = 4
"""Conversations that begin alike, the latest: each costs a comparison."""

MAX_ENTRY_BYTES = 4 * 1024 * 1024
_ENTRY_OVERHEAD_BYTES = 1024
_COPIES = 3
"""What is known of a request holds its messages, content and text, beside the bytes."""

_USER = b'"user"'
_BEFORE, _AFTER = 96, 256
_SPACES = 256  # what is looked at for the end of an array that was printed prettily


@dataclass(slots=True)
class Base(Generic[T]):
    """The latest request of a conversation. Until it is proven where its messages end, `head` is all of it."""

    key: Hashable
    head: bytes
    known: T
    rest: bytes = b""
    slot: str = ""  # the field of the body that its messages are in

    @property
    def size_bytes(self) -> int:
        return _COPIES * (len(self.head) + len(self.rest)) + _ENTRY_OVERHEAD_BYTES


class GrowingRequests(Generic[T]):
    """What is known of the latest requests. Only saves work.

    Takes some `max_bytes` of memory; what was not asked for longest is forgotten first. For one thread.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bases: OrderedDict[Hashable, list[Base[T]]] = OrderedDict()
        self._bytes = 0

    @property
    def counted_bytes(self) -> int:
        return self._bytes

    def find(self, key: Hashable, raw: bytes) -> tuple[Base[T], bytes] | None:
        """The request that this one goes on from, and the news: JSON that stands for itself, the messages in an
        array in an array (as deep as they were). Nothing where it is the same request again."""
        for base in reversed(self._bases.get(key, ())):
            if (news := _news(base, raw)) is not None:
                return base, news
        return None

    def put(self, key: Hashable, raw: bytes, known: T) -> None:
        """A request that goes on from none that is known."""
        if len(raw) > MAX_ENTRY_BYTES:
            return
        alike = self._bases.setdefault(key, [])
        if len(alike) == MAX_ALIKE:
            self._bytes -= alike.pop(0).size_bytes
        alike.append(base := Base(key, raw, known))
        self._keep(key, base.size_bytes)

    def grow(self, base: Base[T], raw: bytes, known: T) -> None:
        """The request that went on from `base`, which `find` has given just now: in its place from now on."""
        former_bytes = base.size_bytes
        base.head, base.known = raw[: len(raw) - len(base.rest)], known
        self._keep(base.key, base.size_bytes - former_bytes)

    def _keep(self, key: Hashable, more_bytes: int) -> None:
        self._bases.move_to_end(key)
        self._bytes += more_bytes
        while self._bytes > self._max_bytes:
            _, alike = self._bases.popitem(last=False)
            self._bytes -= sum(base.size_bytes for base in alike)


def beginning(raw: bytes) -> bytes:
    """What tells conversations apart and stays as they grow: mostly what the user asks."""
    user = max(raw.find(_USER), 0)
    end = raw.find(b"}", user, user + _AFTER)  # of that message: what follows is another one later
    return raw[max(user - _BEFORE, 0) : user + _AFTER if end < 0 else end]


def _news(base: Base[T], raw: bytes) -> bytes | None:
    more_bytes = len(raw) - len(base.head) - len(base.rest)
    if more_bytes < 0 or not (base.slot or _prove(base, raw)):
        return b"" if more_bytes == 0 and raw == base.head else None
    if not raw.startswith(base.head) or not raw.endswith(base.rest):
        return None
    start = len(base.head)
    news = raw[start : start + more_bytes]
    if not news:
        return news
    return b"[[" + news[1:] + b"]]" if news.startswith(b",") else None


def _prove(base: Base[T], raw: bytes) -> bool:
    """Whether `raw` is the request `base` with something put at the end of one of its arrays: from then on it is
    known where that is."""
    whole = base.head
    at = _parting(whole, raw)
    if raw[at : at + 1] != b"," or not whole[at : at + _SPACES].lstrip().startswith(b"]"):
        return False
    if not raw.endswith(whole[at:]):
        return False
    try:
        parsed = orjson.loads(whole[:at] + b"]}")  # the last field of the body, and nothing else, is open there
    except orjson.JSONDecodeError:
        return False
    slot = next(reversed(parsed))
    if not parsed[slot]:
        return False  # there is nothing before the comma
    base.head, base.rest, base.slot = whole[:at], whole[at:], slot
    return True


def _parting(one: bytes, other: bytes) -> int:
    """Where two texts begin to differ."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
