"""The small line of a run in a list."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from watchllm_proxy.console.pages.sparks import HEIGHT, WIDTH, spark_of


def test_each_call_is_a_level_and_the_title_says_them_in_words() -> None:
    spark = spark_of([100, 400, 200], calls=3)
    assert spark is not None
    assert spark.path == "M0 10V10H20V1H40V7H60"
    assert spark.title == "Tokens by call: 100 at first, 400 at most, 200 at last"


def test_of_a_long_run_it_says_that_it_shows_some_of_its_calls() -> None:
    spark = spark_of([1, 2], calls=1_200)
    assert spark is not None
    assert spark.title == "Tokens by call (2 of 1,200 calls): 1 at first, 2 at most, 2 at last"


def test_one_call_is_told_as_one_and_none_draws_nothing() -> None:
    only = spark_of([12_345], calls=1)
    assert only is not None
    assert only.title == "12.3k tokens in its call"
    assert spark_of([], calls=3) is None
    assert spark_of([0, 0], calls=2) is None


@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=60).filter(any))
def test_whatever_was_taken_the_line_stays_within_its_box(tokens: list[int]) -> None:
    spark = spark_of(tokens, calls=len(tokens))
    assert spark is not None
    assert all(0 <= int(x) <= WIDTH for x in re.findall(r"[MH](\d+)", spark.path))
    levels = [int(y) for y in re.findall(r"V(\d+)", spark.path)]
    assert len(levels) == len(tokens)
    assert min(levels) == 1
    assert max(levels) < HEIGHT
