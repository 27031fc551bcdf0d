from __future__ import annotations

import itertools
from collections.abc import Sequence
from difflib import SequenceMatcher

from hypothesis import given
from hypothesis import strategies as st

from watchllm_proxy.insights.edits import Edit, edits

SEQUENCES = st.lists(st.sampled_from("abcd"), max_size=30)


def test_what_stays_and_what_stands_in_its_place_alternate() -> None:
    assert edits(["the", "quick", "fox"], ["the", "slow", "red", "fox"]) == [
        Edit(True, 0, 1, 0, 1),
        Edit(False, 1, 2, 1, 3),
        Edit(True, 2, 3, 3, 4),
    ]
    assert edits([], []) == []
    assert edits([], ["a"]) == [Edit(False, 0, 0, 0, 1)]
    assert edits(["a"], ["a"]) == [Edit(True, 0, 1, 0, 1)]


@given(SEQUENCES, SEQUENCES)
def test_edits_lead_from_one_sequence_to_the_other_and_cover_both(old: list[str], new: list[str]) -> None:
    found = edits(old, new)
    assert _applied(found, old, new) == (old, new)
    kinds = [each.is_same for each in found]
    assert all(one != other for one, other in itertools.pairwise(kinds))
    assert all(
        old[each.from_old : each.to_old] == new[each.from_new : each.to_new] for each in found if each.is_same
    )


@given(SEQUENCES, SEQUENCES)
def test_no_way_is_shorter(old: list[str], new: list[str]) -> None:
    """As long as the longest common subsequence leaves it; difflib never finds more in common than there is."""
    common = sum(each.to_old - each.from_old for each in edits(old, new) if each.is_same)
    assert common == _longest_common(old, new)
    blocks = SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()
    assert common >= sum(block.size for block in blocks)


@given(SEQUENCES, SEQUENCES)
def test_beyond_so_many_edits_all_between_the_common_ends_is_replaced(old: list[str], new: list[str]) -> None:
    found = edits(old, new, max_edits=3)
    assert _applied(found, old, new) == (old, new)
    if len(old) + len(new) - 2 * _longest_common(old, new) > 3:
        assert sum(not each.is_same for each in found) == 1


def _applied(found: Sequence[Edit], old: Sequence[str], new: Sequence[str]) -> tuple[list[str], list[str]]:
    before = [item for each in found for item in old[each.from_old : each.to_old]]
    now = [item for each in found for item in new[each.from_new : each.to_new]]
    return before, now


def _longest_common(old: Sequence[str], new: Sequence[str]) -> int:
    row = [0] * (len(new) + 1)
    for one in old:
        last, row = row, [0]
        for index, other in enumerate(new):
            row.append(last[index] + 1 if one == other else max(last[index + 1], row[-1]))
    return row[-1]
