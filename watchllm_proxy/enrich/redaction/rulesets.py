"""The rules of a project, in order, and which of them a text is worth trying: told in one pass over it.

Most texts hold nothing, and trying twenty patterns on each cost more than all else that redaction does. RE2's
`Set` runs all patterns at once and says which of them match at least once; only those are run, for where.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import re2

from watchllm_proxy.enrich.redaction.rules import Span, options

SHORTEST_VALUE = 4
_SHORTEST_OF_LETTERS = 16
"""A shorter word of letters alone holds nothing: the shortest key is longer."""

_SET_BYTES = 64 << 20
"""At most, for the states that real texts lead to: all kinds of text together take a few MiB."""


class Finder(Protocol):
    """A rule: `rules.Rule`, or one that needs more than a pattern. Where `pattern` does not match, nothing is."""

    @property
    def kind(self) -> str: ...
    @property
    def pattern(self) -> Any: ...
    def spans(self, text: bytes, context: bytes) -> Iterable[Span]: ...


class Ruleset:
    """`shared` are ours, and know what no value of theirs can be; `own` may find anything."""

    def __init__(self, shared: Sequence[Finder], own: Sequence[Finder] = ()) -> None:
        self._shared = tuple(shared)
        self._own = tuple(own)
        self._set = _set_of(self._shared)

    def __bool__(self) -> bool:
        return bool(self._shared or self._own)

    def __iter__(self) -> Iterator[Finder]:
        return iter((*self._shared, *self._own))

    def with_own(self, own: Sequence[Finder]) -> Ruleset:
        """The same rules and these, without compiling them once more."""
        extended = Ruleset.__new__(Ruleset)
        extended._shared, extended._set, extended._own = self._shared, self._set, tuple(own)
        return extended

    def is_plain(self, text: str, *, has_context: bool) -> bool:
        """Whether it is too short for any value: not worth a look."""
        if self._own:
            return not text
        if len(text) < SHORTEST_VALUE:
            return True
        return not has_context and len(text) < _SHORTEST_OF_LETTERS and text.isalpha()

    def candidates(self, text: bytes) -> Sequence[Finder]:
        """Those that may find something in it, in order. A project's own are always tried: there are few, and so
        none of them can slow the pass down."""
        if self._set is None:
            return self._own
        matching = self._set.Match(text)
        if matching is None or 0 not in matching:  # RE2 gave up: then it says nothing, not that nothing matches
            return (*self._shared, *self._own)
        if len(matching) == 1:
            return self._own
        return (*(self._shared[number - 1] for number in sorted(matching) if number), *self._own)


def _set_of(rules: Sequence[Finder]) -> Any:
    """Number 0 matches every text, and so tells an answer from none."""
    if not rules:
        return None
    limits = options(ignore_case=False)
    limits.max_mem = _SET_BYTES
    patterns = re2.Set.SearchSet(limits)
    patterns.Add(b"")
    for rule in rules:
        pattern: bytes = rule.pattern.pattern
        patterns.Add(pattern if rule.pattern.options.case_sensitive else b"(?i:" + pattern + b")")
    patterns.Compile()
    return patterns
