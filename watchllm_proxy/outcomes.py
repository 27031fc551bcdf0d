"""Where every captured exchange ends: in exactly one outcome, counted.

At any time: accepted = stored + still in the log + shed (by reason) + dead-lettered (by reason).
"""

from __future__ import annotations

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
