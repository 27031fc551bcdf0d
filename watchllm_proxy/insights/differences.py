"""What changed between two requests: messages, word by word, parameters, tools, and where the prefix broke.

Requests are their JSON values, of any dialect: what is no message and no tool is a parameter. The work is bounded:
texts that have hardly a word in common are shown as one replaced by the other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import zip_longest

from watchllm_proxy.insights.caching import first_difference
from watchllm_proxy.insights.edits import edits

CONVERSATION = ("system", "instructions", "messages", "input", "prompt")
"""Fields of a request that hold messages, in the order in which upstreams read them; tools come before them."""

MAX_WORDS_CHARACTERS = 200_000
"""Of the part of a text that changed. What is longer is not taken apart into words."""

_WORD = re.compile(r"\w+\s*|[^\w\s]\s*|\s+")


class Change(StrEnum):
    SAME = "same"
    CHANGED = "changed"
    ADDED = "added"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of words. Those that are not ADDED make the text of before, those that are not REMOVED that of now."""

    change: Change
    text: str


@dataclass(frozen=True, slots=True)
class MessageChange:
    """`before` and `now`: its places in the two conversations, from 0; None: it is not in that one."""

    change: Change
    role: str
    before: int | None
    now: int | None
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class ValueChange:
    """A parameter (`reasoning.effort`) or the definition of a tool, as JSON; None: it is not in that request."""

    change: Change
    name: str
    before: str | None
    now: str | None
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class PrefixBreak:
    """Up to here an upstream could have read the request from its cache. `message_index`: from 0, of the
    conversation; None: the tools changed, which stand before every message. `character`: from 0, of its text."""

    message_index: int | None
    role: str
    character: int


@dataclass(frozen=True, slots=True)
class Differences:
    """`messages` are all of them, in order, the same ones too; `parameters` and `tools` only those that differ.
    `prefix_break` None: one request goes on where the other ends."""

    messages: tuple[MessageChange, ...]
    parameters: tuple[ValueChange, ...]
    tools: tuple[ValueChange, ...]
    prefix_break: PrefixBreak | None

    @property
    def is_same(self) -> bool:
        changed = any(each.change is not Change.SAME for each in self.messages)
        return not (changed or self.parameters or self.tools or self.prefix_break)

    def count(self, change: Change) -> int:
        """Of the messages."""
        return sum(each.change is change for each in self.messages)


def differences(before: object, now: object) -> Differences:
    """`before`, `now`: request bodies as parsed JSON; what is no object is one parameter without a name."""
    old, new = Request.of(before), Request.of(now)
    return Differences(
        tuple(_messages(old.conversation, new.conversation)),
        values(old.parameters, new.parameters),
        values(old.tools, new.tools),
        _prefix_break(old, new),
    )


# --- a request, taken apart -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Said:
    """A message of a request. `canonical`: equal where the messages are."""

    role: str
    value: object
    canonical: str


@dataclass(frozen=True, slots=True)
class Request:
    """What a body holds, in any dialect. `parameters` by their paths, `tools` by their names."""

    conversation: Sequence[Said]
    parameters: Mapping[str, object]
    tools: Mapping[str, object]
    tools_json: str

    @classmethod
    def of(cls, body: object) -> Request:
        if not isinstance(body, dict):
            return cls((), {} if body is None else {"": body}, {}, "")
        fields = {name: value for name, value in body.items() if value is not None}
        conversation = [said for slot in CONVERSATION if slot in fields for said in _said(slot, fields[slot])]
        rest = {name: value for name, value in body.items() if name not in CONVERSATION and name != "tools"}
        tools = fields.get("tools", [])
        return cls(conversation, dict(_flat(rest)), _tools_by_name(tools), _canonical(tools))


def _said(slot: str, value: object) -> Iterator[Said]:
    """Token ids and the parts of an Anthropic system prompt are one message."""
    is_list = isinstance(value, list) and slot != "system" and all(isinstance(each, dict | str) for each in value)
    role = {"input": "user", "prompt": "user"}.get(slot, "system")
    for each in value if is_list and isinstance(value, list) else [value]:
        yield Said(_role(each) or role, each, _canonical(each))


def _role(message: object) -> str:
    """Of an item of the Responses API that has none, its type."""
    if not isinstance(message, dict):
        return ""
    told = message.get("role") or message.get("type")
    return told if isinstance(told, str) else ""


def _flat(value: Mapping[str, object], path: str = "") -> Iterator[tuple[str, object]]:
    for name, each in value.items():
        if isinstance(each, dict) and each:
            yield from _flat(each, f"{path}{name}.")
        else:
            yield path + name, each


def _tools_by_name(tools: object) -> dict[str, object]:
    """A name that comes again is told by its number."""
    found: dict[str, object] = {}
    for tool in tools if isinstance(tools, list) else [tools]:
        name = base = _tool_name(tool)
        number = 1
        while name in found:
            number += 1
            name = f"{base} ({number})"
        found[name] = tool
    return found


def _tool_name(tool: object) -> str:
    if not isinstance(tool, dict):
        return "tool"
    function = tool.get("function")
    name = (function.get("name") if isinstance(function, dict) else None) or tool.get("name") or tool.get("type")
    return name if isinstance(name, str) else "tool"


# --- messages ---------------------------------------------------------------------------------------


