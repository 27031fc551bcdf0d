"""What each project chose: its plan, and what is kept of its calls and how long. One row of `projects` each."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType

import asyncpg

from watchllm_proxy.errors import StoreRejected
from watchllm_proxy.store import views
from watchllm_proxy.store.sql import queries
from watchllm_proxy.store.transactions import QUESTION, UPKEEP, transaction

SETTINGS_S = 2.0
"""A change is known after this long."""


class OverQuota(StrEnum):
    """What becomes of a request beyond the plan's monthly quota."""

    REFUSE = "refuse"  # 429
    PASS = "pass"  # noqa: S105 - it is passed on, and of it figures are kept, and no text


@dataclass(frozen=True, slots=True)
class ProjectSettings:
    """None: nothing of its own. What then holds is said with each."""

    project_id: str
    plan: str
    over_quota: OverQuota = OverQuota.REFUSE
    redaction: str | None = None  # off, secrets, all; else as WATCHLLM_REDACT says
    redaction_rules: tuple[tuple[str, str], ...] = ()  # of its own, by name: (name, pattern of RE2)
    store_content: bool = True  # False: figures are kept, and no text
    retention_days: int | None = None  # 0: for ever; else as its plan says, or WATCHLLM_RETENTION_DAYS
    requests_per_minute: int | None = None  # of all its keys together; else any number
    monthly_cap_usd: Decimal | None = None  # in a month of UTC; else no cap
    flag_thresholds: tuple[tuple[str, Decimal], ...] = ()  # from where on something is a flag, by name
    name: str = ""  # for people
    wanted_plan: str | None = None  # what its admin asks for


class AllProjectSettings:
    """Those of all projects, for whoever works for all of them. Asks at most each `SETTINGS_S`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._known: Mapping[str, ProjectSettings] = MappingProxyType({})
        self._next_look = 0.0

    async def current(self) -> Mapping[str, ProjectSettings]:
        """By project. The same object until something changed. Raises `StoreUnavailable`."""
        if time.monotonic() >= self._next_look:
            async with transaction(self._pool, UPKEEP) as connection:
                found = await connection.fetch(queries("postgres")["settings_of_projects"])
            fresh = {row["project_id"]: _settings(row) for row in found}
            if fresh != self._known:
                self._known = MappingProxyType(fresh)
            self._next_look = time.monotonic() + SETTINGS_S
        return self._known


async def of_project(pool: asyncpg.Pool, project_id: str) -> ProjectSettings | None:
    """As they are this moment; None: there is no such project."""
    async with transaction(pool, QUESTION, project_id) as connection:
        row = await connection.fetchrow(queries("postgres")["settings_of_project"], views.key(project_id))
    return None if row is None else _settings(row)


async def change(
    pool: asyncpg.Pool, project_id: str, edit: Callable[[ProjectSettings], ProjectSettings]
) -> ProjectSettings | None:
    """Put what `edit` makes of a project's settings in their place; None: there is no such project.

    Two changes at once are one after the other. Raises `StoreRejected` for a value that cannot be.
    """
    async with transaction(pool, UPKEEP) as connection:
        row = await connection.fetchrow(queries("postgres")["settings_to_change"], views.key(project_id))
        if row is None:
            return None
        before = _settings(row)
        after = edit(before)
        if after.project_id != before.project_id:
            raise StoreRejected("a project's id cannot be changed")
        await connection.execute(
            queries("postgres")["change_settings"],
            after.project_id,
            after.plan,
            after.over_quota.value,
            after.redaction,
            after.store_content,
            after.retention_days,
            after.requests_per_minute,
            after.monthly_cap_usd,
            json.dumps(dict(after.redaction_rules)),
            json.dumps({name: str(value) for name, value in after.flag_thresholds}),
            views.text(after.name),
            after.wanted_plan,
        )
    return after


def _settings(row: asyncpg.Record) -> ProjectSettings:
    return ProjectSettings(
        project_id=row["project_id"],
        name=row["name"],
        plan=row["plan"],
        wanted_plan=row["wanted_plan"],
        over_quota=OverQuota(row["over_quota"]),
        redaction=row["redaction"],
        redaction_rules=tuple(sorted(json.loads(row["redaction_rules"]).items())),
        store_content=row["store_content"],
        retention_days=row["retention_days"],
        requests_per_minute=row["requests_per_minute"],
        monthly_cap_usd=row["monthly_cap_usd"],
        flag_thresholds=tuple(
            sorted((name, Decimal(value)) for name, value in json.loads(row["flag_thresholds"]).items())
        ),
    )
