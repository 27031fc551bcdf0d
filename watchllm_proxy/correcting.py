"""CONDUCTOR of corrections: what a person asked for -> plan -> rows of both stores, between two batches.

The recorder calls it, for it alone writes runs. A crash anywhere leaves the correction waiting; it is carried out
again from the rows as they were, and what ClickHouse was told already is told it once more. Afterwards the
recorder takes up its state anew, as after a restart: what lies in the stores is all there is to know.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol, TypeVar
from uuid import UUID

import structlog

from watchllm_proxy import crash_points
from watchllm_proxy.decode import decode, rebuild
from watchllm_proxy.errors import StoreError, StoreRejected
from watchllm_proxy.records import (
    Body,
    Correction,
    Exchange,
    ExchangeEnd,
    Explanation,
    Flag,
    Moved,
    RunChanges,
)
from watchllm_proxy.sessionize.corrections import PlacedCall, Plan, Refused, Rows, Told, plan, told_by
from watchllm_proxy.sessionize.person import SaidByPeople
from watchllm_proxy.sessionize.regrouping import Corrected, carry_out
from watchllm_proxy.store.clickhouse import AsyncEventStore
from watchllm_proxy.store.corrections import Corrections, commit_correction, refuse_correction
from watchllm_proxy.store.event_rows import move_params, move_sql
from watchllm_proxy.store.postgres import RunKey, RunStore
from watchllm_proxy.store.reading import StoreReading
from watchllm_proxy.store.sql import queries

log = structlog.get_logger(__name__)

T = TypeVar("T")
Insights = tuple[Mapping[RunKey, Sequence[Flag]], Mapping[RunKey, Sequence[Explanation]]]


class Patiently(Protocol):
    """Does it, waiting as long as it takes for the store of this name."""

    async def __call__(self, store: str, operation: Callable[[], Awaitable[T]]) -> T: ...


class Corrector:
    """`insights` gives flags and explanations of changed runs; `postgres` and `clickhouse` name the stores."""

    def __init__(
        self,
        runs: RunStore,
        events: AsyncEventStore,
        *,
        patiently: Patiently,
        insights: Callable[[RunChanges], Awaitable[Insights]],
        stores: tuple[str, str],
    ) -> None:
        self._runs = runs
        self._events = events
        self._patiently = patiently
        self._insights = insights
        self._postgres, self._clickhouse = stores
        self._corrections = Corrections(runs.pool)
        self._reading = StoreReading(runs.pool, events, rebuild=rebuild)
        self._move_sql = move_sql()
        self._heads_sql = queries("clickhouse")["call_heads"]

    async def said(self) -> SaidByPeople:
        """What is in force. Raises `StoreUnavailable`."""
        return SaidByPeople(await self._corrections.in_force())

    async def carry_out_waiting(self, *, now_us: int, silence_us: int) -> int:
        """How many were carried out or refused: 0 when nothing waits."""
        waiting = await self._patiently(self._postgres, self._corrections.waiting)
        for correction in waiting:
            try:
                await self._carry_out(correction, now_us, silence_us)
            except Refused as exc:
                await self._refuse(correction, exc.code, str(exc))
            except StoreRejected as exc:
                log.error("corrections.rejected", correction_id=str(correction.correction_id), error=str(exc))
                await self._refuse(correction, "failed", "A store refused the new rows. Nothing was changed.")
        return len(waiting)

    async def _carry_out(self, correction: Correction, now_us: int, silence_us: int) -> None:
        rows = await self._patiently(self._postgres, lambda: self._rows(correction))
        with _bugs_refuse():
            planned = plan(correction, rows)
        told = await self._told(planned)
        with _bugs_refuse():
            corrected = await asyncio.to_thread(
                carry_out, planned, rows, told, now_us=now_us, silence_us=silence_us
            )
        insights = await self._insights(corrected.changes)
        await self._move(corrected.changes.moved)
        crash_points.reach("corrections.after_events")
        try:
            await self._patiently(self._postgres, lambda: self._commit(corrected, insights, now_us))
        except (Refused, StoreRejected):
            await self._move(_as_before(corrected, rows))
            raise
        log.info(
            "corrections.carried_out",
            correction_id=str(correction.correction_id),
            kind=correction.kind.value,
            calls=len(planned.moved),
        )

    async def _move(self, moved: Sequence[Moved]) -> None:
        for params in move_params(moved):
            await self._patiently(self._clickhouse, partial(self._events.execute, self._move_sql, params))

    async def _refuse(self, correction: Correction, code: str, words: str) -> None:
        await self._patiently(self._postgres, lambda: refuse_correction(self._runs, correction, code, words))

    async def _rows(self, correction: Correction) -> Rows:
        stored = await self._corrections.rows(correction)
        calls = {call_id: PlacedCall(run_id, links) for call_id, (run_id, links) in stored.calls.items()}
        return Rows(stored.runs, stored.steps, calls, stored.anchors, stored.in_force)

    async def _commit(self, corrected: Corrected, insights: Insights, now_us: int) -> None:
        flags, explanations = insights
        with _bugs_refuse():
            await commit_correction(
                self._runs,
                corrected.carried_out,
                corrected.changes,
                flags,
                explanations,
                gone=corrected.gone,
                hung=[(each.run_id, each.session_id, each.parent_run_id) for each in corrected.hung],
                dropped_anchors=corrected.dropped_anchors,
                at_us=now_us,
            )

    # --- what calls tell of the run that they are in

    async def _told(self, planned: Plan) -> dict[UUID, Told]:
        call_ids = [call_id for calls in planned.calls.values() for call_id in calls]
        told = await self._patiently(self._clickhouse, lambda: self._heads(planned, call_ids))
        for run_id in planned.renamed:
            first = planned.calls[run_id][0]
            if first in told:
                told[first] = await self._told_by_first(planned.correction.project_id, first, told[first])
        return told

    async def _heads(self, planned: Plan, call_ids: Sequence[UUID]) -> dict[UUID, Told]:
        params = {"project_id": planned.correction.project_id, "call_ids": [str(each) for each in call_ids]}
        found = await self._events.query(self._heads_sql, params)
        with _bugs_refuse():
            return {UUID(str(row["call_id"])): _head(row) for row in found}

    async def _told_by_first(self, project_id: str, call_id: UUID, head: Told) -> Told:
        """Title and agent, out of the request; only `head` where that is not kept (any more)."""
        call = await self._patiently(self._clickhouse, lambda: self._reading.get_call(project_id, call_id))
        if call is None or call.request is None:
            return head
        exchange = Exchange(
            exchange_id=call_id,
            project_id=project_id,
            method=call.row.method,
            target=call.row.target,
            request_headers=(),
            request_body=Body(call.request, len(call.request)),
            status=None,
            response_headers=(),
            response_body=Body(b"", 0),
            end=ExchangeEnd.COMPLETE,
            started_at_us=call.row.started_at_us,
            first_byte_us=None,
            duration_us=call.row.duration_us,
            client_address="",
        )
        decoded = replace(decode(exchange), agent_name=head.agent_name, agent_version=head.agent_version)
        told = told_by(decoded)
        return replace(told, user_id=head.user_id, tags=head.tags, offers_tools=head.offers_tools)


def _as_before(corrected: Corrected, rows: Rows) -> list[Moved]:
    """The same calls, where they were."""
    runs = [rows.runs[rows.calls[moved.call_id].run_id] for moved in corrected.changes.moved]
    return [
        Moved(moved.call_id, moved.project_id, run.run_id, run.session_id, run.parent_run_id)
        for moved, run in zip(corrected.changes.moved, runs, strict=True)
    ]


@contextlib.contextmanager
def _bugs_refuse() -> Iterator[None]:
    """A bug of ours costs the correction: the recorder has calls to store."""
    try:
        yield
    except (Refused, StoreError):
        raise
    except Exception as exc:
        log.error("corrections.crashed", error=type(exc).__name__, exc_info=exc)
        raise Refused(
            "failed", "This is an error of WatchLLM's own; its log says more. Nothing was changed."
        ) from exc


def _head(row: Mapping[str, object]) -> Told:
    tags = row["tags"]
    assert isinstance(tags, Mapping)  # noqa: S101 - sql/clickhouse/queries.sql
    return Told(
        agent_name=_text(row["agent_name"]),
        agent_version=_text(row["agent_version"]),
        user_id=_text(row["user_id"]),
        tags=tuple((_text(name) or "", _text(value) or "") for name, value in tags.items()),
        offers_tools=bool(row["offers_tools"]),
    )


def _text(value: object) -> str | None:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return None if value is None else str(value)
