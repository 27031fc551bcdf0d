"""What the console knows of erasures and backfills, out of Postgres, and how it asks for an erasure."""

from __future__ import annotations

import asyncpg

from watchllm_proxy.store import backfills, erasures
from watchllm_proxy.store.erasures import AskedErasure, Erasure


class StoredUpkeep:
    """`console.jobs.UpkeepDesk`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def erasures(self, project_id: str) -> list[AskedErasure]:
        return await erasures.of_project(self._pool, project_id)

    async def ask_for_erasure(self, erasure: Erasure) -> None:
        await erasures.ask_for(self._pool, erasure)

    async def backfill(self, project_id: str) -> backfills.Progress | None:
        return await backfills.progress_of(self._pool, project_id)
