"""The whole road in a browser: a request through the proxy, and its run on the screen."""

from __future__ import annotations

import asyncio
import json
import urllib.request

import pytest
from playwright.async_api import Browser

from tests.e2e.browser.conftest import Watched, watch
from tests.e2e.stack import Stack
from watchllm_proxy.console.addresses import run_path

pytestmark = pytest.mark.browser

ODD_RUN_ID = 'order/789?#%20 "q" <b>..json'


def _ask(stack: Stack, run_id: str, text: str) -> None:
    body = {"model": "gpt-4.1-mini", "messages": [{"role": "user", "content": text}]}
    headers = {
        "Content-Type": "application/json",
        "Authorization": "Bearer sk-test",
        "X-Run-Id": run_id,
    }
    request = urllib.request.Request(f"{stack.base_url}/chat/completions", json.dumps(body).encode(), headers)
    urllib.request.urlopen(request, timeout=10).read()


async def _watched(browser: Browser, stack: Stack) -> Watched:
    page = await (await browser.new_context()).new_page()
    seen = Watched(page, stack.origin)
    await watch(page, seen)
    return seen


async def test_the_first_page_moves_to_a_run_as_it_happens(browser: Browser, stack: Stack) -> None:
    seen = await _watched(browser, stack)
    await seen.go("/welcome")
    assert f"export OPENAI_BASE_URL={stack.base_url}" in await seen.page.locator(".cmd:visible").inner_text()
    await asyncio.to_thread(_ask, stack, "browser-run", "Where is my order, please?")
    await seen.page.wait_for_url("**/runs/browser-run", timeout=30_000)
    await seen.page.get_by_role("heading", name="Where is my order, please?").wait_for()
    await seen.page.wait_for_function("() => document.documentElement.dataset.ready === 'true'")
    await seen.page.keyboard.press("j")
    await seen.page.get_by_role("tab", name="Request").click()
    await seen.page.locator("#detail .msg", has_text="Where is my order, please?").wait_for()
    events = await seen.page.request.get(f"{stack.origin}/api/agent-runs/browser-run/events")
    assert '"is_over":true' in await events.text()
    await seen.assert_clean()


async def test_a_run_with_an_odd_id_is_found_through_the_proxy(browser: Browser, stack: Stack) -> None:
    await asyncio.to_thread(_ask, stack, ODD_RUN_ID, "An odd one.")
    seen = await _watched(browser, stack)
    await seen.go("/runs?kind=all")
    for _ in range(150):
        if await seen.page.get_by_text("An odd one.").count():
            break
        await asyncio.sleep(0.2)
        await seen.page.reload()
    await seen.page.get_by_role("link", name="An odd one.").click()
    await seen.page.wait_for_function("() => document.documentElement.dataset.ready === 'true'")
    assert seen.page.url.startswith(stack.origin + run_path(ODD_RUN_ID)[:20])
    assert ODD_RUN_ID in await seen.page.locator(".crumb").inner_text()
    await seen.assert_clean()
