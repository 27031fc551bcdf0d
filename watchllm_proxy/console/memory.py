"""What pages need again: kept while it is looked at, within a weight and for a time."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Hashable, Iterable
from typing import Any, Generic, TypeVar

from aiohttp import web

T = TypeVar("T")

IDLE_S = 600.0
"""So long after it was looked at last nothing is kept: an erased run is gone from here, too."""

LOOK_S = 60.0


class Memory(Generic[T]):
    """What was looked at last, by keys that never stand for anything else. What weighs too much together is
    forgotten, the oldest first, and what nobody looked at for `IDLE_S` by `forget_idle`."""

    def __init__(
        self, kept: int, weight_of: Callable[[T], int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._known: OrderedDict[Hashable, tuple[float, T]] = OrderedDict()
        self._weight = 0
        self._kept = kept
        self._weight_of = weight_of
        self._clock = clock

    def get(self, key: Hashable) -> T | None:
        if key not in self._known:
            return None
        _, value = self._known.pop(key)
        self._known[key] = self._clock(), value
        return value

    def put(self, key: Hashable, value: T) -> None:
        if key in self._known:
            self._weight -= self._weight_of(self._known.pop(key)[1])
        self._known[key] = self._clock(), value
        self._weight += self._weight_of(value)
        while self._weight > self._kept:
            self._forget_oldest()

    def forget_idle(self) -> None:
        while self._known and next(iter(self._known.values()))[0] <= self._clock() - IDLE_S:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        _, (_, oldest) = self._known.popitem(last=False)
        self._weight -= self._weight_of(oldest)


def forgetting(memories: Iterable[Memory[Any]]) -> Callable[[web.Application], AsyncIterator[None]]:
    """For `cleanup_ctx`: has them forget what is idle, each minute while the application runs."""
    kept = tuple(memories)

    async def while_it_runs(_: web.Application) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        next_look: asyncio.TimerHandle

        def look() -> None:
            nonlocal next_look
            for memory in kept:
                memory.forget_idle()
            next_look = loop.call_later(LOOK_S, look)

        look()
        yield
        next_look.cancel()

    return while_it_runs
