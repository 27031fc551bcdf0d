"""Texts as sets of fingerprints: read many at once, they are what each row of four words gives alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from watchllm_proxy.sessionize.fingerprints import (
    WORDS_IN_A_ROW,
    fingerprints,
    of_text_and_lines,
    of_words,
    words,
)

WORD = st.text("abcdefghijklmnopqrstuvwxyz0123456789_", min_size=1, max_size=12)


@given(st.lists(WORD, min_size=WORDS_IN_A_ROW, max_size=80))
def test_a_text_has_a_fingerprint_for_each_four_words_in_a_row_however_long_it_is(texts: list[str]) -> None:
    rows = [" ".join(texts[at : at + WORDS_IN_A_ROW]) for at in range(len(texts) - WORDS_IN_A_ROW + 1)]
    assert fingerprints(" ".join(texts)) == frozenset().union(*map(fingerprints, rows))


PIECES = st.sampled_from(["one", "TWO", "x.y", "_", "thr\u00e9e", *"\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028"])


@given(st.lists(PIECES | st.sampled_from(["four", "five", "6"]), max_size=60).map(" ".join))
def test_a_texts_lines_are_read_with_it_as_they_are_alone(text: str) -> None:
    lines = text.splitlines()
    whole, of_lines = of_text_and_lines(text, lines, min_words=5, is_kept=False)
    assert whole == of_words(words(text))
    assert of_lines == {line: of_words(words(line)) for line in lines if len(words(line)) >= 5}


def test_a_fingerprint_is_the_same_on_every_machine() -> None:
    """They are stored: another value would part a run from what it said before an upgrade."""
    few, many = "the quick brown fox", " ".join(["the quick brown fox jumps over the lazy dog"] * 2)
    assert fingerprints(few) == {FEW}
    assert min(fingerprints(many)) == LEAST_OF_MANY


FEW = 11596225430710565117
LEAST_OF_MANY = 3415257213124946165
