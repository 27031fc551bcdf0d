"""Ids inside a request that an upstream may have issued earlier: the strongest link between two calls.

Exact values at the places where dialects put ids, and, because some frameworks (smolagents) send ids only
inside text, also words of the text that look like one. Nothing relies on a prefix such as `call_`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from watchllm_proxy.decode.pieces import tool_names
from watchllm_proxy.decode.reading import Reading
from watchllm_proxy.decode.values import Json, as_list, as_str
from watchllm_proxy.records import Message

MAX_ID_CHARACTERS = 1024  # ids of some Responses items are sealed state of several hundred characters
MAX_FIELD_IDS = 5_000
MAX_TEXT_IDS = 500
MAX_SCANNED_CHARACTERS = 256 * 1024
"""Of one message, its end counts: that is where the newest words stand."""

_ID_KEYS = ("id", "call_id", "tool_call_id", "tool_use_id", "item_id", "approval_request_id", "response_id")
_ANY_ID_KEY = frozenset(_ID_KEYS)
_NESTED_KEYS = ("tool_calls", "content", "reasoning_details")
_TOP_LEVEL_KEYS = (
    "previous_response_id",
    "conversation",
    "conversation_id",
    "container",
    "response_id",
    "item_id",
)
MIN_WORD_CHARACTERS, MAX_WORD_CHARACTERS = 12, 128
_DIGIT, _LETTER = re.compile(rb"[0-9]"), re.compile(rb"[A-Za-z]")
_WORD_BYTES = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
_WORDS_TO_W = bytes(0x77 if byte in _WORD_BYTES else 0x20 for byte in range(256))
_LONG_WORD = b"w" * MIN_WORD_CHARACTERS


def ids_outside(target: str, fields: dict[str, Json]) -> list[str]:
    """Those in the path, and in the body's own fields."""
    return [*_path_ids(target.partition("?")[0]), *_ids_at(fields, _TOP_LEVEL_KEYS)]


def count_ids(readings: Iterable[Reading]) -> int:
    """Repeats counted."""
    return sum([len(reading.field_ids) + len(reading.words) for reading in readings])


def mentioned_ids(outside: Sequence[str], readings: Sequence[Reading], count: int) -> tuple[str, ...]:
    """Those of all readings (`count` of them), in order of their last appearance; of too many the last."""
    if count > MAX_TEXT_IDS:
        return _last_ids(readings, outside)
    return _by_last_appearance([*outside, *_found_in(readings)])  # nearly always: all


def more_mentioned_ids(former: tuple[str, ...], news: Iterable[Reading]) -> tuple[str, ...]:
    """The same of a request which has grown by `news`, and has not too many even so."""
    found = _found_in(news)
    if not found:
        return former
    new = _by_last_appearance(found)
    return former + new if frozenset(former).isdisjoint(new) else _by_last_appearance([*former, *new])


def _found_in(readings: Iterable[Reading]) -> list[str]:
    return [found for reading in readings for found in (*reading.field_ids, *reading.words)]


def _by_last_appearance(found: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(reversed(found)))[::-1]


def _last_ids(readings: Sequence[Reading], outside: Sequence[str]) -> tuple[str, ...]:
    backwards: dict[str, None] = {}
    field_ids = text_ids = 0
    for reading in reversed(readings):
        if reading.words and text_ids < MAX_TEXT_IDS:
            for word in reversed(reading.words[-(MAX_TEXT_IDS - text_ids) :]):
                if word not in backwards:
                    text_ids += 1
                    backwards[word] = None
        if field_ids < MAX_FIELD_IDS:
            for found in reversed(reading.field_ids):
                if found not in backwards:
                    field_ids += 1
                    backwards[found] = None
    for found in reversed(outside):
        backwards.setdefault(found)
    return tuple(reversed(backwards))


def read_ids(value: Json, message: Message) -> Reading:
    """The message with the ids in it: `value` is its JSON. Tool schemas mention nothing but names."""
    if message.slot == "tools":
        return Reading(message, tool_names=tool_names(value))
    return Reading(message, tuple(_ids_of(value)), tuple(_words(message.text)))


def _ids_of(value: Json) -> list[str]:
    """The ids of a message: its own, and those of its tool calls and content parts."""
    if not isinstance(value, dict):
        return []
    found = [] if _ANY_ID_KEY.isdisjoint(value) else [*_ids_at(value, _ID_KEYS)]
    for key in _NESTED_KEYS:
        for item in as_list(value.get(key)):
            if isinstance(item, dict) and not _ANY_ID_KEY.isdisjoint(item):
                found += _ids_at(item, _ID_KEYS)
    return found


def _ids_at(value: dict[str, Json], keys: Sequence[str]) -> Iterator[str]:
    """In the order of `keys`: what is found must not hang on the order in which an object was written."""
    for key in keys:
        if key in value:
            found = value[key]
            text = as_str(found.get("id") if isinstance(found, dict) else found)  # conversation: {"id": …}
            if text and len(text) <= MAX_ID_CHARACTERS:
                yield text


def _words(text: str) -> list[str]:
    """Words that look like an id: 12 to 128 of [A-Za-z0-9_-], with a digit and a letter.

    Found through a map of the text in which every word is a run of "w": several times as fast as a regular
    expression, and this reads all text of every request.
    """
    raw = text[-MAX_SCANNED_CHARACTERS:].encode("ascii", "replace")
    runs = raw.translate(_WORDS_TO_W)
    words = []
    start = runs.find(_LONG_WORD)
    while start >= 0:
        end = runs.find(b" ", start)
        word = raw[start:] if end < 0 else raw[start:end]
        if len(word) <= MAX_WORD_CHARACTERS and _DIGIT.search(word) and _LETTER.search(word):
            words.append(word.decode())
        start = runs.find(_LONG_WORD, start + len(word))
    return words


@lru_cache(maxsize=64)
def _path_ids(path: str) -> tuple[str, ...]:
    """/v1/conversations/ID/items"""
    return tuple(word for segment in path.split("/") for word in _words(segment) if word == segment)
