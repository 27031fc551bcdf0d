"""What the recorder tells about itself, and the names of what it may wait for."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from watchllm_proxy.accounting import Balance
from watchllm_proxy.outcomes import DeadLetterReason

POSTGRES, CLICKHOUSE, LOG = "postgres", "clickhouse", "log"


@dataclass(slots=True)
class RecorderStats:
    """What `/metrics` and `/readyz` tell about the recorder. Counts are since this process started."""

    stored_calls: int = 0
    batches: int = 0
    corrupt_frames: int = 0
    dead_letters: Counter[DeadLetterReason] = field(default_factory=Counter)
    insight_crashes: int = 0  # runs stored without flags or explanations for a bug of ours
    flush_seconds: float = 0.0  # spent on batches
    log_depth_bytes: int = 0
    lag_s: float = 0.0  # age of the oldest record of the last batch when it was stored; 0 when idle
    is_starting: bool = True  # until what the last process left half done is done
    waiting_for: str | None = None  # POSTGRES, CLICKHOUSE or LOG while that is away; None when all is well
    books: Balance | None = None  # what became of every capture, over all restarts; None: not looked at yet
