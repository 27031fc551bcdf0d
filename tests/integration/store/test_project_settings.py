"""What a project chose: read by all who work for it, changed by one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal

import asyncpg
import pytest

from watchllm_proxy.errors import StoreRejected
from watchllm_proxy.store import project_settings
from watchllm_proxy.store.old_runs import RetentionRules
from watchllm_proxy.store.project_settings import AllProjectSettings, OverQuota, ProjectSettings
from watchllm_proxy.store.projects import create_project
from watchllm_proxy.store.retention import Retention
from watchllm_proxy.store.transactions import open_pool


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    opened = await open_pool(postgres_dsn)
    await create_project(opened, "acme", "Acme")
    yield opened
    await opened.close()


async def test_a_new_project_may_use_all_and_chose_nothing(pool: asyncpg.Pool) -> None:
    assert await project_settings.of_project(pool, "acme") == ProjectSettings("acme", "self_hosted", name="Acme")
    assert await project_settings.of_project(pool, "nobody") is None


async def test_everything_that_can_be_chosen_is_kept(pool: asyncpg.Pool) -> None:
    chosen = ProjectSettings(
        project_id="acme",
        plan="pro",
        over_quota=OverQuota.PASS,
        redaction="secrets",
        store_content=False,
        retention_days=3,
        requests_per_minute=60,
        monthly_cap_usd=Decimal("12.345678901234"),
        flag_thresholds=(("loop_times", Decimal(5)), ("run_budget_usd", Decimal("0.25"))),
        name="Acme & Söhne",
        wanted_plan="enterprise",
    )
    assert await project_settings.change(pool, "acme", lambda _: chosen) == chosen
    assert await project_settings.of_project(pool, "acme") == chosen
    found = await AllProjectSettings(pool).current()
    assert found == {"acme": chosen, "default": ProjectSettings("default", "self_hosted", name="Default")}


async def test_two_changes_at_once_are_both_made(pool: asyncpg.Pool) -> None:
    await asyncio.gather(
        project_settings.change(pool, "acme", lambda now: replace(now, plan="free")),
        project_settings.change(pool, "acme", lambda now: replace(now, requests_per_minute=7)),
        project_settings.change(pool, "acme", lambda now: replace(now, store_content=False)),
    )
    assert await project_settings.of_project(pool, "acme") == ProjectSettings(
        "acme", "free", requests_per_minute=7, store_content=False, name="Acme"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"plan": "golden"},
        {"wanted_plan": "golden"},
        {"redaction": "some"},
        {"requests_per_minute": 0},
        {"monthly_cap_usd": Decimal(-1)},
    ],
    ids=str,
)
async def test_what_cannot_be_is_refused_and_changes_nothing(
    pool: asyncpg.Pool, change: dict[str, object]
) -> None:
    with pytest.raises(StoreRejected):
        await project_settings.change(pool, "acme", lambda now: replace(now, **change))  # type: ignore[arg-type]
    with pytest.raises(StoreRejected):
        await project_settings.change(pool, "acme", lambda now: replace(now, project_id="default"))
    assert await project_settings.of_project(pool, "acme") == ProjectSettings("acme", "self_hosted", name="Acme")


async def test_nobody_changes_a_project_that_is_not_there(pool: asyncpg.Pool) -> None:
    assert await project_settings.change(pool, "nobody", lambda now: now) is None


async def test_calls_are_kept_as_the_plan_says_unless_the_project_says_otherwise(pool: asyncpg.Pool) -> None:
    await create_project(pool, "other", "Other")
    await create_project(pool, "third", "Third")
    await project_settings.change(pool, "acme", lambda now: replace(now, plan="free"))
    await project_settings.change(pool, "other", lambda now: replace(now, plan="free", retention_days=0))
    assert await RetentionRules(pool, 90).current() == Retention(90, {"acme": 7, "other": 0})
