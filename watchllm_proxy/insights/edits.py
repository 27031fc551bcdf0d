"""The shortest way from one sequence to another, bounded: Myers, "An O(ND) Difference Algorithm" (1986)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

MAX_EDITS = 600
"""Of what lies between the common beginning and end. Time and memory grow with its square; beyond it, all of that
counts as replaced."""


class Edit(NamedTuple):
    """`old[from_old:to_old]` stays (`is_same`), or `new[from_new:to_new]` stands in its place."""

    is_same: bool
    from_old: int
    to_old: int
    from_new: int
    to_new: int


def edits(old: Sequence[str], new: Sequence[str], max_edits: int = MAX_EDITS) -> list[Edit]:
    """In order, both sequences covered whole; what stays and what does not alternate."""
    start = _common(old, new)
    end = _common(old[start:][::-1], new[start:][::-1])
    old_end, new_end = len(old) - end, len(new) - end
    matches = _matches(old[start:old_end], new[start:new_end], max_edits)
    found = [Edit(True, 0, start, 0, start)]
    for in_old, in_new in [(start + one, start + other) for one, other in matches]:
        _append(found, in_old, in_new)
        found.append(Edit(True, in_old, in_old + 1, in_new, in_new + 1))
    _append(found, old_end, new_end)
    found.append(Edit(True, old_end, len(old), new_end, len(new)))
    return list(_joined(found))


def _append(found: list[Edit], old_end: int, new_end: int) -> None:
    """What is replaced between the last edit and here."""
    last = found[-1]
    found.append(Edit(False, last.to_old, old_end, last.to_new, new_end))


def _joined(found: Sequence[Edit]) -> Iterator[Edit]:
    """Without the empty ones, neighbours of a kind as one."""
    last: Edit | None = None
    for each in found:
        if each.from_old == each.to_old and each.from_new == each.to_new:
            continue
        if last is not None and last.is_same == each.is_same:
            last = last._replace(to_old=each.to_old, to_new=each.to_new)
            continue
        if last is not None:
            yield last
        last = each
    if last is not None:
        yield last


def _common(old: Sequence[str], new: Sequence[str]) -> int:
    """How many items both begin with."""
    count = 0
    for one, other in zip(old, new, strict=False):
        if one != other:
            break
        count += 1
    return count


def _matches(old: Sequence[str], new: Sequence[str], max_edits: int) -> list[tuple[int, int]]:
    """Pairs of places with equal items, as many as can be; none beyond so many edits.

    `furthest[k]`: how far in `old` a path of so many edits comes on the diagonal k = place in old - place in new.
    """
    furthest = {1: 0}
    steps: list[dict[int, int]] = []
    for count in range(min(len(old) + len(new), max_edits) + 1):
        steps.append(furthest)
        furthest = dict(furthest)
        for diagonal in range(-count, count + 1, 2):
            place = _begin(furthest, diagonal, count)
            while place < len(old) and 0 <= place - diagonal < len(new) and old[place] == new[place - diagonal]:
                place += 1
            furthest[diagonal] = place
            if place >= len(old) and place - diagonal >= len(new):
                return _walked_back(steps, len(old), len(new))
    return []


def _begin(furthest: dict[int, int], diagonal: int, count: int) -> int:
    """Where a path of `count` edits comes to this diagonal: by an insertion, or a deletion."""
    return furthest[diagonal + 1] if _is_insertion(furthest, diagonal, count) else furthest[diagonal - 1] + 1


def _is_insertion(furthest: dict[int, int], diagonal: int, count: int) -> bool:
    return diagonal == -count or (diagonal != count and furthest[diagonal - 1] < furthest[diagonal + 1])


def _walked_back(steps: Sequence[dict[int, int]], place: int, other: int) -> list[tuple[int, int]]:
    """The matches of the path that ends there, in order."""
    found: list[tuple[int, int]] = []
    for count in range(len(steps) - 1, -1, -1):
        furthest, diagonal = steps[count], place - other
        begin = _begin(furthest, diagonal, count)
        while place > begin:
            place, other = place - 1, other - 1
            found.append((place, other))
        if _is_insertion(furthest, diagonal, count):
            place, other = begin, begin - diagonal - 1
        else:
            place, other = begin - 1, begin - diagonal
    return found[::-1]
