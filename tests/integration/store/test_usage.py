"""What projects used: counts that may be said again, money that is added once, and what follows from both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date
from decimal import Decimal

import asyncpg
import pytest

from watchllm_proxy.store import keys, plans, project_settings, usage
from watchllm_proxy.store.plans import Feature
from watchllm_proxy.store.projects import create_project
from watchllm_proxy.store.sql import queries
from watchllm_proxy.store.transactions import BATCH, open_pool, transaction
from watchllm_proxy.store.usage import CountedDay, KeySpent, RequestCounts, Spent, UsedDay

FIRST, AFTER = date(2026, 11, 1), date(2026, 12, 1)
A_DAY, ANOTHER, NEXT_MONTH = date(2026, 11, 5), date(2026, 11, 30), date(2026, 12, 1)


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    opened = await open_pool(postgres_dsn)
    for project in ("acme", "other"):
        await create_project(opened, project, project)
    yield opened
    await opened.close()


async def choose(pool: asyncpg.Pool, project_id: str, **chosen: object) -> None:
    assert await project_settings.change(pool, project_id, lambda now: replace(now, **chosen))  # type: ignore[arg-type]


async def add_spent(pool: asyncpg.Pool, *spent: Spent) -> None:
    async with transaction(pool, BATCH) as connection:
        await connection.execute(queries("postgres")["add_spent"], *usage.spent_columns(spent))


def passed(project_id: str, day: date, count: int) -> CountedDay:
    return CountedDay(project_id, day, RequestCounts(passed=count))


async def test_counts_said_again_are_not_counted_again(pool: asyncpg.Pool) -> None:
    counts = RequestCounts(5, 1, 2, 3, 4, 6)
    for _ in range(3):
        await usage.save_counts(pool, "w0", [CountedDay("acme", A_DAY, counts)])
    await usage.save_counts(pool, "w1", [passed("acme", A_DAY, 10), passed("acme", ANOTHER, 1)])
    await usage.save_counts(pool, "w1", [passed("acme", A_DAY, 7)])  # a power cut set its file back
    await usage.save_counts(pool, "w1", [])
    nothing = Decimal(0)
    assert await usage.used_days(pool, "acme", FIRST, AFTER) == (
        UsedDay(A_DAY, replace(counts, passed=15), nothing, 0),
        UsedDay(ANOTHER, RequestCounts(1), nothing, 0),
    )
    assert await usage.used_days(pool, "other", FIRST, AFTER) == ()
    assert counts.refused == 15


async def test_what_others_counted_is_told_of_this_month_and_of_projects_with_a_quota(pool: asyncpg.Pool) -> None:
    await choose(pool, "acme", plan="free")
    for source in ("here", "there", "gone"):
        days = [passed("acme", A_DAY, 100), passed("acme", NEXT_MONTH, 7), passed("other", A_DAY, 50)]
        await usage.save_counts(pool, source, days)
    assert await usage.passed_elsewhere(pool, FIRST, AFTER, ["here"]) == {"acme": 200}
    assert await usage.passed_elsewhere(pool, FIRST, AFTER, ["here", "there", "gone"]) == {}


async def test_projects_near_the_end_of_their_quota_are_told(pool: asyncpg.Pool) -> None:
    await choose(pool, "acme", plan="free")
    await choose(pool, "other", plan="free")
    await usage.save_counts(pool, "w0", [passed("acme", A_DAY, 799), passed("other", A_DAY, 1_250)])
    assert await usage.near_quota(pool, FIRST, AFTER, 0.8) == {"other": 1.25}
    await usage.save_counts(pool, "w1", [passed("acme", ANOTHER, 1)])
    assert await usage.near_quota(pool, FIRST, AFTER, 0.8) == {"other": 1.25, "acme": 0.8}


async def test_who_spent_what_he_may_is_capped_for_the_month(pool: asyncpg.Pool) -> None:
    key = (await keys.create_key(pool, "other", "laptop")).info.key_id
    await pool_execute(pool, "UPDATE api_keys SET monthly_cap_usd = 1.5 WHERE key_id = $1", key)
    await choose(pool, "acme", monthly_cap_usd=Decimal("2"))
    await add_spent(
        pool,
        Spent("acme", A_DAY, "", Decimal("1.999999999999"), 1, 1),
        Spent("other", A_DAY, str(key), Decimal("1.25"), 1, 0),
        Spent("other", A_DAY, str(key), Decimal("0.25"), 1, 0),
    )
    assert await usage.capped(pool, FIRST, AFTER) == (frozenset(), {str(key)})
    await add_spent(pool, Spent("acme", ANOTHER, "k", Decimal("0.000000000001"), 1, 0))
    assert await usage.capped(pool, FIRST, AFTER) == ({"acme"}, {str(key)})
    assert await usage.capped(pool, NEXT_MONTH, date(2027, 1, 1)) == (frozenset(), frozenset())
    await choose(pool, "acme", monthly_cap_usd=Decimal("0"))
    assert (await usage.capped(pool, NEXT_MONTH, date(2027, 1, 1)))[0] == {"acme"}


async def pool_execute(pool: asyncpg.Pool, sql: str, *arguments: object) -> None:
    async with transaction(pool, BATCH) as connection:
        await connection.execute(sql, *arguments)


async def test_money_adds_up_by_day_and_by_key_and_a_late_cost_corrects_it(pool: asyncpg.Pool) -> None:
    await add_spent(
        pool,
        Spent("acme", A_DAY, "key", Decimal("0.5"), 2, 1),
        Spent("acme", A_DAY, "", Decimal("0.25"), 1, 0),
    )
    await add_spent(pool, Spent("acme", A_DAY, "key", Decimal("0.1"), 1, -1))  # its cost was told afterwards
    (day,) = await usage.used_days(pool, "acme", FIRST, AFTER)
    assert (day.cost_usd, day.unpriced_calls) == (Decimal("0.85"), 0)
    assert await usage.spent_by_key(pool, "acme", FIRST, AFTER) == (
        KeySpent("key", Decimal("0.6"), 0),
        KeySpent("", Decimal("0.25"), 0),
    )
    assert await usage.spent_by_key(pool, "other", FIRST, AFTER) == ()


# --- plans ------------------------------------------------------------------------------------------


async def test_the_plans_are_those_of_the_price_list(pool: asyncpg.Pool) -> None:
    found = await plans.all_plans(pool)
    assert [(each.plan, each.monthly_usd, each.monthly_requests, each.retention_days) for each in found] == [
        ("free", Decimal(0), 1_000, 7),
        ("starter", Decimal(29), 50_000, 30),
        ("pro", Decimal(99), 500_000, 90),
        ("enterprise", Decimal(499), None, 365),
        ("self_hosted", None, None, None),
    ]
    assert found[0].features == {Feature.EVENTS}
    assert found[-1].features == set(Feature)


async def test_a_feature_is_to_be_had_with_the_smallest_plan_for_sale_that_has_it(pool: asyncpg.Pool) -> None:
    found = await plans.all_plans(pool)
    smallest = {feature: plans.smallest_with(found, feature) for feature in Feature}
    assert {feature.value: plan.plan for feature, plan in smallest.items() if plan} == {
        "events": "free",
        "dashboard": "starter",
        "debugger": "pro",
        "cost_attribution": "pro",
        "anomaly_detection": "pro",
    }
    assert plans.smallest_with(found[-1:], Feature.DEBUGGER) == found[-1]
    assert plans.smallest_with(found[:1], Feature.DEBUGGER) is None


async def test_a_project_has_the_plan_that_was_chosen_for_it(pool: asyncpg.Pool) -> None:
    before = await plans.plan_of(pool, "acme")
    assert before is not None
    assert before.plan == "self_hosted"
    await choose(pool, "acme", plan="pro")
    after = await plans.plan_of(pool, "acme")
    assert after is not None
    assert after.plan == "pro"
    assert await plans.plan_of(pool, "nobody") is None
