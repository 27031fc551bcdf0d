"""Plans: what can be had, and which one a project has. Rows of `plans`; nothing here knows what is in one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

import asyncpg

from watchllm_proxy.store import views
from watchllm_proxy.store.sql import queries
from watchllm_proxy.store.transactions import QUESTION, transaction


class Feature(StrEnum):
    """What a plan has or has not. A word of `plans.features` that is none of these is nothing to us."""

    EVENTS = "events"
    DASHBOARD = "dashboard"
    DEBUGGER = "debugger"
    COST_ATTRIBUTION = "cost_attribution"
    ANOMALY_DETECTION = "anomaly_detection"


@dataclass(frozen=True, slots=True)
class Plan:
    """`monthly_usd` None: not for sale. `monthly_requests` None: any number.

    `retention_days` None: as the setting says.
    """

    plan: str
    title: str
    monthly_usd: Decimal | None
    monthly_requests: int | None
    retention_days: int | None
    features: frozenset[Feature]


async def all_plans(pool: asyncpg.Pool) -> tuple[Plan, ...]:
    """The smallest first."""
    async with transaction(pool, QUESTION) as connection:
        found = await connection.fetch(queries("postgres")["all_plans"])
    return tuple(map(_plan, found))


async def plan_of(pool: asyncpg.Pool, project_id: str) -> Plan | None:
    """The plan that the project has; None: there is no such project."""
    async with transaction(pool, QUESTION, project_id) as connection:
        row = await connection.fetchrow(queries("postgres")["plan_of_project"], views.key(project_id))
    return None if row is None else _plan(row)


def smallest_with(plans: Iterable[Plan], feature: Feature) -> Plan | None:
    """The one to upgrade to: the first for sale that has it, else any that has it."""
    having = [plan for plan in plans if feature in plan.features]
    return next((plan for plan in having if plan.monthly_usd is not None), having[0] if having else None)


def _plan(row: asyncpg.Record) -> Plan:
    known = {feature.value: feature for feature in Feature}
    return Plan(
        plan=row["plan"],
        title=row["title"],
        monthly_usd=row["monthly_usd"],
        monthly_requests=row["monthly_requests"],
        retention_days=row["retention_days"],
        features=frozenset(known[word] for word in row["features"] if word in known),
    )
