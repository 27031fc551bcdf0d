from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from watchllm_proxy.console import labels
from watchllm_proxy.enrich.redaction.kinds import RedactionKind
from watchllm_proxy.records import Confidence, FlagKind, Link, LinkKind, RunStatus, StepType


def test_what_was_redacted_is_told_in_words() -> None:
    assert labels.redaction_note([("apikey", 1), ("email", 3)]) == "1 API key, 3 e-mail addresses redacted"
    assert labels.redaction_note([]) is None
    assert labels.redaction_note([("custom.employee", 2)]) == "2 employee values redacted"
    assert set(labels._REDACTED) == set(RedactionKind)


def test_every_word_of_the_vocabulary_has_a_label() -> None:
    assert all(labels.status_label(status) for status in RunStatus)
    assert all(labels.flag_label(kind) for kind in FlagKind)
    assert all(labels.step_shape(each) for each in StepType)
    assert all(labels.link_sentence(Link(kind, "", Confidence.CERTAIN)) for kind in LinkKind)


def test_a_run_that_ended_with_errors_says_so() -> None:
    assert labels.outcome_label(RunStatus.COMPLETED, 0) == "Done"
    assert labels.outcome_label(RunStatus.COMPLETED, 1) == "Done, 1 error"
    assert labels.outcome_label(RunStatus.ABANDONED, 1200) == "Abandoned, 1,200 errors"
    assert labels.outcome_label(RunStatus.FAILED, 2) == "Failed"


def test_steps_named_in_a_sentence_are_found() -> None:
    pieces = labels.step_references("Steps 3, 5 and 8 failed 2 times; see #17.")
    assert [index for _, index in pieces if index is not None] == [3, 5, 8, 17]


def test_other_numbers_are_not_steps() -> None:
    assert labels.step_references("called 4 times in 30 s") == [("called 4 times in 30 s", None)]


@given(st.text(max_size=200))
def test_no_character_of_the_sentence_is_lost(text: str) -> None:
    assert "".join(piece for piece, _ in labels.step_references(text)) == text
