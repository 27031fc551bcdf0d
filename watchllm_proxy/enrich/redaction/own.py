"""Rules of a project's own: a name and a pattern of RE2. What it finds is `[custom.name_7kdfjwqmzxbt]`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import re2

from watchllm_proxy.enrich.redaction.kinds import own_kind
from watchllm_proxy.enrich.redaction.rules import Found, Place, Rule, as_it_is, options

MAX_RULES = 20
MAX_PATTERN_CHARACTERS = 1_000
MAX_PROGRAM_BYTES = 1 << 20
"""RE2 refuses patterns that compile to more."""

MAX_INSTRUCTIONS = 1_000
"""Of the compiled program: in the worst text each costs some nanoseconds a byte."""

MAX_NAME_LETTERS = 24


@dataclass(frozen=True, slots=True)
class OwnRule:
    """`name` says in its tag what stood there: small letters. The first group of `pattern` is the value, or else
    all of it."""

    name: str
    pattern: str


class BadRule(ValueError):
    """One of a project's rules cannot be used. `number` counts from 1; `field` is "name" or "pattern"."""

    def __init__(self, number: int, field: str, reason: str) -> None:
        super().__init__(f"rule {number}: {reason}")
        self.number = number
        self.field = field
        self.reason = reason


def own_rules(rules: Iterable[OwnRule]) -> tuple[Rule, ...]:
    """To find with. Raises `BadRule` for one that is misnamed, too long, too big or no pattern of RE2, for one
    that matches nothing at all, which would find a value everywhere, and for one too many."""
    made: list[Rule] = []
    for number, rule in enumerate(rules, start=1):
        if number > MAX_RULES:
            raise BadRule(number, "pattern", f"a project has at most {MAX_RULES} rules")
        made.append(_own_rule(number, rule))
    return tuple(made)


def _own_rule(number: int, rule: OwnRule) -> Rule:
    is_name = rule.name.isascii() and rule.name.isalpha() and rule.name.islower()
    if not is_name or len(rule.name) > MAX_NAME_LETTERS:
        raise BadRule(number, "name", f"a name is 1 to {MAX_NAME_LETTERS} of the letters a-z, such as employee")
    if len(rule.pattern) > MAX_PATTERN_CHARACTERS:
        raise BadRule(number, "pattern", f"the pattern is longer than {MAX_PATTERN_CHARACTERS} characters")
    limits = options(ignore_case=False)
    limits.max_mem = MAX_PROGRAM_BYTES
    pattern = rule.pattern.encode("utf-8", "replace")
    try:
        if re2.compile(pattern, limits).groups == 0:
            pattern = b"(" + pattern + b")"
        program = re2.compile(pattern, limits)
    except re2.error as exc:
        raise BadRule(number, "pattern", "RE2 does not take this pattern: it is too big, or none") from exc
    if program._regexp.ProgramSize() > MAX_INSTRUCTIONS:  # the library has no public word for it
        raise BadRule(number, "pattern", "it can take too long: shorten its repetitions, such as {1,500}")
    if any(match.start() == match.end() for sample in (b"", b"a 1-") for match in program.finditer(sample)):
        raise BadRule(number, "pattern", "the pattern matches where nothing stands")
    return Rule(own_kind(rule.name), program, _own_value)


def _own_value(place: Place) -> Found | None:
    return None if place.end <= place.start else as_it_is(place)
