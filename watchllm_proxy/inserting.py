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
    Insert,
    RecentMessages,
    event_inserts,
    note_hours_params,
    note_hours_sql,
)
from watchllm_proxy.store.here import absent, questions
from watchllm_proxy.store.reported_rows import reported_insert
from watchllm_proxy.store.retention import Retention
from watchllm_proxy.thinking import Thought

log = structlog.get_logger(__name__)


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
        inserts = event_inserts(
            thought.calls, bounds, keep_raw_days=self._keep_raw_days, retention=retention, recent=self._recent
        )
        if thought.events:
            inserts.append(reported_insert(thought.events, bounds, retention))
        is_part = self._is_part or self._cutter.is_tried(bounds)
        for insert in inserts:
            await self._insert(await self._absent(insert) if is_part else insert)
            crash_points.reach(f"recorder.after_{insert.table}")
        if self._is_doubtful:
            await self._make_sure(inserts, [call for call, _ in thought.calls])
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

    async def _make_sure(self, inserts: Iterable[Insert], calls: Sequence[Call]) -> None:
        for insert in inserts:
            again = await self._absent(insert)
            if again.rows:
                log.warning("recorder.rows_inserted_again", table=insert.table, rows=len(again.rows))
            await self._insert(again._replace(token=f"{insert.token}-{uuid.uuid4()}"))
        for params in note_hours_params(calls):  # the table's view may have been broken off alone
            await self._patience.on_clickhouse(partial(self._events.execute, note_hours_sql(), params))

    async def _absent(self, insert: Insert) -> Insert:
        """What is not there of it."""
        found: set[str] = set()
        for statement, params in questions(insert):
            rows = await self._patience.on_clickhouse(partial(self._events.query, statement, params))
            found.update(str(row["key"]) for row in rows)
        return absent(insert, found)