def _messages(old: Sequence[Said], new: Sequence[Said]) -> Iterator[MessageChange]:
    """Messages that stand at one place between those that stayed are one message that changed, if their role is
    the same."""
    found = edits([each.canonical for each in old], [each.canonical for each in new])
    for is_same, from_old, to_old, from_new, to_new in found:
        if is_same:
            for index, other in zip(range(from_old, to_old), range(from_new, to_new), strict=True):
                same = Piece(Change.SAME, readable(old[index].value))
                yield MessageChange(Change.SAME, old[index].role, index, other, (same,))
            continue
        for before, now in zip_longest(range(from_old, to_old), range(from_new, to_new)):
            if before is not None and now is not None and old[before].role == new[now].role:
                pieces = words(*_texts(old[before].value, new[now].value))
                yield MessageChange(Change.CHANGED, new[now].role, before, now, pieces)
                continue
            if before is not None:
                gone = Piece(Change.REMOVED, readable(old[before].value))
                yield MessageChange(Change.REMOVED, old[before].role, before, None, (gone,))
            if now is not None:
                came = Piece(Change.ADDED, readable(new[now].value))
                yield MessageChange(Change.ADDED, new[now].role, None, now, (came,))


def _texts(before: object, now: object) -> tuple[str, str]:
    """Two messages that differ, as texts that differ: where they read the same, their JSON."""
    texts = readable(before), readable(now)
    return texts if texts[0] != texts[1] else (_pretty(before), _pretty(now))


def readable(message: object) -> str:
    """What a person reads of a message: its text, and as JSON all that it holds beside text and role."""
    if isinstance(message, str):
        return message
    if not isinstance(message, dict):
        return _pretty(message)
    rest = {name: value for name, value in message.items() if name != "role" and value is not None}
    content = rest.get("content")
    if isinstance(content, list) and all(_is_plain_text(part) for part in content):
        content = "\n".join(part["text"] for part in content)
    if not isinstance(content, str):
        return _pretty(rest)
    del rest["content"]
    return "\n".join(part for part in (content, _pretty(rest) if rest else "") if part)


def _is_plain_text(part: object) -> bool:
    return isinstance(part, dict) and part.keys() == {"type", "text"} and isinstance(part["text"], str)


# --- words ------------------------------------------------------------------------------------------


def words(before: str, now: str) -> tuple[Piece, ...]:
    """Two texts as what they share and what they do not."""
    start = _word_start(before, first_difference(before, now))
    end = first_difference(before[start:][::-1], now[start:][::-1])
    while end and before[-end].isalnum():  # to the end of that word
        end -= 1
    old, new = before[start : len(before) - end], now[start : len(now) - end]
    pieces = [
        Piece(Change.SAME, before[:start]),
        *_words(old, new),
        Piece(Change.SAME, before[len(before) - end :]),
    ]
    return tuple(_joined(piece for piece in pieces if piece.text))


def _word_start(text: str, character: int) -> int:
    """The beginning of the word that stands there, so that words are marked whole."""
    while character and text[character - 1].isalnum():
        character -= 1
    return character


def _words(old: str, new: str) -> Iterator[Piece]:
    if max(len(old), len(new)) > MAX_WORDS_CHARACTERS:
        yield from (Piece(Change.REMOVED, old), Piece(Change.ADDED, new))
        return
    before, now = _WORD.findall(old), _WORD.findall(new)
    for is_same, from_old, to_old, from_new, to_new in edits(before, now):
        if is_same:
            yield Piece(Change.SAME, "".join(before[from_old:to_old]))
        else:
            yield Piece(Change.REMOVED, "".join(before[from_old:to_old]))
            yield Piece(Change.ADDED, "".join(now[from_new:to_new]))


def _joined(pieces: Iterable[Piece]) -> Iterator[Piece]:
    last: Piece | None = None
    for piece in pieces:
        if last is not None and last.change is piece.change:
            last = Piece(piece.change, last.text + piece.text)
            continue
        if last is not None:
            yield last
        last = piece
    if last is not None:
        yield last


# --- parameters and tools ---------------------------------------------------------------------------


def values(old: Mapping[str, object], new: Mapping[str, object]) -> tuple[ValueChange, ...]:
    """Those that differ, in the order of the later request, then those that it has no more."""
    return tuple(_values(old, new))


def _values(old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[ValueChange]:
    for name in [*new, *(name for name in old if name not in new)]:
        before = _pretty(old[name]) if name in old else None
        now = _pretty(new[name]) if name in new else None
        if before == now:
            continue
        if before is None or now is None:
            change = Change.ADDED if before is None else Change.REMOVED
            yield ValueChange(change, name, before, now, (Piece(change, now or before or ""),))
        else:
            has_words = isinstance(old[name], str | dict | list) and isinstance(new[name], str | dict | list)
            pieces = words(before, now) if has_words else (Piece(Change.REMOVED, before), Piece(Change.ADDED, now))
            yield ValueChange(Change.CHANGED, name, before, now, pieces)


# --- the prefix -------------------------------------------------------------------------------------


def _prefix_break(old: Request, new: Request) -> PrefixBreak | None:
    if old.tools_json != new.tools_json:
        return PrefixBreak(None, "tools", first_difference(old.tools_json, new.tools_json))
    for index, (one, other) in enumerate(zip(old.conversation, new.conversation, strict=False)):
        if one.canonical != other.canonical:
            return PrefixBreak(index, other.role, first_difference(*_texts(one.value, other.value)))
    return None


# --- JSON -------------------------------------------------------------------------------------------


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _pretty(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, indent=2)
