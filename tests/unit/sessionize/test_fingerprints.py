"""Texts as sets of fingerprints: read many at once, they are what each row of four words gives alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from watchllm_proxy.sessionize.fingerprints import WORDS_IN_A_ROW, fingerprints

WORD = st.text("abcdefghijklmnopqrstuvwxyz0123456789_", min_size=1, max_size=12)


@given(st.lists(WORD, min_size=WORDS_IN_A_ROW, max_size=80))
def test_a_text_has_a_fingerprint_for_each_four_words_in_a_row_however_long_it_is(words: list[str]) -> None:
    rows = [" ".join(words[at : at + WORDS_IN_A_ROW]) for at in range(len(words) - WORDS_IN_A_ROW + 1)]
    assert fingerprints(" ".join(words)) == frozenset().union(*map(fingerprints, rows))


def test_a_fingerprint_is_the_same_on_every_machine() -> None:
    """They are stored: another value would part a run from what it said before an upgrade."""
    few, many = "the quick brown fox", " ".join(["the quick brown fox jumps over the lazy dog"] * 2)
    assert fingerprints(few) == {FEW}
    assert min(fingerprints(many)) == LEAST_OF_MANY


FEW = 11596225430710565117
LEAST_OF_MANY = 3415257213124946165
