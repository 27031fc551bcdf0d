"""CONDUCTOR of figures that are told later: whose run they change, and the row in ClickHouse."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from uuid import UUID

from watchllm_proxy.patience import Patience
from watchllm_proxy.records import Settlement
from watchllm_proxy.store.clickhouse import AsyncEventStore
from watchllm_proxy.store.postgres import RunStore
from watchllm_proxy.store.told_costs import settle_params, settle_sql


class Settler:
    """Steps and totals of runs are the sessionizer's to change; the rest is here. Mostly nothing is to do."""

    def __init__(self, runs: RunStore, events: AsyncEventStore, patience: Patience) -> None:
        self._runs = runs
        self._events = events
        self._patience = patience
        self._sql = settle_sql()

    async def runs_of(self, settlements: Sequence[Settlement]) -> dict[UUID, str]:
        """The runs of the calls that these are about, as far as they are stored."""
        runs_of: dict[UUID, str] = {}
        for project_id in dict.fromkeys(told.project_id for told in settlements):
            call_ids = [told.call_id for told in settlements if told.project_id == project_id]
            runs_of |= await self._patience.on_postgres(partial(self._runs.runs_of_calls, project_id, call_ids))
        return runs_of

    async def write(self, settlements: Sequence[Settlement]) -> None:
        """A repeat is harmless."""
        for told in settlements:
            await self._patience.on_clickhouse(partial(self._events.execute, self._sql, settle_params(told)))
