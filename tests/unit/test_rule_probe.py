"""Rules that a text can be made against are refused when they are set; ordinary ones are not."""

from __future__ import annotations

import pytest

from watchllm_proxy import rule_probe
from watchllm_proxy.enrich.redaction.own import BadRule, OwnRule
from watchllm_proxy.enrich.redaction.rules import Rule
from watchllm_proxy.rule_probe import refuse_slow

ORDINARY = (
    r"EMP-[0-9]{6}",
    r"case (\w+)",
    r"\b[A-Z]{2,5}-[0-9]{3,10}\b",
    r"(?i:project (?:bluebird|falcon|heron)[a-z ]{0,40})",
    r"https://[a-z.]{1,100}/[^ ]{1,200}",
)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """What a rule takes on a text, by its pattern, in seconds a byte."""
    taken: dict[str, float] = {}

    def taken_s(rule: Rule, text: bytes) -> float:
        return taken.get(rule.pattern.pattern.decode().strip("()"), 0.0) * len(text)

    monkeypatch.setattr(rule_probe, "_taken_s", taken_s)
    return taken


def test_a_rule_that_takes_too_long_on_a_text_is_refused_by_its_number(clock: dict[str, float]) -> None:
    clock["slow"] = 2 * rule_probe.MAX_S_PER_BYTE
    with pytest.raises(BadRule, match="rule 2") as refused:
        refuse_slow((OwnRule("x", "fast"), OwnRule("y", "slow")))
    assert refused.value.field == "pattern"


def test_one_slow_try_of_a_busy_machine_refuses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[float] = []

    def taken_s(rule: Rule, text: bytes) -> float:
        tries.append(1.0)
        return 1.0 if len(tries) % 3 else 0.0  # slow, slow, fast

    monkeypatch.setattr(rule_probe, "_taken_s", taken_s)
    refuse_slow((OwnRule("x", "anything"),))
    assert len(tries) > 3


@pytest.mark.parametrize("pattern", ORDINARY)
@pytest.mark.usefixtures("clock")
def test_ordinary_rules_are_none_that_cannot_be_used(pattern: str) -> None:
    refuse_slow((OwnRule("x", pattern),))


def test_each_two_letters_of_a_pattern_are_tried_together() -> None:
    probes = rule_probe._probes("q[xy]{20}z")
    assert any(set(text) == set(b"xy") for text in probes)
    assert any(set(text) == set(b"q") for text in probes)
    assert {len(text) for text in probes} == {rule_probe.PROBE_BYTES}
