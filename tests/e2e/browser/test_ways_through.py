"""From the list to the cause without a mouse, back again, without a network, and without a script."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from playwright.async_api import Browser, async_playwright, expect

from tests.conftest import CHROMIUM
from tests.e2e.browser.conftest import FLAGS, Watched, watch
from tests.e2e.browser.every_page import pages
from tests.e2e.stack import Stack

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

NO_NETWORK = ("--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", "--proxy-server=direct://")
MOVING = r"\d+ (?:ms|s|min|h|d)\b|just now|\d+ \w+ ago"


async def _opened(browser: Browser, stack: Stack, **options: object) -> Watched:
    page = await (await browser.new_context(**options)).new_page()  # type: ignore[arg-type]
    seen = Watched(page, stack.origin)
    await watch(page, seen)
    return seen


async def test_the_whole_way_from_the_list_to_the_cause_and_back_needs_no_mouse(
    browser: Browser, stack: Stack, places: Mapping[str, str]
) -> None:
    seen = await _opened(browser, stack, permissions=["clipboard-read", "clipboard-write"])
    page, press = seen.page, seen.page.keyboard.press
    await seen.go("/welcome")
    await press("Control+k")
    await page.keyboard.type("errors today")
    await press("Enter")
    await page.wait_for_url("**/runs?errors=any*")
    await press("/")
    await page.keyboard.type(places["run_id"])
    await press("Enter")
    await page.wait_for_url("**/runs?*q=*")
    run = page.locator(f"tr[data-run='{places['run_id']}'] a").first
    for _ in range(60):
        if await run.evaluate("(link) => link === document.activeElement"):
            break
        await press("Tab")
    await expect(run).to_be_focused()
    await press("Enter")
    await page.wait_for_function("() => document.documentElement.dataset.ready === 'true'")

    shown = page.locator("#detail .nn")
    await expect(shown).to_be_visible()
    first = await shown.inner_text()
    await press("e")  # the next failing step, what it asked and what it was told
    await expect(shown).not_to_have_text(first)
    await press("h")  # who asked for it
    await press("d")  # what was new in that request
    await expect(page.locator("#detail [role=tab][aria-selected=true]")).to_have_text("Diff")
    await press("y")
    copied = await page.evaluate("navigator.clipboard.readText()")
    assert copied == page.url
    assert page.url.endswith("/diff")
    await press("Escape")
    await page.wait_for_url("**/runs*")
    await seen.assert_clean()


async def test_back_leads_to_the_step_before_a_link_was_followed(
    browser: Browser, stack: Stack, places: Mapping[str, str]
) -> None:
    seen = await _opened(browser, stack)
    page = seen.page
    await seen.go(f"/runs/{places['run_id']}#step-9")
    await expect(page.locator("#detail .nn")).to_have_text("#9")
    link = page.locator("#detail .links a").first
    target = (await link.inner_text()).strip()
    assert target != "#9"
    await link.click()
    await expect(page.locator("#detail .nn")).to_have_text(target)
    await page.go_back()
    await expect(page.locator("#detail .nn")).to_have_text("#9")
    assert page.url.endswith("#step-9")
    await seen.assert_clean()


async def test_with_the_network_cut_every_page_is_the_same(
    browser: Browser, stack: Stack, places: Mapping[str, str]
) -> None:
    paths = [path for path in pages(stack.origin, places) if not path.startswith("/static/")]
    async with async_playwright() as playwright:
        cut = await playwright.chromium.launch(executable_path=str(CHROMIUM), args=[*FLAGS, *NO_NETWORK])
        here, there = await _opened(browser, stack), await _opened(cut, stack)
        for path in paths:
            shown = []
            for seen in (here, there):
                await seen.go(path)
                if await seen.page.locator("#grid").count():
                    await seen.page.locator("#detail .nn").wait_for()
                await seen.page.wait_for_function("() => document.fonts.status === 'loaded'")
                shown.append(
                    await seen.page.evaluate(
                        """(moving) => [
                    (document.querySelector('main > :not(.split)')
                            ?? document.querySelector('main')).innerText.replace(new RegExp(moving, 'g'), ''),
                    getComputedStyle(document.body).fontFamily, document.styleSheets.length]""",
                        MOVING,
                    )
                )
            assert shown[0] == shown[1], path
        assert here.outside == there.outside == []
        await cut.close()


async def test_without_a_script_every_page_has_its_heading_and_no_dead_button(
    browser: Browser, stack: Stack, places: Mapping[str, str]
) -> None:
    seen = await _opened(browser, stack, java_script_enabled=False)
    for path in pages(stack.origin, places):
        await seen.page.goto(seen.origin + path)
        assert (await seen.page.locator("main :is(h1, h2, p)").first.inner_text()).strip(), path
        outside_forms = seen.page.locator("button:visible:not(form button)")
        assert await outside_forms.count() == 0, path
