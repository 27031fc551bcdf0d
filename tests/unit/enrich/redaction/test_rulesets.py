"""One pass tells which rules may find something: it never leaves out one that would have."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import canaries
from watchllm_proxy.enrich.redaction.finding import RULES, find
from watchllm_proxy.enrich.redaction.kinds import RedactionMode
from watchllm_proxy.enrich.redaction.rules import TooMany
from watchllm_proxy.enrich.redaction.rulesets import Finder, Ruleset

ALL = RULES[RedactionMode.ALL]
PIECES = st.sampled_from(
    [*canaries.ALL, " ", "\n", r"\n", "-", "x", "7", "2026-11-22", "0000 0000 0000", "tel ", "BEARER ",
     "Password: a1b2c3", "pesel 4405",
     "::1", "1.2.3.4", "-----BEGIN PRIVATE KEY-----", "é", "\x00", "sk-", "%40", "AAAAA0000A"]
)  # fmt: skip


def finds(rule: Finder, text: bytes) -> bool:
    try:
        return any(True for _ in rule.spans(text, b"phone ssn"))
    except TooMany:
        return True


@given(st.lists(st.one_of(PIECES, st.text(max_size=12)), max_size=12).map("".join))
def test_a_rule_that_finds_something_is_a_candidate(text: str) -> None:
    raw = text.encode("utf-8", "replace")
    assert {rule for rule in ALL if finds(rule, raw)} <= set(ALL.candidates(raw))


def test_candidates_come_in_their_order_and_a_text_without_any_has_none() -> None:
    order = list(ALL)
    candidates = [order.index(rule) for rule in ALL.candidates(canaries.TEXT.encode())]
    assert candidates == sorted(candidates)
    assert len(candidates) > 5
    assert list(ALL.candidates(b"Updated on 2026-11-22 at 14:12, 3 of 40 rows: nothing to see")) == []


def test_where_re2_gives_up_every_rule_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does so, by an empty answer, when the states of a text need more memory than it may take."""

    class GivesUp:
        def Match(self, text: bytes) -> Any:  # noqa: N802 - RE2's name
            return None

    rules = Ruleset(tuple(ALL))
    monkeypatch.setattr(rules, "_set", GivesUp())
    assert list(rules.candidates(b"nothing")) == list(ALL)
    assert find(canaries.TEXT.encode(), b"", rules) == find(canaries.TEXT.encode(), b"", ALL)
