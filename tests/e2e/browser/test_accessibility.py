"""WCAG 2.2 A and AA on every page of the console, in light and dark, by axe; what it cannot judge is elsewhere."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from playwright.async_api import Browser, Page

from tests.e2e.browser.axe import violations
from tests.e2e.browser.conftest import Watched
from tests.e2e.browser.every_page import pages
from tests.e2e.stack import Stack

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]


async def _opened(browser: Browser, stack: Stack) -> Watched:
    context = await browser.new_context(viewport={"width": 1440, "height": 900}, bypass_csp=True)
    return Watched(await context.new_page(), stack.origin)


async def test_no_page_breaks_a_rule_of_wcag_in_light_or_dark(
    browser: Browser, stack: Stack, places: Mapping[str, str]
) -> None:
    seen = await _opened(browser, stack)
    found: dict[str, list[str]] = {}
    looked_at = pages(stack.origin, places)
    for path in looked_at:
        await seen.go(path)
        found[path] = await violations(seen.page)
    assert len(looked_at) >= 15
    assert {path: broken for path, broken in found.items() if broken} == {}


async def test_no_part_of_a_step_and_no_dialog_breaks_one(
    browser: Browser, stack: Stack, places: Mapping[str, str]
) -> None:
    seen = await _opened(browser, stack)
    found: dict[str, list[str]] = {}

    async def look(what: str, page: Page = seen.page) -> None:
        await page.wait_for_function("() => !/Loading…/.test(document.querySelector('#detail').textContent)")
        found[what] = await violations(page)

    await seen.go(f"/runs/{places['run_id']}#step-{places['index']}")
    await seen.page.locator("#detail .nn").wait_for()
    for _ in range(await seen.page.locator("#detail [role=tab]").count()):
        await seen.page.keyboard.press("]")
        await look(await seen.page.locator("#detail [role=tab][aria-selected=true]").inner_text())
    for keys, name in (("?", "Keys"), ("Control+k", "Jump to…")):
        await seen.page.keyboard.press(keys)
        await seen.page.locator("dialog[open]").wait_for()
        await look(name)
        await seen.page.keyboard.press("Escape")
        await seen.page.locator("dialog").wait_for(state="detached")
    await seen.page.set_viewport_size({"width": 390, "height": 844})
    await look("a narrow screen")
    assert len(found) >= 5 + 3
    assert {what: broken for what, broken in found.items() if broken} == {}
