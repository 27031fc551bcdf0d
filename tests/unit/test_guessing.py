"""Who is wrong too often is refused for a while; who is wrong in the same way again is not; memory is bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from watchllm_proxy.guessing import GuessLimit


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def guess(number: int) -> bytes:
    return number.to_bytes(8)


def test_after_a_burst_of_wrong_ones_the_asker_waits_and_others_do_not() -> None:
    clock = Clock()
    limit = GuessLimit(burst=5, per_s=0.5, clock_s=clock)
    for number in range(5):
        assert not limit.is_spent("a")
        limit.note_wrong("a", guess(number))
    assert limit.is_spent("a")
    assert not limit.is_spent("b")
    clock.now_s = 1.9
    assert limit.is_spent("a")
    clock.now_s = 2.0
    assert not limit.is_spent("a")
    limit.note_wrong("a", guess(6))
    assert limit.is_spent("a")


def test_the_same_wrong_one_again_is_no_guess() -> None:
    limit = GuessLimit(burst=3, per_s=0, clock_s=Clock())
    for _ in range(1_000):
        limit.note_wrong("a", guess(1))
        limit.note_wrong("a", guess(2))
    assert not limit.is_spent("a")
    limit.note_wrong("a", guess(3))
    assert limit.is_spent("a")


def test_nobody_saves_more_than_a_burst() -> None:
    clock = Clock()
    limit = GuessLimit(burst=2, per_s=1, clock_s=clock)
    limit.note_wrong("a", guess(1))
    clock.now_s = 1e9
    limit.note_wrong("a", guess(2))
    limit.note_wrong("a", guess(3))
    assert limit.is_spent("a")


def test_of_more_askers_than_fit_the_one_wrong_the_longest_ago_is_forgotten() -> None:
    limit = GuessLimit(burst=1, per_s=0, max_askers=3, clock_s=Clock())
    for asker in "abcabd":
        limit.note_wrong(asker, guess(1))
    assert len(limit) == 3
    assert {asker for asker in "abcd" if limit.is_spent(asker)} == {"a", "b", "d"}


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 30), st.floats(0, 5)), max_size=300))
def test_whatever_is_asked_the_memory_is_bounded(asked: list[tuple[int, int, float]]) -> None:
    clock = Clock()
    limit = GuessLimit(burst=3, per_s=1, max_askers=5, clock_s=clock)
    for asker, number, pause_s in asked:
        clock.now_s += pause_s
        limit.note_wrong(str(asker), guess(number))
        assert len(limit) <= 5
        assert all(len(bucket.guesses) <= 8 and 0 <= bucket.left <= 3 for bucket in limit._buckets.values())
