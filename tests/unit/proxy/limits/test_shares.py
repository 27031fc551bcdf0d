"""Places of a worker: whoever is alone has them all, and nobody takes all of them from others."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchllm_proxy.proxy.limits.shares import Shares


def hold_all_it_gets(shares: Shares, project_id: str, held: ExitStack, *, is_alone: bool = False) -> int:
    got = 0
    while got < 1_000 and shares.has_room(project_id, is_alone=is_alone):
        held.enter_context(shares.holding(project_id))
        got += 1
    return got


def test_the_only_project_is_not_held_back() -> None:
    with ExitStack() as held:
        assert (
            hold_all_it_gets(Shares(100), "only", held, is_alone=True) == 1_000
        )  # the worker's own limit ends it


def test_a_flood_leaves_half_of_the_places_to_others() -> None:
    shares = Shares(100)
    with ExitStack() as held:
        assert hold_all_it_gets(shares, "flood", held) == 50
        assert hold_all_it_gets(shares, "second", held) == 33
        assert shares.has_room("third", is_alone=False)


def test_places_come_back() -> None:
    shares = Shares(10)
    with ExitStack() as held:
        hold_all_it_gets(shares, "flood", held)
        assert not shares.has_room("flood", is_alone=False)
    assert shares.has_room("flood", is_alone=False)
    with pytest.raises(ZeroDivisionError), shares.holding("flood"):
        raise ZeroDivisionError
    with ExitStack() as held:
        assert hold_all_it_gets(shares, "flood", held) == 5


@given(st.integers(2, 200), st.lists(st.sampled_from("ab"), max_size=400))
def test_a_project_that_holds_nothing_finds_room_beside_one_that_floods(places: int, order: list[str]) -> None:
    shares, total = Shares(places), 0
    with ExitStack() as held:
        total += hold_all_it_gets(shares, "flood", held)
        assert total < places or places < 2
        assert shares.has_room("newcomer", is_alone=False)
        for project_id in order:
            if shares.has_room(project_id, is_alone=False):
                held.enter_context(shares.holding(project_id))
