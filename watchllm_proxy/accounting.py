"""CONDUCTOR of the sum: what every capture became, the log's own count held against that of the stores.

    captured = accepted + shed (by reason)
    accepted = stored + still in the log + dead-lettered (by reason) + dropped by a person

The proxy's writer counts what it makes durable, the recorder counts in Postgres what it stores, each for itself
and over restarts. A difference is a record that was lost, or counted twice: it is told, never explained away.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from watchllm_proxy.capture.accounts import LogMadeAnew, records_taken
from watchllm_proxy.capture.counts import read_log_counts
from watchllm_proxy.errors import CaptureLogError
from watchllm_proxy.outcomes import DeadLetterReason, ShedReason
from watchllm_proxy.records import LogPosition
from watchllm_proxy.store.accounts import StoredAccount, stored_accounts

ATTEMPTS = 5
_NOTHING_STORED = StoredAccount(LogPosition(0, 0), 0, {}, 0, 0)


@dataclass(frozen=True, slots=True)
class Balance:
    """Records by what became of them, of one log or of all. `lost_logs` are not there any more to be counted."""

    accepted: int = 0
    in_log: int = 0
    stored: int = 0
    dead_lettered: Mapping[DeadLetterReason, int] = field(default_factory=dict)
    dropped: int = 0
    shed: Mapping[ShedReason, int] = field(default_factory=dict)
    damaged_stretches: int = 0
    lost_logs: int = 0

    @property
    def set_aside(self) -> int:
        return sum(self.dead_lettered.values())

    @property
    def missing(self) -> int:
        """Accepted and nowhere to be found; below zero: counted more often than accepted."""
        return self.accepted - self.in_log - self.stored - self.set_aside - self.dropped

    def __add__(self, other: Balance) -> Balance:
        return Balance(
            self.accepted + other.accepted,
            self.in_log + other.in_log,
            self.stored + other.stored,
            Counter(self.dead_lettered) + Counter(other.dead_lettered),
            self.dropped + other.dropped,
            Counter(self.shed) + Counter(other.shed),
            self.damaged_stretches + other.damaged_stretches,
            self.lost_logs + other.lost_logs,
        )

    def in_words(self) -> str:
        """`9 accepted = 5 stored + 2 in the log + 2 dead-lettered (crashed 2); 1 shed (disk_full 1)`."""
        terms = [f"{self.stored:,} stored", f"{self.in_log:,} in the log"]
        if self.dead_lettered:
            terms.append(f"{self.set_aside:,} dead-lettered ({_by_reason(self.dead_lettered)})")
        if self.dropped:
            terms.append(f"{self.dropped:,} dropped")
        if self.missing:
            terms.append(f"{self.missing:,} MISSING")
        told = f"{self.accepted:,} accepted = {' + '.join(terms)}"
        return f"{told}; {sum(self.shed.values()):,} shed ({_by_reason(self.shed)})" if self.shed else told


def _by_reason(counts: Mapping[DeadLetterReason, int] | Mapping[ShedReason, int]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in sorted(counts.items()))


def total(balances: Iterable[Balance]) -> Balance:
    return sum(balances, Balance())


async def balances(pool: asyncpg.Pool, capture_dir: Path) -> dict[str, Balance]:
    """By log. While it runs, each side goes on: the stores are read first, the logs held against that moment.

    Raises `StoreUnavailable`, or `CaptureLogError` where a log cannot be read.
    """
    for attempt in range(ATTEMPTS):
        stored = await stored_accounts(pool)
        try:
            return await asyncio.to_thread(_of_logs, capture_dir, stored)
        except FileNotFoundError:  # the segment was stored and released between the two looks
            continue
        except LogMadeAnew:  # the same or, time and again, really
            if attempt == ATTEMPTS - 2:
                return await asyncio.to_thread(_of_logs, capture_dir, stored, with_lost=True)
    raise CaptureLogError(f"the capture logs of {capture_dir} change faster than they can be counted")


def _of_logs(
    capture_dir: Path, stored: Mapping[str, StoredAccount], *, with_lost: bool = False
) -> dict[str, Balance]:
    on_disk = {path.name for path in capture_dir.iterdir() if path.is_dir()} if capture_dir.is_dir() else set()
    try:
        return {
            name: _of_log(capture_dir / name, stored.get(name, _NOTHING_STORED), with_lost=with_lost)
            for name in sorted(on_disk | stored.keys())
        }
    except FileNotFoundError:
        raise
    except OSError as exc:
        raise CaptureLogError(f"the capture logs of {capture_dir} cannot be counted: {exc.strerror}") from exc


def _of_log(directory: Path, account: StoredAccount, *, with_lost: bool) -> Balance:
    done = account.stored + sum(account.dead_lettered.values()) + account.dropped
    is_lost = False
    try:
        before = records_taken(directory, account.position)
        accepted = records_taken(directory)
    except LogMadeAnew:  # nothing of what it took is there to be counted: what is stored is all that is known
        if not with_lost:
            raise
        is_lost, before, accepted = True, 0, done
    return Balance(
        accepted=accepted,
        in_log=accepted - before if not is_lost else 0,
        stored=account.stored,
        dead_lettered=account.dead_lettered,
        dropped=account.dropped,
        shed=read_log_counts(directory).shed,
        damaged_stretches=account.damaged_stretches,
        lost_logs=int(is_lost),
    )
