"""CONDUCTOR of an erasure: one run's, user's or project's data leaves both stores, the dead letters and the logs.

The recorder does it between two batches, for it alone inserts and it alone remembers runs; where none runs, the
command does it in its place, holding the recorder's lock. Every step may be repeated, so a crash in between only
means that it is done again; what was erased is noted last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Protocol, TypeVar
from uuid import UUID

import asyncpg
import structlog

from watchllm_proxy.capture import payload
from watchllm_proxy.capture.merge import LogSet
from watchllm_proxy.decode import decode
from watchllm_proxy.errors import CaptureLogError, StoreRejected
from watchllm_proxy.records import TOLD_BESIDE, ClientIdKind, Exchange, LogPosition, Report
from watchllm_proxy.store import erasures
from watchllm_proxy.store.clickhouse import AsyncEventStore
from watchllm_proxy.store.dead_letters import DeadLetters
from watchllm_proxy.store.erased_calls import CallEraser, ErasedCalls
from watchllm_proxy.store.erasures import Erasure, ErasureScope
from watchllm_proxy.store.old_runs import DeletedRuns

log = structlog.get_logger(__name__)

LETTERS_AT_ONCE = 50

T = TypeVar("T")


class Patience(Protocol):
    """Does an operation on a store as soon as that one is there: the recorder waits, a command fails."""

    async def __call__(self, operation: Callable[[], Awaitable[T]]) -> T: ...


class Eraser:
    """Erases from both stores and the logs. `on_postgres`, `on_clickhouse`: how to wait for either.

    `stored_as` tells how a text of a project stands in the stores: an id may have been redacted. It is looked for
    as it is, too, for it need not always have been.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        events: AsyncEventStore,
        logs: LogSet,
        *,
        on_postgres: Patience,
        on_clickhouse: Patience,
        stored_as: Callable[[str, str], str] | None = None,
    ) -> None:
        self._pool = pool
        self._events = events
        self._logs = logs
        self._on_postgres = on_postgres
        self._on_clickhouse = on_clickhouse
        self._stored_as = stored_as

    async def wanted(self, *, before_us: int | None = None) -> list[Erasure]:
        return await erasures.wanted(self._pool, before_us=before_us)

    async def erase(self, erasure: Erasure, stored: dict[str, LogPosition]) -> None:
        """Erase, and note what was. `stored`: how far the logs are; what lies before is blanked on the disk.

        An erasure that a store refuses is noted as failed: nothing waits behind it.
        """
        try:
            erased = await self._erase(erasure, stored)
        except StoreRejected as exc:
            log.error("erasing.refused", erasure_id=str(erasure.erasure_id), error=str(exc))
            await self._end(erasure, None, failure=str(exc))
            return
        log.info("erasing.done", erasure_id=str(erasure.erasure_id), scope=erasure.scope.value, **erased)
        await self._end(erasure, erased)

    async def _end(self, erasure: Erasure, erased: dict[str, int] | None, failure: str | None = None) -> None:
        now = datetime.now(UTC)
        await self._on_postgres(
            lambda: erasures.end(self._pool, erasure.erasure_id, now, erased=erased, failure=failure)
        )

    async def _erase(self, erasure: Erasure, stored: dict[str, LogPosition]) -> dict[str, int]:
        runs, calls = await self._erase_stored(erasure)
        letters = 0 if erasure.scope is ErasureScope.BEFORE else await self._erase_letters(erasure)
        try:
            blanked_bytes = await asyncio.to_thread(self._logs.blank, stored)
        except CaptureLogError as exc:  # a disk that is full or read-only; they go when the segment is released
            log.warning("erasing.log_not_blanked", error=str(exc))
            blanked_bytes = 0
        return {
            "runs": runs.runs,
            "steps": runs.steps,
            "calls": calls.calls,
            "messages": calls.messages,
            "bodies": calls.bodies,
            "events": calls.events,
            "dead_letters": letters,
            "log_bytes": blanked_bytes,
            "waits_for_disk": int(not calls.is_gone_from_disk),
        }

    async def _erase_stored(self, erasure: Erasure) -> tuple[DeletedRuns, ErasedCalls]:
        """Which calls are meant is noted first, for what tells it is erased, too."""
        pool, project_id, subject = self._pool, erasure.project_id, erasure.subject
        eraser = CallEraser(self._events, erasure.erasure_id, project_id)
        match erasure.scope:
            case ErasureScope.PROJECT:
                calls = await self._on_clickhouse(eraser.erase_project)
                return await self._on_postgres(lambda: erasures.erase_project(pool, project_id)), calls
            case ErasureScope.BEFORE:
                await self._on_clickhouse(lambda: eraser.note_before(int(subject)))
                return DeletedRuns(), await self._on_clickhouse(eraser.erase)
            case ErasureScope.RUN:
                run_ids = [each for name in self._names(erasure) for each in both_kinds(name)]
            case ErasureScope.USER:
                found: set[str] = set()
                for name in self._names(erasure):
                    found.update(await self._on_clickhouse(partial(eraser.runs_of_user, name)))
                    found.update(await self._on_postgres(partial(erasures.runs_of_user, pool, project_id, name)))
                    await self._on_clickhouse(partial(eraser.note_user, name))
                run_ids = sorted(found)
        await self._on_clickhouse(lambda: eraser.note_runs(run_ids))
        runs = await self._on_postgres(lambda: erasures.erase_runs(pool, project_id, run_ids))
        return runs, await self._on_clickhouse(eraser.erase)

    def _names(self, erasure: Erasure) -> list[str]:
        """Of the run or the user that is meant, as it may stand in the stores."""
        if self._stored_as is None:
            return [erasure.subject]
        return list(dict.fromkeys((erasure.subject, self._stored_as(erasure.subject, erasure.project_id))))

    async def _erase_letters(self, erasure: Erasure) -> int:
        """Letters keep whole records, so each is looked into."""
        letters, after, erased = DeadLetters(self._pool), UUID(int=0), 0
        while page := await self._on_postgres(partial(letters.with_bytes, after, LETTERS_AT_ONCE)):
            after = page[-1][0]
            meant = [
                record_id
                for record_id, content in page
                if any(is_meant(replace(erasure, subject=name), content) for name in self._names(erasure))
            ]
            if meant:
                await self._on_postgres(partial(letters.erase, meant, datetime.now(UTC)))
            erased += len(meant)
        return erased


def both_kinds(run_id: str) -> tuple[str, str]:
    """A run that was captured and the one that was reported under its id go together."""
    captured = run_id.removesuffix(TOLD_BESIDE)
    return captured, f"{captured}{TOLD_BESIDE}"


def is_meant(erasure: Erasure, content: bytes) -> bool:
    """Does this record of a log belong to what is to be erased? In doubt: where it can be read no further it does,
    if the id stands in it."""
    subject = erasure.subject.encode("utf-8", "replace")
    try:
        exchange = payload.unpack_any(content)
    except CaptureLogError:
        return (subject or erasure.project_id.encode()) in content
    if exchange.project_id != erasure.project_id:
        return False
    if erasure.scope is ErasureScope.PROJECT:
        return True
    return subject in content if isinstance(exchange, Report) else _is_of(erasure, exchange, content)


def _is_of(erasure: Erasure, exchange: Exchange, content: bytes) -> bool:
    """Of its run, or its user."""
    try:
        call = decode(exchange)
    except Exception:
        return erasure.subject.encode("utf-8", "replace") in content
    if erasure.scope is ErasureScope.USER:
        return call.user_id == erasure.subject
    return any(each.kind is ClientIdKind.RUN and each.value == erasure.subject for each in call.client_ids)
