"""A person puts runs right by clicking: split, taken back, merged, through proxy, recorder and real stores."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Browser, expect

from tests.e2e.browser.conftest import Watched
from tests.e2e.browser.test_through_the_stack import _ask, _watched
from tests.e2e.stack import Stack

pytestmark = pytest.mark.browser


async def stored(seen: Watched, run_id: str, steps: int) -> None:
    """Wait until the page of the run has so many steps."""
    for _ in range(150):
        answer = await seen.page.request.get(f"{seen.origin}/runs/{run_id}/steps")
        if answer.status == 200 and len((await answer.json())["index_gaps"]) == steps:
            return
        await asyncio.sleep(0.2)
    raise AssertionError(f"{run_id} never had {steps} steps")


async def ready(seen: Watched) -> None:
    await seen.page.wait_for_function("() => document.documentElement.dataset.ready === 'true'")


async def test_runs_are_split_taken_back_and_merged_by_clicking(browser: Browser, stack: Stack) -> None:
    for number in range(3):
        await asyncio.to_thread(_ask, stack, "mixed-up", f"Question {number}, please?")
    await asyncio.to_thread(_ask, stack, "other-one", "Something else?")
    seen = await _watched(browser, stack)
    page = seen.page
    await stored(seen, "mixed-up", 6)
    await stored(seen, "other-one", 2)

    await seen.go("/runs/mixed-up#step-3")
    await page.get_by_role("button", name="Split off from here on").click()
    await page.wait_for_url(lambda url: "/runs/" in url and "mixed-up" not in url)
    await ready(seen)
    await page.get_by_role("heading", name="Question 1, please?").wait_for()
    await expect(page.locator(".remark")).to_contain_text("A person split 2 calls off into this run")
    await page.keyboard.press("j")
    await page.locator("#detail .links", has_text="A person put it here").wait_for()
    await page.locator("#detail .links", has_text="was thought").wait_for()
    await stored(seen, "mixed-up", 2)

    await page.get_by_role("button", name="Take it back").click()
    await page.wait_for_url("**/runs/mixed-up#step-0")
    await ready(seen)
    await stored(seen, "mixed-up", 6)
    await expect(page.locator(".remark")).to_have_count(0)

    await page.get_by_text("Belongs elsewhere…").focus()
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    await page.keyboard.type("other-one")  # `j`, `e` and the like are letters here
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/runs/other-one#step-0")
    await ready(seen)
    await expect(page.locator(".remark")).to_contain_text("A person merged 3 calls into this run")
    await stored(seen, "other-one", 8)

    await seen.go("/runs/mixed-up")
    assert page.url.partition("#")[0].endswith("/runs/other-one")
    await seen.assert_clean()


async def test_what_cannot_be_is_told_on_a_page(browser: Browser, stack: Stack) -> None:
    await asyncio.to_thread(_ask, stack, "lonely", "Anybody there?")
    seen = await _watched(browser, stack)
    await stored(seen, "lonely", 2)
    await seen.go("/runs/lonely")
    assert await seen.page.get_by_role("button", name="Split off").count() == 0
    await seen.page.get_by_text("Belongs elsewhere…").click()
    await seen.page.get_by_label("All calls of this run belong to the run").fill("nobody")
    await seen.page.get_by_role("button", name="Merge into it").click()
    await seen.page.get_by_text("There is no such run to merge into.").wait_for()
