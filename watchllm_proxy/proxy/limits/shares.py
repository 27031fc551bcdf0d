"""Who holds the places of a worker: no project takes them all while there are others.

A place is a request under way. A project that waits for a slow upstream could otherwise hold every one of them,
and the requests of all others would be refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Shares:
    """Requests under way, by project.

    Up to half of the places are given to whoever comes; beyond that a project gets no more than an even share,
    with one share left for a project that holds none.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._held: dict[str, int] = {}
        self._all = 0

    def has_room(self, project_id: str, *, is_alone: bool) -> bool:
        """For one more. `is_alone`: this installation knows no other project."""
        if is_alone or self._all < self._places // 2:
            return True
        held = self._held.get(project_id, 0)
        others = len(self._held) - (1 if held else 0)
        return held < max(1, self._places // (others + 2))

    @contextmanager
    def holding(self, project_id: str) -> Iterator[None]:
        self._held[project_id] = self._held.get(project_id, 0) + 1
        self._all += 1
        try:
            yield
        finally:
            self._all -= 1
            self._held[project_id] -= 1
            if not self._held[project_id]:
                del self._held[project_id]
