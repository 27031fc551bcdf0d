"""Ctrl+K in a real browser: everywhere by the keyboard."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from tests.console_runs import MemoryReading, refund_run
from tests.e2e.browser.conftest import Watched

pytestmark = pytest.mark.browser

Open = Callable[..., Awaitable[Watched]]


async def test_a_few_letters_lead_to_a_page_and_others_to_runs(watched: Open) -> None:
    seen = await watched(MemoryReading([refund_run()]))
    await seen.go("/usage")
    await seen.page.keyboard.press("Control+k")
    await seen.page.keyboard.type("by ag")
    await seen.page.keyboard.press("Enter")
    await seen.page.wait_for_url("**/costs?by=agent")
    await seen.page.keyboard.press("Control+k")
    await seen.page.keyboard.type("errors t")
    await seen.page.keyboard.press("Enter")
    await seen.page.wait_for_url("**/runs?errors=any&kind=all&since=24h")
    await seen.page.keyboard.press("Control+k")
    await seen.page.keyboard.type("run_7q2k")
    await seen.page.keyboard.press("Enter")
    await seen.page.wait_for_url("**/runs/run_7q2k9fh4*")
    await seen.page.keyboard.press("Control+k")
    await seen.page.keyboard.type("refund")
    links = seen.page.locator("dialog.jump a")
    await links.get_by_text("Runs of support-refund-agent").wait_for()
    assert [(await each.inner_text())[:14] for each in await links.all()] == [
        "support-refund", "Runs of suppor", "Runs with “ref",
    ]  # fmt: skip
    await seen.page.keyboard.type(" nobody has")
    await seen.page.keyboard.press("Enter")
    await seen.page.wait_for_url("**/runs?kind=all&q=refund%20nobody%20has")
    await seen.assert_clean()


async def test_escape_closes_it_and_hostile_words_stay_words(watched: Open) -> None:
    seen = await watched(MemoryReading([refund_run()]))
    await seen.go("/runs/run_7q2k9fh4")
    await seen.page.get_by_role("button", name="Jump to").click()
    await seen.page.keyboard.type("<img src=x onerror=window.pwned=1>&status=x#")
    link = seen.page.locator("dialog.jump a")
    assert await link.get_attribute("href") == (
        "/runs?kind=all&q=%3Cimg%20src%3Dx%20onerror%3Dwindow.pwned%3D1%3E%26status%3Dx%23"
    )
    await seen.page.keyboard.press("Escape")
    await seen.page.wait_for_function("() => document.querySelector('dialog.jump') === null")
    assert "/runs/run_7q2k9fh4" in seen.page.url, "it is the dialog that Escape leaves, not the run"
    await seen.assert_clean()
