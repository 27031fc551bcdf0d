"""What was worked out before and is asked again: about the call at hand, and about texts that come again.

Both only save work: without them everything comes out the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Generic, TypeVar, cast

from watchllm_proxy.records import Call

K = TypeVar("K")
T = TypeVar("T")


def once_a_call(read: Callable[[Call], T]) -> Callable[[Call], T]:
    """Worked out once for each call: many rules ask the same of a call, one after the other, and nobody again
    after the next call has come. So the latest is remembered, told by its identity: a call is large to compare.
    """
    latest: tuple[Call | None, T] = (None, cast(T, None))

    @wraps(read)
    def remembered(call: Call) -> T:
        nonlocal latest
        known = latest  # read once: another thread may be at work on another call
        if known[0] is call:
            return known[1]
        found = read(call)
        latest = (call, found)
        return found

    return remembered


class Recent(Generic[K, T]):
    """Values by key, up to `max_size` of them or so, as `size_of` measures keys.

    In two generations: what is used moves to the young one, and when that is half of all, the old one is dropped.
    So a look-up is one of a dictionary, nothing is kept in order, and no thread disturbs another.
    """

    def __init__(self, max_size: int, size_of: Callable[[K], int]) -> None:
        self._max_young = max_size // 2
        self._size_of = size_of
        self._young: dict[K, T] = {}
        self._old: dict[K, T] = {}
        self._young_size = 0

    def get(self, key: K) -> T | None:
        found = self._young.get(key)
        if found is None and (found := self._old.get(key)) is not None:
            self.put(key, found)
        return found

    def put(self, key: K, value: T) -> None:
        size = self._size_of(key)
        if size > self._max_young:
            return
        self._young_size += size
        if self._young_size > self._max_young:
            self._old, self._young = self._young, {}
            self._young_size = size
        self._young[key] = value

    def __contains__(self, key: K) -> bool:
        return key in self._young or key in self._old
