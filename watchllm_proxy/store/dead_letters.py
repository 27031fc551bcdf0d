"""Records that were set aside: asked for again by a person, taken by the recorder, given up by a person.

A letter that is stored at last is deleted in the transaction that stores it. One that is given up stays as a
mark without its bytes: so the sum of what became of every capture stays exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from watchllm_proxy.outcomes import DeadLetterReason
from watchllm_proxy.store import views
from watchllm_proxy.store.postgres import DeadLetter
from watchllm_proxy.store.run_rows import Stored, uuid_from
from watchllm_proxy.store.sql import queries
from watchllm_proxy.store.transactions import BATCH, transaction

MAX_LISTED = 1000


@dataclass(frozen=True, slots=True)
class LetterInfo:
    """A dead letter as a list shows it: no bytes."""

    record_id: UUID
    log_name: str
    reason: DeadLetterReason
    detail: str
    payload_bytes: int
    at_us: int  # when it was last tried
    attempts: int
    is_wanted: bool  # a person asked to try it again, and the recorder has not come to it
    dropped_at_us: int | None  # None: its bytes are kept


class DeadLetters:
    """All methods raise `StoreUnavailable` or `StoreRejected`, nothing else."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._sql = queries("postgres")

    # --- for a person

    async def listed(
        self, *, reason: DeadLetterReason | None = None, with_dropped: bool = False, limit: int = MAX_LISTED
    ) -> list[LetterInfo]:
        """Oldest first."""
        found = await self._fetch("list_dead_letters", reason.value if reason else None, with_dropped, limit)
        return [_info(row) for row in found]

    async def beginning_with(self, prefix: str, limit: int) -> list[LetterInfo]:
        """Letters whose id begins so, dropped ones too."""
        return [_info(row) for row in await self._fetch("dead_letters_beginning_with", prefix.lower(), limit)]

    async def payload(self, record_id: UUID) -> bytes | None:
        """The log record, byte for byte; None where there is no such letter, or it was dropped."""
        found = await self._fetch("dead_letters_by_id", [record_id])
        return bytes(found[0]["payload"]) if found else None

    async def ask_again(self, record_ids: Sequence[UUID], now_us: int) -> list[UUID]:
        """The recorder is to try these once more. Returns those there are to try; dropped ones are not."""
        found = await self._fetch("ask_for_dead_letters", list(record_ids), views.instant(now_us))
        return [uuid_from(row["record_id"]) for row in found]

    async def drop(self, record_ids: Sequence[UUID], now_us: int) -> list[UUID]:
        """Delete their bytes for good. Returns those it was done to: not those that are to be tried again."""
        found = await self._fetch("drop_dead_letters", list(record_ids), views.instant(now_us))
        return [uuid_from(row["record_id"]) for row in found]

    async def with_bytes(self, after: UUID, limit: int) -> list[tuple[UUID, bytes]]:
        """Letters that still have their bytes, in the order of their ids."""
        found = await self._fetch("dead_letters_with_bytes", after, limit)
        return [(uuid_from(row["record_id"]), bytes(row["payload"])) for row in found]

    async def erase(self, record_ids: Sequence[UUID], now: datetime) -> None:
        """Delete their bytes for good, also of those that are to be tried again; marks stay for the accounts."""
        await self._fetch("erase_dead_letters", list(record_ids), now)

    async def still_there(self, record_ids: Sequence[UUID]) -> list[LetterInfo]:
        """Which of these are not stored."""
        return [_info(row) for row in await self._fetch("dead_letter_states", list(record_ids))]

    # --- for the recorder

    async def wanted(self, *, max_records: int, max_bytes: int) -> list[DeadLetter]:
        """Letters that a person asked for, those first that were asked for first; one in any case."""
        return [_letter(row) for row in await self._fetch("wanted_dead_letters", max_records, max_bytes)]

    async def kept(self, record_ids: Sequence[UUID]) -> list[DeadLetter]:
        """The same by id: a batch of them once more, after a crash."""
        return [_letter(row) for row in await self._fetch("dead_letters_by_id", list(record_ids))]

    async def _fetch(self, name: str, *arguments: object) -> Sequence[Stored]:
        async with transaction(self._pool, BATCH) as connection:
            found: Sequence[Stored] = await connection.fetch(self._sql[name], *arguments)
        return found


def _info(row: Stored) -> LetterInfo:
    return LetterInfo(
        record_id=uuid_from(row["record_id"]),
        log_name=row["log_name"],
        reason=DeadLetterReason(row["reason"]),
        detail=row["detail"],
        payload_bytes=row["payload_bytes"],
        at_us=views.at_us(row["at"]),
        attempts=row["attempts"],
        is_wanted=row["retry_requested_at"] is not None,
        dropped_at_us=views.optional_at_us(row["dropped_at"]),
    )


def _letter(row: Stored) -> DeadLetter:
    return DeadLetter(
        row["log_name"],
        uuid_from(row["record_id"]),
        DeadLetterReason(row["reason"]),
        row["detail"],
        bytes(row["payload"]),
    )
