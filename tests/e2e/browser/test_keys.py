"""Logging in, and a key from its making to its end, in a real browser under the real policy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest
import pytest_asyncio
from aiohttp.test_utils import TestServer
from playwright.async_api import Browser, expect

from tests.console_runs import MemoryReading, refund_run
from tests.e2e.browser.conftest import Watched, watch
from watchllm_proxy import passwords
from watchllm_proxy.access import ConsoleAccess
from watchllm_proxy.console import Health, build_app
from watchllm_proxy.grants import Scope
from watchllm_proxy.proxy.auth import KeyRing, digest
from watchllm_proxy.settings import Settings
from watchllm_proxy.store import keys, people
from watchllm_proxy.store.transactions import open_pool

pytestmark = pytest.mark.browser

PASSWORD = "correct horse battery"


@pytest_asyncio.fixture(loop_scope="session")
async def pool(postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    opened = await open_pool(postgres_dsn)
    scopes = [Scope.READ, Scope.ADMIN]
    await people.create_person(opened, "ann", "default", scopes, passwords.hashed(PASSWORD))
    yield opened
    await opened.close()


async def test_somebody_logs_in_makes_a_key_sees_it_ends_it_and_leaves(
    browser: Browser, pool: asyncpg.Pool, aiohttp_server: Callable[..., Awaitable[TestServer]]
) -> None:
    async def health() -> Health:
        return Health()

    access = ConsoleAccess(KeyRing(), pool, allow_anonymous=False, is_loopback=True)
    reading = MemoryReading([refund_run()])
    app = build_app(reading, settings=Settings(), health=health, visitor_of=access.visitor_of, pool=pool)
    server = await aiohttp_server(app)
    page = await browser.new_page()
    seen = Watched(page, str(server.make_url("")).rstrip("/"))
    await watch(page, seen)

    await seen.go("/settings/keys")
    await page.get_by_label("Name").fill("ann")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Keys of the project default")

    await page.get_by_label("Name").fill("laptop")
    await page.get_by_role("button", name="Make it").click()
    shown = page.locator(".note code").first
    await expect(shown).to_be_visible()
    key = (await shown.text_content() or "").strip()
    _, grants = await keys.load_grants(pool)
    assert grants is not None
    assert set(grants.keys) == {digest(key.encode())}

    await page.get_by_role("button", name="Revoke laptop").click()
    await expect(page.locator("table.keys")).to_contain_text("revoked")
    await expect(page.get_by_text(key)).to_have_count(0)

    await page.get_by_role("button", name="Log out").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Log in")
    await seen.go("/runs")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Log in")
    await seen.assert_clean()
