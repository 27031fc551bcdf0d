"""Idle time that is cut out: where every other time stands then, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchllm_proxy.console.pages.folding import MAX_CUTS, Folding, folding_of

SPANS = st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**6)), max_size=60)


def test_a_long_wait_is_cut_to_the_length_of_a_usual_step() -> None:
    folding = folding_of([(0, 10), (10, 10), (520, 10), (535, 10)])
    assert folding.cuts == ((30, 490, 0),)
    assert [folding.at(us) for us in (0, 30, 31, 520, 545)] == [0, 30, 30, 30, 55]
    assert [folding.unfolded(us) for us in (0, 30, 31, 55)] == [0, 30, 521, 545]


@pytest.mark.parametrize(
    "spans",
    [
        [],
        [(0, 0), (500, 0)],  # nothing takes time: there is no usual step
        [(0, 10), (40, 10)],  # a wait like any other
        [(0, 500), (10, 10), (490, 10)],  # something goes on all the time
    ],
)
def test_where_nobody_waits_long_nothing_is_cut(spans: list[tuple[int, int]]) -> None:
    assert folding_of(spans) == Folding()


def test_of_many_waits_the_longest_are_cut() -> None:
    folding = folding_of([(n * 10_000 + n, 1) for n in range(3 * MAX_CUTS)])
    assert len(folding.cuts) == MAX_CUTS


@given(SPANS, st.lists(st.integers(0, 2 * 10**9), max_size=20))
def test_times_keep_their_order_steps_their_length_and_all_can_be_told_back(
    spans: list[tuple[int, int]], times: list[int]
) -> None:
    folding = folding_of(spans)
    assert [folding.at(us) for us in sorted(times)] == sorted(folding.at(us) for us in times)
    for start, length in spans:
        assert folding.at(start + length) - folding.at(start) == length
    for us in times:
        assert folding.at(folding.unfolded(folding.at(us))) == folding.at(us)
