"""What every page says at its top: how the proxy is, what is away, and how much of the quota is used."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime

import asyncpg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from tests.console_runs import MemoryReading
from watchllm_proxy.console import Health, build_app, topbar
from watchllm_proxy.console.topbar import top_bar
from watchllm_proxy.errors import StoreUnavailable
from watchllm_proxy.settings import Settings
from watchllm_proxy.store import plans, project_settings, usage
from watchllm_proxy.store.project_settings import OverQuota
from watchllm_proxy.store.transactions import open_pool
from watchllm_proxy.store.usage import CountedDay, RequestCounts

PAGE = {"Accept": "text/html"}
PAGES = (
    "/runs",
    "/sessions",
    "/jobs",
    "/usage",
    "/settings/data",
    "/runs/run_7q2k9fh4",
    "/samples/loop",
    "/runs/nobody",
)


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_says_that_the_proxy_is_up(client: TestClient, path: str) -> None:
    page = await (await client.get(path, headers=PAGE)).text()
    assert "Proxy up" in page
    assert 'class="under' not in page


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_opens_and_says_what_is_away(
    client: TestClient, health: dict[str, str | None], monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """ClickHouse: what comes from Postgres is there all the same."""

    async def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("ClickHouse does not answer")

    for question in (
        "get_redacted",
        "get_sent_calls",
        "get_messages",
        "get_call",
        "recent_calls",
        "costs",
        "stored_calls",
    ):
        monkeypatch.setattr(MemoryReading, question, away)
    health["clickhouse"] = "ClickHouse <b>does</b> not answer."
    answer = await client.get(path, headers=PAGE)
    assert answer.status == (404 if path.endswith("nobody") else 200)
    page = await answer.text()
    assert "Requests pass" in page
    assert "ClickHouse &lt;b&gt;does&lt;/b&gt; not answer. What needs it is not available now" in page


def test_only_a_missing_upstream_keeps_requests_from_passing() -> None:
    away = Health(checks={"postgres": "Postgres is away."}, is_upstream_reachable=False)
    assert (top_bar(away, None).tone, top_bar(away, None).words) == ("bad", "Upstream unreachable")
    assert top_bar(replace(away, is_upstream_reachable=None), None).tone == "warn"


# --- the quota, on a real Postgres --------------------------------------------------------------------


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    opened = await open_pool(postgres_dsn)
    await project_settings.change(opened, "default", lambda before: replace(before, plan="free"))
    yield opened
    await opened.close()


@pytest.fixture
async def on_a_plan(
    pool: asyncpg.Pool, reading: MemoryReading, aiohttp_client: Callable[[web.Application], Awaitable[TestClient]]
) -> TestClient:
    async def well() -> Health:
        return Health()

    return await aiohttp_client(build_app(reading, settings=Settings(), health=well, pool=pool))


async def _sent(pool: asyncpg.Pool, percent: int) -> None:
    plan = await plans.plan_of(pool, "default")
    assert plan is not None
    assert plan.monthly_requests is not None
    counts = RequestCounts(passed=plan.monthly_requests * percent // 100)
    await usage.save_counts(pool, "w", [CountedDay("default", datetime.now(UTC).date(), counts)])


async def test_from_80_percent_on_a_line_says_how_much_is_used(
    on_a_plan: TestClient, pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topbar, "QUOTA_KNOWN_US", 0)
    for percent, shown in ((79, None), (82, "82 % of this month"), (100, "used up. Requests are refused")):
        await _sent(pool, percent)
        page = await (await on_a_plan.get("/runs", headers=PAGE)).text()
        assert ('class="under' in page) is (shown is not None), percent
        assert shown is None or shown in page
    await project_settings.change(pool, "default", lambda before: replace(before, over_quota=OverQuota.PASS))
    page = await (await on_a_plan.get("/runs", headers=PAGE)).text()
    assert "Requests pass, and of those beyond it figures are kept, and no text." in page
    assert 'href="/pricing">Plans' in page


async def test_the_quota_is_not_counted_for_each_page(on_a_plan: TestClient, pool: asyncpg.Pool) -> None:
    await on_a_plan.get("/runs", headers=PAGE)
    await _sent(pool, 90)
    assert 'class="under' not in await (await on_a_plan.get("/runs", headers=PAGE)).text()


async def test_programs_get_no_top_bar(on_a_plan: TestClient, pool: asyncpg.Pool) -> None:
    await _sent(pool, 100)
    assert "Proxy up" not in await (await on_a_plan.get("/runs")).text()
