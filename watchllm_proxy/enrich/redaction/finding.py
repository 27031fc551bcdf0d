"""All rules over one text: spans that do not overlap, and the text with tags in their place."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from watchllm_proxy.enrich.redaction.credentials import CREDENTIALS, field_secret, is_secret_field
from watchllm_proxy.enrich.redaction.identities import GROUPED_IDENTITIES, IDENTITIES, names_identity
from watchllm_proxy.enrich.redaction.kinds import RedactionKind, RedactionMode
from watchllm_proxy.enrich.redaction.known import KnownTexts, Outcome, Text
from watchllm_proxy.enrich.redaction.papers import PAPERS, names_paper
from watchllm_proxy.enrich.redaction.personal import PERSONAL
from watchllm_proxy.enrich.redaction.phones import PHONES, names_phone
from watchllm_proxy.enrich.redaction.rules import ESCAPED, Span, TooMany, compiled
from watchllm_proxy.enrich.redaction.rulesets import Ruleset
from watchllm_proxy.enrich.redaction.tags import TAG, Tags

MAX_PASSES = 4
"""What follows a value may only show when that is gone. Text in which more keeps showing is dropped."""

_MAX_NAME_CHARACTERS = 80

DROPPED = b"[the rest is not stored: more was found in it than can be looked at]"

_ENCODED = compiled(rf"{ESCAPED}?([A-Za-z0-9+/]{{256,}}={{0,2}})")
"""An image or a sound in base64: what looks like a value in it is none.

An escaped line break before it is no part of it."""


RULES: dict[RedactionMode, Ruleset] = {
    RedactionMode.OFF: Ruleset(()),
    RedactionMode.SECRETS: Ruleset(CREDENTIALS),
    RedactionMode.ALL: Ruleset(
        (*CREDENTIALS, *PERSONAL[:2], *IDENTITIES, *PAPERS, *PERSONAL[2:], *PHONES, *GROUPED_IDENTITIES)
    ),
}
"""In the order in which they may claim a place: an address in a password is a password."""


@dataclass(slots=True)
class Redaction:
    """Redacts texts of one project, and counts what it finds by kind."""

    rules: Ruleset
    tags: Tags
    counts: Counter[str] = field(default_factory=Counter)
    taken: set[bytes] = field(default_factory=set)  # what stood where tags are now
    known: KnownTexts[str] = field(default_factory=KnownTexts)  # of these rules and tags

    def alone(self) -> Redaction:
        """One for a part, whose counts are then known for themselves."""
        return Redaction(self.rules, self.tags, known=self.known)

    def outcome(self, redacted: Text | None) -> Outcome[Text]:
        """What is to be known of the part that this one was for."""
        return Outcome(redacted, self.counts, frozenset(self.taken))

    def counted(self, part: Outcome[Text]) -> Text | None:
        """What it was redacted to: None where nothing was found in it."""
        if part.counts:
            self.counts.update(part.counts)
            self.taken.update(part.taken)
        return part.text

    def text(self, text: bytes, context: bytes = b"") -> bytes:
        """With a tag for each value. `context`: the name of the field whose value the text is.

        Redacting the result again changes nothing: this goes on until nothing is found. The same object where
        nothing was.
        """
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


def find(text: bytes, context: bytes, rules: Ruleset) -> tuple[list[Span], int | None]:
    """What is to go, in order; and from where on not every rule has looked: None where all of the text was."""
    if not rules or len(text) < 2:
        return [], None
    if (whole := field_secret(text, context)) is not None and TAG.fullmatch(text[whole.start : whole.end]) is None:
        return [whole], None
    claimed: bytearray | None = None
    encoded: list[tuple[int, int]] = []
    found: list[Span] = []
    limit: int | None = None
    for rule in rules.candidates(text):
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
    is_telling = is_secret_field(context) or any(
        names(context) for names in (names_phone, names_identity, names_paper)
    )
    return context if is_telling else b""


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
