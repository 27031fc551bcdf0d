"""What the recorder tells about itself, and the names of what it may wait for."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from watchllm_proxy.accounting import Balance
from watchllm_proxy.outcomes import DeadLetterReason

POSTGRES, CLICKHOUSE, LOG = "postgres", "clickhouse", "log"


@dataclass(frozen=True, slots=True)
class Outage:
    """Something is away. It is tried now and then, once at a time; the first try that succeeds ends it."""

    since_us: int
    tries: int  # since then, all in vain
    next_try_us: int  # when it is asked again, by the clock

    @classmethod
    def noted(cls, before: Outage | None, retry_in_s: float) -> Outage:
        """One more try was in vain; `before`: how it stood until now, None: it was there."""
        now_us = time.time_ns() // 1000
        next_try_us = now_us + int(retry_in_s * 1_000_000)
        return cls(before.since_us, before.tries + 1, next_try_us) if before else cls(now_us, 1, next_try_us)


@dataclass(slots=True)
class RecorderStats:
    """What `/metrics` and `/readyz` tell about the recorder. Counts are since this process started."""

    stored_calls: int = 0
    batches: int = 0
    corrupt_frames: int = 0
    dead_letters: Counter[DeadLetterReason] = field(default_factory=Counter)
    redacted_values: Counter[str] = field(default_factory=Counter)  # put behind tags in what is stored, by kind
    insight_crashes: int = 0  # runs stored without flags or explanations for a bug of ours
    flush_seconds: float = 0.0  # spent on batches
    log_depth_bytes: int = 0
    lag_s: float = 0.0  # age of the oldest record of the last batch when it was stored; 0 when idle
    is_starting: bool = True  # until what the last process left half done is done
    waiting_for: str | None = None  # POSTGRES, CLICKHOUSE or LOG while that is away; None when all is well
    outage: Outage | None = None  # of what it waits for
    books: Balance | None = None  # what became of every capture, over all restarts; None: not looked at yet

    def note_redacted(self, counts: Iterable[tuple[str, int]]) -> None:
        """Rules of projects' own count together: their names are theirs."""
        for kind, count in counts:
            self.redacted_values[kind.partition(".")[0]] += count
