"""What projects used, by day of UTC: requests as the proxies counted them, money as the recorder stored it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

import asyncpg

from watchllm_proxy.store import views
from watchllm_proxy.store.sql import queries
from watchllm_proxy.store.transactions import BATCH, QUESTION, UPKEEP, transaction


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """Of one day and project. `passed_over_quota` are of those that passed."""

    passed: int = 0
    passed_over_quota: int = 0
    refused_quota: int = 0
    refused_rate: int = 0
    refused_cap: int = 0
    refused_share: int = 0

    @property
    def refused(self) -> int:
        return self.refused_quota + self.refused_rate + self.refused_cap + self.refused_share


class CountedDay(NamedTuple):
    """What one source counted."""

    project_id: str
    day: date
    counts: RequestCounts


class Spent(NamedTuple):
    """What calls of one day cost that came with one key (empty: none). Differences, when a cost is told late."""

    project_id: str
    day: date
    key_id: str
    cost_usd: Decimal
    priced_calls: int
    unpriced_calls: int


class ToldLater(NamedTuple):
    """The cost of a call that an earlier batch stored."""

    project_id: str
    call_id: UUID
    cost_usd: Decimal


@dataclass(frozen=True, slots=True)
class Spending:
    """What a batch changes in what was spent."""

    spent: tuple[Spent, ...] = ()
    told_later: tuple[ToldLater, ...] = ()


@dataclass(frozen=True, slots=True)
class UsedDay:
    """`cost_usd` is of the calls that have a price."""

    day: date
    counts: RequestCounts
    cost_usd: Decimal
    unpriced_calls: int


@dataclass(frozen=True, slots=True)
class KeySpent:
    """What calls with one key cost in a month. Empty `key_id`: without a key, or with none that is known."""

    key_id: str
    cost_usd: Decimal
    unpriced_calls: int


async def save_counts(pool: asyncpg.Pool, source: str, days: Sequence[CountedDay]) -> None:
    """What `source` counted so far, in place of what it said before: said twice is said once."""
    rows = [
        (
            views.key(each.project_id),
            each.day,
            source,
            each.counts.passed,
            each.counts.passed_over_quota,
            each.counts.refused_quota,
            each.counts.refused_rate,
            each.counts.refused_cap,
            each.counts.refused_share,
        )
        for each in sorted(days)
    ]
    if rows:
        async with transaction(pool, BATCH) as connection:
            await connection.execute(queries("postgres")["save_usage"], *map(list, zip(*rows, strict=True)))


async def passed_elsewhere(pool: asyncpg.Pool, first: date, after: date, sources: Sequence[str]) -> dict[str, int]:
    """Requests that passed in these days by the count of others than `sources`, of projects that have a quota."""
    async with transaction(pool, UPKEEP) as connection:
        found = await connection.fetch(queries("postgres")["passed_elsewhere"], first, after, list(sources))
    return {row["project_id"]: int(row["passed"]) for row in found}


async def capped(pool: asyncpg.Pool, first: date, after: date) -> tuple[frozenset[str], frozenset[str]]:
    """Projects, and keys by their ids, that spent as much in these days as they may in a month."""
    async with transaction(pool, UPKEEP) as connection:
        projects = await connection.fetch(queries("postgres")["capped_projects"], first, after)
        keys = await connection.fetch(queries("postgres")["capped_keys"], first, after)
    return frozenset(row["project_id"] for row in projects), frozenset(row["key_id"] for row in keys)


async def near_quota(pool: asyncpg.Pool, first: date, after: date, share: float) -> dict[str, float]:
    """How much of its quota each project used that used at least `share` of it, most first: 1.0 is all of it."""
    async with transaction(pool, UPKEEP) as connection:
        found = await connection.fetch(queries("postgres")["near_quota"], first, after, share)
    return {row["project_id"]: float(row["used"]) for row in found}


async def used_days(pool: asyncpg.Pool, project_id: str, first: date, after: date) -> tuple[UsedDay, ...]:
    """Days on which there was something, in order."""
    async with transaction(pool, QUESTION, project_id) as connection:
        found = await connection.fetch(queries("postgres")["used_days"], views.key(project_id), first, after)
    return tuple(
        UsedDay(
            day=row["day"],
            counts=RequestCounts(
                *(int(row[name]) for name in RequestCounts.__dataclass_fields__),
            ),
            cost_usd=row["cost_usd"],
            unpriced_calls=int(row["unpriced_calls"]),
        )
        for row in found
    )


async def spent_by_key(pool: asyncpg.Pool, project_id: str, first: date, after: date) -> tuple[KeySpent, ...]:
    """The most first."""
    async with transaction(pool, QUESTION, project_id) as connection:
        found = await connection.fetch(queries("postgres")["spent_by_key"], views.key(project_id), first, after)
    return tuple(KeySpent(row["key_id"], row["cost_usd"], int(row["unpriced_calls"])) for row in found)


def spending_writes(spending: Spending) -> list[tuple[str, list[list[object]]]]:
    """Named statements with their arguments. To be told before the steps are saved: what is told later is held
    against the cost that they had."""
    writes: list[tuple[str, list[list[object]]]] = []
    if spending.told_later:
        rows = [(views.key(each.project_id), each.call_id, each.cost_usd) for each in spending.told_later]
        writes.append(("settle_spent", [list(column) for column in zip(*rows, strict=True)]))
    if spending.spent:
        writes.append(("add_spent", spent_columns(spending.spent)))
    return writes


def spent_columns(spent: Iterable[Spent]) -> list[list[object]]:
    """For the statement `add_spent`: one row for each project, day and key."""
    sums: dict[tuple[str, date, str], tuple[Decimal, int, int]] = {}
    for each in spent:
        key = (views.key(each.project_id), each.day, views.key(each.key_id))
        cost_usd, priced, unpriced = sums.get(key, (Decimal(0), 0, 0))
        sums[key] = (cost_usd + each.cost_usd, priced + each.priced_calls, unpriced + each.unpriced_calls)
    return [list(column) for column in zip(*((*key, *sums[key]) for key in sorted(sums)), strict=True)]
