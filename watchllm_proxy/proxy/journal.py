"""What the proxy writes to its log: few lines, of ids, kinds and sizes; never a body, a key or a header.

Nothing is written for a good request. What would repeat is written once in a while.
"""

from __future__ import annotations

import time
import traceback
from collections import Counter

import structlog

log = structlog.get_logger(__name__)

INTERVAL_S = 10.0


class RepeatedWarning:
    """At most one line per `INTERVAL_S` for each event and kind. Ids, kinds and sizes only."""

    __slots__ = ("_last_s", "_left_out")

    def __init__(self) -> None:
        self._last_s: dict[tuple[str, str], float] = {}
        self._left_out: Counter[tuple[str, str]] = Counter()

    def warn(self, event: str, kind: str, **fields: object) -> None:
        """`event` and `kind` are from closed sets: each pair is remembered."""
        key = (event, kind)
        now_s = time.monotonic()
        if now_s - self._last_s.get(key, -INTERVAL_S) < INTERVAL_S:
            self._left_out[key] += 1
            return
        self._last_s[key] = now_s
        log.warning(event, kind=kind, left_out=self._left_out.pop(key, 0), **fields)


def report_bug(exc: BaseException, **fields: object) -> None:
    """An exception that should not be: its kind and its lines of code. Its words and variables may hold bodies."""
    log.error("proxy.bug", error=type(exc).__name__, trace=traceback.format_tb(exc.__traceback__), **fields)
