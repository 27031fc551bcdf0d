"""CONDUCTOR of starts that come to nothing: a batch that no recorder lives long enough to store is cut.

A recorder that is killed more often than a start and a batch take would store nothing, ever. So each start
counts itself with the batch that it takes up. From the second one on it takes the first half of what it finds,
down to one record; what follows is taken in batches that double again with each that is stored (decision 0255).

The rows of a batch are inserted under a token of its bounds, which those of a part are not under. How far the
whole reached is noted in the transaction that cuts it: until all before that is stored, we look which calls are
there already.
"""

from __future__ import annotations

import structlog

from watchllm_proxy.capture.merge import Batch
from watchllm_proxy.patience import Patience
from watchllm_proxy.records import BatchBounds, LogPosition
from watchllm_proxy.store.postgres import RunStore

log = structlog.get_logger(__name__)

STARTS_BEFORE_A_CUT = 2
_NOWHERE = LogPosition(0, 0)


class Cutter:
    """How much a batch may hold, and whether it is a part of one that was cut."""

    def __init__(self, runs: RunStore, patience: Patience) -> None:
        self._at_most: int | None = None  # records of the next batch; None: as many as ever
        self._runs = runs
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

    def is_tried(self, bounds: BatchBounds) -> bool:
        """Rows of this batch may be there from a larger one."""
        return any(bounds.starts.get(name, _NOWHERE) < end for name, end in self._tried.items())
