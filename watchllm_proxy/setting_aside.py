"""Records that cannot be stored: as dead letters with a reason that quotes nothing, and as a batch again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import structlog

from watchllm_proxy.capture.merge import Batch, MergedRecord, tried_again
from watchllm_proxy.errors import StoreRejected
from watchllm_proxy.outcomes import DeadLetterReason
from watchllm_proxy.store.postgres import DeadLetter, Tally

log = structlog.get_logger(__name__)


def unreadable(record: MergedRecord) -> DeadLetter:
    """Its checksum is right, and no exchange can be read out of it."""
    return _dead_letter(record, DeadLetterReason.CORRUPT, record.problem or "")


def crashed(record: MergedRecord, exc: Exception) -> DeadLetter:
    """A bug of ours met this record. The log tells where; the words of the error may quote a body, so not them."""
    log.error("recorder.record_crashed", record_id=str(record.record_id), error=type(exc).__name__, exc_info=exc)
    return _dead_letter(record, DeadLetterReason.CRASHED, type(exc).__name__)


def given_up(record: MergedRecord, exc: Exception) -> DeadLetter:
    """The one record of a batch that cannot be stored."""
    if isinstance(exc, StoreRejected):
        return _dead_letter(record, DeadLetterReason.REJECTED, str(exc))
    return crashed(record, exc)


def deadly(record: MergedRecord, ended: int) -> DeadLetter:
    """Nobody lives to think about it."""
    log.error("recorder.record_deadly", record_id=str(record.record_id), ended=ended)
    return _dead_letter(record, DeadLetterReason.DEADLY, f"ended the recorder {ended} times")


def tell_failed(batch: Batch, exc: Exception) -> None:
    if isinstance(exc, StoreRejected):
        log.error("recorder.batch_rejected", records=len(batch.records), error=str(exc))
    else:
        log.error("recorder.batch_crashed", records=len(batch.records), error=type(exc).__name__, exc_info=exc)


def batch_of(letters: Sequence[DeadLetter], now_us: int) -> Batch:
    """Dead letters to be thought about once more."""
    return tried_again(((letter.log_name, letter.record_id, letter.payload) for letter in letters), now_us)


def tallies(batch: Batch, dead: Sequence[DeadLetter]) -> dict[str, Tally]:
    """What the batch counts of each log: all its records are stored but these."""
    stored = Counter(record.log_name for record in batch.records)
    stored.subtract(letter.log_name for letter in dead)
    return {name: Tally(stored[name], batch.damage[name]) for name in stored.keys() | batch.damage.keys()}


def _dead_letter(record: MergedRecord, reason: DeadLetterReason, detail: str) -> DeadLetter:
    return DeadLetter(record.log_name, record.record_id, reason, detail, record.payload)
