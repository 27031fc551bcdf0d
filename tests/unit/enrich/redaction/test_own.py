"""Rules of a project's own: what they find, and which are refused."""

from __future__ import annotations

import pytest

from watchllm_proxy.enrich.redaction.documents import redact_string
from watchllm_proxy.enrich.redaction.finding import RULES, Redaction
from watchllm_proxy.enrich.redaction.kinds import RedactionMode
from watchllm_proxy.enrich.redaction.own import (
    MAX_NAME_LETTERS,
    MAX_PATTERN_CHARACTERS,
    MAX_RULES,
    BadRule,
    OwnRule,
    own_rules,
)
from watchllm_proxy.enrich.redaction.tags import TAG, Tags

TAGS = Tags(bytes(range(32)), "default")
EMPLOYEE = OwnRule("employee", r"EMP-[0-9]{6}")


def redact(text: str, *rules: OwnRule, mode: RedactionMode = RedactionMode.ALL) -> str:
    return redact_string(text, Redaction(RULES[mode].with_own(own_rules(rules)), TAGS))


def test_a_rule_finds_what_it_says_under_its_name_and_the_first_group_is_the_value() -> None:
    redacted = redact("EMP-123456 in case abc", EMPLOYEE, OwnRule("case", r"case (\w+)"))
    assert [tag.partition("_")[0] for tag in redacted.split(" in case ")] == ["[custom.employee", "[custom.case"]
    assert all(TAG.fullmatch(tag.encode()) for tag in redacted.split(" in case "))
    assert redact(redacted, EMPLOYEE) == redacted


def test_short_words_are_found_too_where_a_rule_says_so() -> None:
    project = OwnRule("project", "Bluebird|b7")
    assert redact("Bluebird", project).startswith("[custom.project_")
    assert redact("b7", project).startswith("[custom.project_")
    assert redact("Bluebird") == "Bluebird"


def test_equal_values_of_two_rules_have_tags_of_their_own_and_counts_by_name() -> None:
    both = own_rules([EMPLOYEE, OwnRule("staff", r"STF-[0-9]+")])
    redaction = Redaction(RULES[RedactionMode.SECRETS].with_own(both), TAGS)
    redact_string("EMP-123456, STF-1 and EMP-123456", redaction)
    assert dict(redaction.counts) == {"custom.employee": 2, "custom.staff": 1}


def test_ours_come_first_and_own_rules_do_not_read_into_tags() -> None:
    word = OwnRule("word", r"[a-z]+")
    assert redact("bob@example.com", word).startswith("[email_")
    once = redact("some words here", word)
    assert redact(once, word) == once


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (OwnRule("x", "("), "pattern"),
        (OwnRule("x", "(?=x)"), "pattern"),
        (OwnRule("x", "x*"), "pattern"),
        (OwnRule("x", r"\b"), "pattern"),
        (OwnRule("x", ""), "pattern"),
        (OwnRule("x", "x" * (MAX_PATTERN_CHARACTERS + 1)), "pattern"),
        (OwnRule("x", "(?:a{1000}){1000}"), "pattern"),
        (OwnRule("x", "[ab]{1,1000}c"), "pattern"),
        (OwnRule("", "y"), "name"),
        (OwnRule("Employee", "y"), "name"),
        (OwnRule("employee-id", "y"), "name"),
        (OwnRule("é", "y"), "name"),
        (OwnRule("x" * (MAX_NAME_LETTERS + 1), "y"), "name"),
    ],
)
def test_a_rule_that_cannot_be_used_is_refused_by_its_number_and_field(bad: OwnRule, field: str) -> None:
    with pytest.raises(BadRule, match="rule 2") as refused:
        own_rules([EMPLOYEE, bad])
    assert refused.value.number == 2
    assert refused.value.field == field


def test_a_project_has_so_many_rules_and_no_more() -> None:
    assert len(own_rules([EMPLOYEE] * MAX_RULES)) == MAX_RULES
    with pytest.raises(BadRule, match="at most"):
        own_rules([EMPLOYEE] * (MAX_RULES + 1))
