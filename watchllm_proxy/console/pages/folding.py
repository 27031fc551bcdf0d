"""Idle time cut out of a run's timeline, so that what was done is wide enough to see: agents wait for people."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import nlargest
from itertools import accumulate
from statistics import median
from typing import NamedTuple

FOLDED_ABOVE_STEPS = 300
"""A run with more steps is shown folded until its reader says otherwise."""

MAX_CUTS = 200
_FOREVER_US = 1 << 63
_IDLE_IN_STEPS = 3
"""Idle time is cut where it is longer than so many usual steps, and one usual step of it is left."""


class Cut(NamedTuple):
    start_us: int
    length_us: int
    before_us: int  # how much is cut out before it


@dataclass(frozen=True, slots=True)
class Folding:
    """`cuts` in order and apart. The time that is left runs on from 0."""

    cuts: tuple[Cut, ...] = ()

    def at(self, us: int) -> int:
        """Where a time stands once the cuts are out."""
        passed = bisect_right(self.cuts, (us, _FOREVER_US))
        if not passed:
            return us
        cut = self.cuts[passed - 1]
        return us - cut.before_us - min(us - cut.start_us, cut.length_us)

    def unfolded(self, us: int) -> int:
        """The time that stands there; of a cut its beginning."""
        passed = bisect_left(self.cuts, us, key=lambda cut: cut.start_us - cut.before_us)
        if not passed:
            return us
        cut = self.cuts[passed - 1]
        return us + cut.before_us + cut.length_us


UNFOLDED = Folding()


def folding_of(spans: Iterable[tuple[int, int]]) -> Folding:
    """`spans`: when each step begins and how long it takes."""
    in_order = sorted(spans)
    lengths = [length for _, length in in_order if length]
    if not lengths:
        return UNFOLDED
    usual_us = max(1, int(median(lengths)))
    idle = [gap for gap in _gaps(in_order) if gap[1] > _IDLE_IN_STEPS * usual_us]
    longest = nlargest(MAX_CUTS, idle, key=lambda gap: gap[1])
    cuts = [(start + usual_us, length - usual_us) for start, length in sorted(longest)]
    before = accumulate((length for _, length in cuts), initial=0)
    return Folding(tuple(Cut(start, length, out) for (start, length), out in zip(cuts, before, strict=False)))


def _gaps(in_order: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """When nothing was done, and for how long."""
    found = []
    end = 0
    for start, length in in_order:
        if start > end:
            found.append((end, start - end))
        end = max(end, start + length)
    return found
