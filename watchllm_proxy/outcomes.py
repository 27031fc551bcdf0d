"""Where every captured exchange ends: in exactly one outcome, counted.

At any time: accepted = stored + still in the log + shed (by reason) + dead-lettered (by reason).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class ShedReason(StrEnum):
    """Why a capture was given up in the proxy. The request itself always passed."""

    BUFFER_FULL = "buffer_full"  # the writer fell behind; the in-memory buffer is at its limit
    LOG_FULL = "log_full"  # the log directory is at WATCHLLM_LOG_MAX_BYTES
    DISK_FULL = "disk_full"  # ENOSPC, EDQUOT
    IO_ERROR = "io_error"  # EIO, read-only file system
    TOO_LARGE = "too_large"  # one record over the frame limit
    INVALID = "invalid"  # a field that the log cannot hold: a bug of ours


class DeadLetterReason(StrEnum):
    """Why a record of the log was set aside by the recorder; its bytes are kept."""

    CORRUPT = "corrupt"  # the frame's checksum is right but its payload cannot be unpacked
    REJECTED = "rejected"  # a store will never take its rows
    CRASHED = "crashed"  # thinking about it raised: a bug of ours
    DEADLY = "deadly"  # thinking about it ended the process, again and again


@dataclass(frozen=True, slots=True)
class CaptureCounts:
    """What became of captures in the proxy, since their logs exist. Exact over a `kill -9`.

    accepted      durably in the log: stored since, dead-lettered, or there still
    shed          given up, by reason
    recovered     of both: taken over from a process that was killed
    unprotected   of both: a kill before their sync would have lost them
    """

    accepted: int = 0
    shed: Mapping[ShedReason, int] = field(default_factory=dict)
    recovered: int = 0
    unprotected: int = 0

    @property
    def captured(self) -> int:
        """Exchanges that ended: each is accepted or shed."""
        return self.accepted + sum(self.shed.values())

    def __add__(self, other: CaptureCounts) -> CaptureCounts:
        return CaptureCounts(
            self.accepted + other.accepted,
            Counter(self.shed) + Counter(other.shed),
            self.recovered + other.recovered,
            self.unprotected + other.unprotected,
        )
