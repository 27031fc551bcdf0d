"""Whether a project's own rule is fast on text made against it: tried once, when it is set.

RE2 is linear in the text, but where a pattern has too many states to remember it falls back to a way that takes up
to 15 ns a byte and instruction: seconds for a megabyte. What leads there are long repetitions over few letters, so
a rule is run over random texts of every two letters of its pattern.
"""

from __future__ import annotations

import itertools
import random
import time

from watchllm_proxy.enrich.redaction.own import BadRule, OwnRule, own_rules
from watchllm_proxy.enrich.redaction.rules import Rule, TooMany

PROBE_BYTES = 4_096
MAX_S_PER_BYTE = 50e-9
"""50 ms a megabyte, as for rules of ours. Ordinary patterns take a tenth of it."""

_EVERYWHERE = "a0A -"
_MAX_LETTERS = 16


def refuse_slow(rules: tuple[OwnRule, ...]) -> None:
    """Raises `BadRule` for the first that may take too long, and whatever `own_rules` does."""
    for number, (rule, made) in enumerate(zip(rules, own_rules(rules), strict=True), start=1):
        if any(_is_slow(made, text) for text in _probes(rule.pattern)):
            raise BadRule(number, "pattern", "it can take too long: shorten its repetitions, such as {1,500}")


def _probes(pattern: str) -> list[bytes]:
    own = [letter for letter in dict.fromkeys(pattern) if letter.isascii() and letter.isalnum()]
    letters = list(dict.fromkeys([*own[:_MAX_LETTERS], *_EVERYWHERE]))
    chance = random.Random(0)  # noqa: S311 - the same texts every time
    pairs = [*itertools.combinations(letters, 2), *((letter, letter) for letter in letters)]
    return ["".join(chance.choices(pair, k=PROBE_BYTES)).encode() for pair in pairs]


def _is_slow(rule: Rule, text: bytes) -> bool:
    """Once more, where it was: the first time states are made, and the machine may have been busy."""
    limit_s = MAX_S_PER_BYTE * len(text)
    return all(_taken_s(rule, text) > limit_s for _ in range(3))


def _taken_s(rule: Rule, text: bytes) -> float:
    began = time.thread_time()
    try:
        for _ in rule.spans(text, b""):
            pass
    except TooMany:
        pass
    return time.thread_time() - began
