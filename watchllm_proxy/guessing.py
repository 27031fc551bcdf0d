"""How often somebody may be wrong: keys and passwords that are tried, counted by asker, in bounded memory.

Keys are of 256 bits, which nobody guesses; this is for what guessing costs, and for passwords. Who is over the
limit is told so whether or not the next one would be right: nothing is looked up for them.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

REMEMBERED_GUESSES = 8


@dataclass(slots=True)
class _Bucket:
    left: float
    at_s: float
    guesses: tuple[bytes, ...] = field(default=(), repr=False)


class GuessLimit:
    """Token buckets: `burst` wrong ones at once, `per_s` more each second, of each of the last `max_askers`.

    The same wrong one again is no guess: a client that was not told of its new key costs nobody the entrance. When
    there are more askers than are remembered, the one who was wrong the longest ago is forgotten.
    """

    def __init__(
        self,
        *,
        burst: int,
        per_s: float,
        max_askers: int = 10_000,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._burst = burst
        self._per_s = per_s
        self._max_askers = max_askers
        self._clock_s = clock_s
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def is_spent(self, asker: str) -> bool:
        bucket = self._buckets.get(asker)
        return bucket is not None and self._left(bucket, self._clock_s()) < 1

    def note_wrong(self, asker: str, guess: bytes) -> None:
        """`guess` is told from the last few by its value: give a hash, for it is kept."""
        now_s = self._clock_s()
        bucket = self._buckets.get(asker)
        if bucket is None:
            bucket = self._buckets[asker] = _Bucket(self._burst, now_s)
            if len(self._buckets) > self._max_askers:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(asker)
        bucket.left, bucket.at_s = self._left(bucket, now_s), now_s
        if guess not in bucket.guesses:
            bucket.left = max(0.0, bucket.left - 1)
            bucket.guesses = (*bucket.guesses[1 - REMEMBERED_GUESSES :], guess)

    def _left(self, bucket: _Bucket, now_s: float) -> float:
        return min(float(self._burst), bucket.left + (now_s - bucket.at_s) * self._per_s)
