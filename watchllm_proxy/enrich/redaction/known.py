"""What texts were redacted to: a message says the same in several ways, and all of them repeat some words."""

from __future__ import annotations

from collections import Counter
from typing import Generic, NamedTuple, TypeVar

_ENTRY_BYTES = 400

Text = TypeVar("Text", str, bytes)


class Outcome(NamedTuple, Generic[Text]):
    text: Text | None  # None: as it was
    counts: Counter[str]
    taken: frozenset[bytes]


class KnownTexts(Generic[Text]):
    """By text, context and depth of JSON in JSON. Only saves work. Of some `max_bytes`; then it begins anew."""

    def __init__(self, max_bytes: int = 8 * 1024 * 1024) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._known: dict[tuple[Text, bytes, int], Outcome[Text]] = {}

    def get(self, text: Text, context: bytes = b"", depth: int = 0) -> Outcome[Text] | None:
        return self._known.get((text, context, depth))

    def put(self, outcome: Outcome[Text], text: Text, context: bytes = b"", depth: int = 0) -> None:
        taken_bytes = _ENTRY_BYTES + len(text) + (0 if outcome.text is None else 2 * len(outcome.text))
        self._bytes += taken_bytes
        if self._bytes > self._max_bytes:
            self._known.clear()
            self._bytes = taken_bytes
        self._known[text, context, depth] = outcome
