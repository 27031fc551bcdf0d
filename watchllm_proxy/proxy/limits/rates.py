"""Token buckets by key and project, in memory that all workers of the machine share.

A bucket holds a minute's worth of requests and fills evenly: so many may come at once after a quiet minute, and no
more than the rate after that. It is one number, the instant from which it will be full again (GCRA), so a bucket
that is full has nothing to say, and its place is anybody's.

    table     slots of two u64 cells: tag (of what is limited) | full again at, nanoseconds of the machine's clock

Nothing is locked. Two workers that take from one bucket within the same microsecond may both get the same token;
two that give one place to different tags lose what those took in the last minute. Both err on the caller's side.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import structlog

log = structlog.get_logger(__name__)

SLOTS = 1 << 16
PROBES = 16
MINUTE_NS = 60_000_000_000
_SLOT_BYTES = 16


class RateLimit(NamedTuple):
    """`subject` says what is limited: keys and projects have different ones."""

    subject: str
    per_minute: int


class RateTable:
    """The buckets. Before `open`, and where the file cannot be had, this process alone knows of them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._cells = memoryview(mmap.mmap(-1, SLOTS * _SLOT_BYTES)).cast("Q")

    def open(self) -> None:
        """Waits for the disk."""
        try:
            self._cells = memoryview(_shared(self._path)).cast("Q")
        except OSError as exc:
            log.error("rates.not_shared", error=type(exc).__name__, detail=exc.strerror)

    def take(self, limits: Sequence[RateLimit], now_ns: int | None = None) -> float:
        """A token from each of these buckets, or from none of them: then seconds until there would be one, else 0.

        `now_ns`: `time.monotonic_ns`, which is the same in all processes of a machine.
        """
        now_ns = time.monotonic_ns() if now_ns is None else now_ns
        taken = [self._one_less(limit, now_ns) for limit in limits]
        wait_ns = max((full_ns - now_ns - MINUTE_NS for _, _, full_ns in taken), default=0)
        if wait_ns > 0:
            return wait_ns / 1e9
        for at, tag, full_ns in taken:
            self._cells[at] = tag
            self._cells[at + 1] = full_ns
        return 0.0

    def _one_less(self, limit: RateLimit, now_ns: int) -> tuple[int, int, int]:
        """Its place, its tag, and from when on its bucket would be full again."""
        tag = _tag(limit.subject)
        at = self._place(tag, now_ns)
        full_ns = now_ns
        if self._cells[at] == tag and self._cells[at + 1] - now_ns <= MINUTE_NS:  # more: of a former boot
            full_ns = max(full_ns, self._cells[at + 1])
        return at, tag, full_ns + MINUTE_NS // limit.per_minute

    def _place(self, tag: int, now_ns: int) -> int:
        """Its slot, else one that is free, else the one that will be first: a minute's memory goes with that."""
        best, best_full_ns = 0, -1
        step = tag >> 32 | 1
        for probe in range(PROBES):
            at = (tag + probe * step) % SLOTS * 2
            if self._cells[at] == tag:
                return at
            full_ns = self._cells[at + 1]
            if full_ns - now_ns > MINUTE_NS:
                full_ns = 0
            if best_full_ns < 0 or (best_full_ns > now_ns and full_ns < best_full_ns):
                best, best_full_ns = at, full_ns
        return best


@lru_cache(4096)
def _tag(subject: str) -> int:
    """Never zero, which is an empty slot's."""
    return int.from_bytes(hashlib.blake2b(subject.encode(), digest_size=8).digest(), "little") or 1


def _shared(path: Path) -> mmap.mmap:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, SLOTS * _SLOT_BYTES)
        return mmap.mmap(descriptor, SLOTS * _SLOT_BYTES)
    finally:
        os.close(descriptor)
