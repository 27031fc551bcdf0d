"""What a rule is: a pattern of RE2, what must hold beside it, and its budget.

RE2 has no look-around, so a pattern says with group 1 which part of its match is the value. `ESCAPED` goes before
values that begin with a letter or a digit: in JSON that was escaped once more, `\\nsk-…` is a line that begins
with a key, and `%20bob@…` an address after a space.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import re2

from watchllm_proxy.enrich.redaction.kinds import RedactionKind

ESCAPED = r"(?:\\[nrtbf]|\\u[0-9A-Fa-f]{4}|%[0-9A-Fa-f]{2})"
APART = rf"(?:^|[^A-Za-z0-9]|{ESCAPED})"
"""Before a value that a letter or digit must not touch."""

MAX_PLACES = 6_000
"""How many places of one text a rule may look at. Real texts stay far below; past it, the rest is dropped."""

_LONG_BYTES = 2_000


class Span(NamedTuple):
    """A value found. `canonical` is what its tag is made of: equal values have equal ones, however written."""

    start: int
    end: int
    kind: str
    canonical: bytes


class Place(NamedTuple):
    """Where a pattern matched. `context` names the field that the text is the value of, if it is one."""

    text: bytes
    start: int
    end: int
    context: bytes

    @property
    def value(self) -> bytes:
        return self.text[self.start : self.end]

    def before(self, length: int) -> bytes:
        """What stands before the value, the name of its field included."""
        start = max(0, self.start - length)
        return (
            self.context + b": " + self.text[start : self.start] if start == 0 else self.text[start : self.start]
        )

    @property
    def is_part_of_code(self) -> bool:
        """`SER-0447…`: what stands before the hyphen makes it a name of something."""
        before = self.text[max(0, self.start - 2) : self.start]
        return len(before) == 2 and before[1:] in (b"-", b"_") and before[:1].isalnum()

    @property
    def is_part_of_row(self) -> bool:
        """Groups of digits go on before or behind it: an account, or a table."""
        before = self.text[max(0, self.start - 2) : self.start]
        after = self.text[self.end : self.end + 2]
        return (before[1:] == b" " and before[:1].isdigit()) or (after[:1] == b" " and after[1:].isdigit())


Found = tuple[int, int, bytes]
"""Where the value really is, and its canonical form."""

Check = Callable[[Place], Found | None]


class TooMany(Exception):
    """A rule came to more places than it may look at. `at`: so far everything was."""

    def __init__(self, at: int) -> None:
        self.at = at


@dataclass(frozen=True, slots=True)
class Rule:
    """`pattern` matches wherever there may be a value, and `check` has the last word.

    `scan` is the pattern without its group, for one whose match may be long: RE2 finds where a match ends a dozen
    times faster than where its groups are. Behind `checked_places`, for a check that takes long, all that has the
    form is taken for a value.
    """

    kind: str  # a `RedactionKind`, or what `kinds.own_kind` makes of a name
    pattern: Any  # re2 has no types
    check: Check
    scan: Any = None
    max_places: int = MAX_PLACES
    checked_places: int | None = None  # all

    def spans(self, text: bytes, context: bytes) -> Iterator[Span]:
        """Raises `TooMany` when its budget is used up."""
        for places, (start, end) in enumerate(self._places(text)):
            if places >= self.max_places:
                raise TooMany(start)
            place = Place(text, start, end, context)
            is_checked = self.checked_places is None or places < self.checked_places
            found = self.check(place) if is_checked else as_it_is(place)
            if found is not None:
                yield Span(found[0], found[1], self.kind, found[2])

    def _places(self, text: bytes) -> Iterator[tuple[int, int]]:
        if self.scan is None:
            for match in self.pattern.finditer(text):
                yield match.span(1)
            return
        for match in self.scan.finditer(text):
            start, end = match.span()
            value = self.pattern.match(text[start : min(end, start + _LONG_BYTES)])
            yield start + value.start(1), end if end > start + _LONG_BYTES else start + value.end(1)


def long_rule(
    kind: RedactionKind,
    lead: str,
    value: str,
    check: Check,
    *,
    ignore_case: bool = False,
    max_places: int = MAX_PLACES,
) -> Rule:
    """For a value that may be of any length, and ends where it can no longer go on."""
    pattern = compiled(f"{lead}({value})", ignore_case=ignore_case)
    scan = compiled(lead + value, ignore_case=ignore_case)
    return Rule(kind, pattern, check, scan, max_places)


def compiled(pattern: str, *, ignore_case: bool = False) -> Any:
    """For bytes. The pattern must have group 1."""
    return re2.compile(pattern.encode(), options(ignore_case=ignore_case))


_NO_DIGITS = bytes(byte for byte in range(256) if not 0x30 <= byte <= 0x39)


def digits_of(written: bytes) -> bytes:
    return written.translate(None, _NO_DIGITS)


def as_it_is(place: Place) -> Found:
    return place.start, place.end, place.value


def options(*, ignore_case: bool) -> Any:
    """Of RE2, for bytes."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # bytes as they are: offsets need no conversion
    options.case_sensitive = not ignore_case
    options.log_errors = False
    return options


_DATE = compiled(
    r"^((?:(?:19|20)[0-9]{2}[-./ ](?:0?[1-9]|1[0-2])[-./ ][0-9]{1,2}"
    r"|[0-9]{1,2}[-./ ][0-9]{1,2}[-./ ](?:19|20)?[0-9]{2})"
    r"(?:[^0-9]|$))"
)


def is_date(written: bytes) -> bool:
    """Whether it begins with a date in digits."""
    return _DATE.search(written) is not None
