"""CONDUCTOR of starts that come to nothing: a batch that no recorder lives long enough to store is cut.

A recorder that is killed more often than a start and a batch take would store nothing, ever. So each start
counts itself with the batch that it takes up. From the second one on it takes the first half of what it finds,
down to one record; what follows is taken in batches that double again with each that is stored (decision 0255).

The rows of a batch are inserted under a token of its bounds, which those of a part are not under. How far the
whole reached is noted in the transaction that cuts it: until all before that is stored, we look which calls are
there already.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from uuid import UUID

import structlog

from watchllm_proxy.capture.merge import Batch
from watchllm_proxy.patience import Patience
from watchllm_proxy.records import BatchBounds, Call, LogPosition
from watchllm_proxy.store.clickhouse import AsyncEventStore
from watchllm_proxy.store.event_rows import calls_here_params, calls_here_sql
from watchllm_proxy.store.postgres import RunStore

log = structlog.get_logger(__name__)

STARTS_BEFORE_A_CUT = 2
_NOWHERE = LogPosition(0, 0)


class Cutter:
    """How much a batch may hold, and which of its calls are in ClickHouse from a batch that was cut."""

    def __init__(self, runs: RunStore, events: AsyncEventStore, patience: Patience) -> None:
        self._at_most: int | None = None  # records of the next batch; None: as many as ever
        self._runs = runs
        self._events = events
        self._patience = patience
        self._tried: dict[str, LogPosition] = {}

    async def load(self) -> None:
        """As of the last commit."""
        self._tried = await self._runs.tried()

    async def part_of(self, batch: Batch, starts: int) -> BatchBounds:
        """As much of a pending batch as this start should try, which is noted."""
        if starts < STARTS_BEFORE_A_CUT or len(batch.records) < 2:
            return batch.bounds
        whole, (part, _) = batch.bounds, batch.halves()
        self._at_most = len(batch.records) // 2
        await self._patience.on_postgres(lambda: self._runs.cut_batch(whole, part))
        await self._patience.on_postgres(self.load)
        log.warning("recorder.batch_cut", starts=starts, records=len(batch.records), left=self._at_most)
        return part

    def at_most(self, records: int) -> int:
        """How many the next batch may hold, which is this many as a rule."""
        return records if self._at_most is None else min(records, self._at_most)

    def stored(self) -> None:
        """One more batch is."""
        if self._at_most is not None:
            self._at_most *= 2

    async def here(self, bounds: BatchBounds, calls: Iterable[Call], *, is_tried: bool = False) -> set[UUID]:
        """Those of these calls, of this batch, that have their row already; nearly always nobody needs to look.

        `is_tried`: these were, whatever this knows of.
        """
        if not is_tried and not any(bounds.starts.get(name, _NOWHERE) < end for name, end in self._tried.items()):
            return set()
        found: set[UUID] = set()
        for params in calls_here_params(calls):
            rows: Sequence[dict[str, object]] = await self._patience.on_clickhouse(
                partial(self._events.query, calls_here_sql(), params)
            )
            found.update(UUID(str(row["call_id"])) for row in rows)
        return found
