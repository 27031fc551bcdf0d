"""All rules over one text: spans that do not overlap, and the text with tags in their place."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple, Protocol

from watchllm_proxy.enrich.redaction.credentials import CREDENTIALS, field_secret, is_secret_field
from watchllm_proxy.enrich.redaction.identities import GROUPED_IDENTITIES, IDENTITIES, names_identity
from watchllm_proxy.enrich.redaction.kinds import RedactionKind, RedactionMode
from watchllm_proxy.enrich.redaction.personal import PERSONAL
from watchllm_proxy.enrich.redaction.phones import PHONES, names_phone
from watchllm_proxy.enrich.redaction.rules import Span, TooMany, compiled
from watchllm_proxy.enrich.redaction.tags import TAG, Tags

MAX_PASSES = 4
"""What follows a value may only show when that is gone. Text in which more keeps showing is dropped."""

_MAX_NAME_CHARACTERS = 80
_ENTRY_BYTES = 400
_MIN_TELLING_BYTES = 16
"""A shorter word of letters alone holds nothing: the shortest key is longer."""

DROPPED = b"[the rest is not stored: more was found in it than can be looked at]"

_ENCODED = compiled(r"([A-Za-z0-9+/]{256,}={0,2})")
"""An image or a sound in base64: what looks like a value in it is none."""


class Finder(Protocol):
    """A rule: `rules.Rule`, or one that needs more than a pattern."""

    @property
    def kind(self) -> RedactionKind: ...
    def spans(self, text: bytes, context: bytes) -> Iterable[Span]: ...


RULES: dict[RedactionMode, tuple[Finder, ...]] = {
    RedactionMode.OFF: (),
    RedactionMode.SECRETS: CREDENTIALS,
    RedactionMode.ALL: (*CREDENTIALS, *PERSONAL[:2], *IDENTITIES, *PERSONAL[2:], *PHONES, *GROUPED_IDENTITIES),
}
"""In the order in which they may claim a place: an address in a password is a password."""


class Outcome(NamedTuple):
    text: bytes
    counts: Counter[RedactionKind]
    taken: frozenset[bytes]


class KnownTexts:
    """What texts were redacted to: a message says the same in several ways, and all of them repeat some words.

    Only saves work. Takes some `max_bytes`, and then begins anew.
    """

    def __init__(self, max_bytes: int = 8 * 1024 * 1024) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._known: dict[tuple[bytes, bytes], Outcome] = {}

    def get(self, text: bytes, context: bytes) -> Outcome | None:
        return self._known.get((text, context))

    def put(self, text: bytes, context: bytes, outcome: Outcome) -> None:
        self._bytes += _ENTRY_BYTES + len(text) + (0 if outcome.text is text else 2 * len(outcome.text))
        if self._bytes > self._max_bytes:
            self._known.clear()
            self._bytes = _ENTRY_BYTES + 2 * len(text)
        self._known[text, context] = outcome


@dataclass(slots=True)
class Redaction:
    """Redacts texts of one project, and counts what it finds by kind."""

    rules: Sequence[Finder]
    tags: Tags
    counts: Counter[RedactionKind] = field(default_factory=Counter)
    taken: set[bytes] = field(default_factory=set)  # what stood where tags are now
    known: KnownTexts = field(default_factory=KnownTexts)

    def text(self, text: bytes, context: bytes = b"") -> bytes:
        """With a tag for each value. `context`: the name of the field whose value the text is.

        Redacting the result again changes nothing: this goes on until nothing is found.
        """
        if len(text) < _MIN_TELLING_BYTES and not context and text.isalpha():
            return text
        known = self.known.get(text, context)
        if known is None:
            alone = Redaction(self.rules, self.tags)
            known = Outcome(alone._redacted(text, context), alone.counts, frozenset(alone.taken))
            self.known.put(text, context, known)
        redacted, counts, taken = known
        if counts:
            self.counts.update(counts)
            self.taken.update(taken)
        return redacted

    def _redacted(self, text: bytes, context: bytes) -> bytes:
        for _ in range(MAX_PASSES):
            spans, limit = find(text, context, self.rules)
            if not spans and limit is None:
                return text
            text = self._replaced(text, spans, limit)
            if limit is not None:
                return text
        spans, _ = find(text, context, self.rules)
        return self._replaced(text, (), spans[0].start) if spans else text

    def _replaced(self, text: bytes, spans: Sequence[Span], limit: int | None) -> bytes:
        pieces: list[bytes] = []
        at = 0
        for start, end, kind, canonical in spans:
            if limit is not None and end > limit:
                break
            pieces += (text[at:start], self.tags.tag(kind, canonical))
            self.counts[kind] += 1
            self.taken.add(text[start:end])
            at = end
        if limit is None:
            return b"".join((*pieces, text[at:]))
        self.counts[RedactionKind.DROPPED] += 1
        return b"".join((*pieces, text[at : max(at, limit)], DROPPED))


def find(text: bytes, context: bytes, rules: Sequence[Finder]) -> tuple[list[Span], int | None]:
    """What is to go, in order; and from where on not every rule has looked: None where all of the text was."""
    if not rules or len(text) < 2:
        return [], None
    if (whole := field_secret(text, context)) is not None and TAG.fullmatch(text[whole.start : whole.end]) is None:
        return [whole], None
    claimed: bytearray | None = None
    encoded: list[tuple[int, int]] = []
    found: list[Span] = []
    limit: int | None = None
    for rule in rules:
        try:
            for span in rule.spans(text, context):
                if claimed is None:
                    claimed, encoded = _tagged(text), _encoded(text)
                if not claimed.count(1, span.start, span.end) and not _is_inside(span, encoded):
                    claimed[span.start : span.end] = b"\1" * (span.end - span.start)
                    found.append(span)
        except TooMany as exc:
            limit = exc.at if limit is None else min(limit, exc.at)
    found.sort()
    return found, limit


@lru_cache(maxsize=4096)
def telling(name: str) -> bytes:
    """The name of a field as context for its value; empty where it says nothing about it."""
    context = name[:_MAX_NAME_CHARACTERS].encode("utf-8", "replace")
    return context if is_secret_field(context) or names_phone(context) or names_identity(context) else b""


def _tagged(text: bytes) -> bytearray:
    """A 1 for each byte of a tag: no rule may claim it."""
    claimed = bytearray(len(text))
    for match in TAG.finditer(text):
        start, end = match.span(1)
        claimed[start:end] = b"\1" * (end - start)
    return claimed


def _encoded(text: bytes) -> list[tuple[int, int]]:
    """Where images and the like are, in order."""
    return [match.span(1) for match in _ENCODED.finditer(text)]


def _is_inside(span: Span, regions: Sequence[tuple[int, int]]) -> bool:
    """Whether it is only a part of one of them: a key that holds, or is, a long word is still a key."""
    at = bisect_right(regions, (span.start, len(regions) and regions[-1][1])) - 1
    if at < 0:
        return False
    start, end = regions[at]
    return start <= span.start and span.end <= end and (start, end) != (span.start, span.end)
