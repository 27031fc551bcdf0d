"""What the console knows of plans and usage, out of Postgres."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from uuid import UUID

import asyncpg

from watchllm_proxy.errors import StoreUnavailable
from watchllm_proxy.store import keys, plans, project_settings, usage
from watchllm_proxy.store.plans import Plan
from watchllm_proxy.store.project_settings import ProjectSettings
from watchllm_proxy.store.usage import KeySpent, UsedDay

PLAN_S = 2.0
"""A changed plan is known after this long."""

MAX_KNOWN = 10_000


class StoredAccounts:
    """`console.account.AccountDesk`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._plans: dict[str, tuple[float, Plan | None]] = {}  # until when it is current, and which

    async def plans(self) -> tuple[Plan, ...]:
        return await plans.all_plans(self._pool)

    async def plan(self, project_id: str) -> Plan | None:
        known = self._plans.get(project_id)
        if known is not None and time.monotonic() < known[0]:
            return known[1]
        try:
            found = await plans.plan_of(self._pool, project_id)
        except StoreUnavailable:
            if known is None:
                raise
            return known[1]
        if len(self._plans) >= MAX_KNOWN:
            self._plans.clear()
        self._plans[project_id] = time.monotonic() + PLAN_S, found
        return found

    async def used(self, project_id: str, first: date, after: date) -> tuple[UsedDay, ...]:
        return await usage.used_days(self._pool, project_id, first, after)

    async def spent_by_key(self, project_id: str, first: date, after: date) -> tuple[KeySpent, ...]:
        return await usage.spent_by_key(self._pool, project_id, first, after)

    async def settings(self, project_id: str) -> ProjectSettings | None:
        return await project_settings.of_project(self._pool, project_id)

    async def change(
        self, project_id: str, edit: Callable[[ProjectSettings], ProjectSettings]
    ) -> ProjectSettings | None:
        changed = await project_settings.change(self._pool, project_id, edit)
        self._plans.pop(project_id, None)
        return changed

    async def limit_key(
        self, project_id: str, key_id: UUID, requests_per_minute: int | None, monthly_cap_usd: Decimal | None
    ) -> bool:
        return await keys.limit_key(self._pool, project_id, key_id, requests_per_minute, monthly_cap_usd)
