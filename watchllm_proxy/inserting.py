"""CONDUCTOR of a batch's way into ClickHouse: each row once, whatever was broken off on the way.

A table drops rows that come again under their token. But it notes the token before the rows are its own: killed
between the two, it drops rows that are nowhere. The embedded ClickHouse is killed with us, a server by itself. So
an insert that may have been broken off is not believed: its rows are looked for, or inserted once more. Decision
0258 tells it all.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from functools import partial

import structlog

from watchllm_proxy import crash_points
from watchllm_proxy.cutting import Cutter
from watchllm_proxy.errors import StoreUnavailable
from watchllm_proxy.patience import Patience
from watchllm_proxy.records import BatchBounds, Call
from watchllm_proxy.store.clickhouse import AsyncEventStore
from watchllm_proxy.store.event_rows import (
    EVENT_COLUMNS,
    Insert,
    RecentMessages,
    calls_here_params,
    event_inserts,
    note_hours_sql,
)
from watchllm_proxy.store.reported_rows import reported_insert
from watchllm_proxy.store.retention import Retention
from watchllm_proxy.thinking import Thought

log = structlog.get_logger(__name__)

_CALL_ID = EVENT_COLUMNS.index("call_id")


class Inserter:
    """Inserts what was thought of a batch, and waits while ClickHouse is away."""

    def __init__(self, events: AsyncEventStore, cutter: Cutter, patience: Patience, *, keep_raw_days: int) -> None:
        self._events = events
        self._cutter = cutter
        self._patience = patience
        self._keep_raw_days = keep_raw_days
        self._recent = RecentMessages()
        self._is_doubtful = False  # an insert of this batch may have been broken off
        self._is_part = False  # of a batch that may have been inserted as a whole

    def forget(self) -> None:
        """What was stored may be gone."""
        self._recent = RecentMessages()

    def doubt(self) -> None:
        """Somebody who was killed has tried the next batch before."""
        self._is_doubtful = True

    def look_first(self) -> None:
        """The next batch is part of one that may have been inserted, under another token."""
        self._is_part = True

    async def insert(self, bounds: BatchBounds, thought: Thought, retention: Retention) -> None:
        calls = [call for call, _ in thought.calls]
        inserts = event_inserts(
            thought.calls,
            bounds,
            keep_raw_days=self._keep_raw_days,
            retention=retention,
            recent=self._recent,
            here=await self._cutter.here(bounds, calls, is_tried=self._is_part),
        )
        if thought.events:
            inserts.append(reported_insert(thought.events, bounds, retention))
        for insert in inserts:
            await self._insert(insert)
            crash_points.reach(f"recorder.after_{insert.table}")
        if self._is_doubtful:
            await self._make_sure(inserts, bounds, calls)
        self._is_doubtful = self._is_part = False
        self._recent.remember(inserts)

    async def _insert(self, insert: Insert) -> None:
        async def attempt() -> None:
            try:
                await self._events.insert(*insert)
            except StoreUnavailable:
                self._is_doubtful = True
                raise

        await self._patience.on_clickhouse(attempt)

    async def _make_sure(self, inserts: Iterable[Insert], bounds: BatchBounds, calls: Sequence[Call]) -> None:
        """Calls that are not there are inserted; all else is inserted once more, and merged by its table."""
        for insert in inserts:
            rows = insert.rows
            if insert.table == "events":
                here = await self._cutter.here(bounds, calls, is_tried=True)
                rows = [row for row in rows if row[_CALL_ID] not in here]
                if rows:
                    log.warning("recorder.rows_were_nowhere", table=insert.table, rows=len(rows))
            await self._insert(insert._replace(rows=rows, token=f"{insert.token}-{uuid.uuid4()}"))
        for params in calls_here_params(calls):  # the table's view may have been broken off alone
            await self._patience.on_clickhouse(partial(self._events.execute, note_hours_sql(), params))
