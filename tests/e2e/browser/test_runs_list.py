"""The list of runs in a real browser while runs come and end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from tests.console_runs import MemoryReading, make_run
from tests.e2e.browser.conftest import Watched
from tests.e2e.browser.payloads import PAYLOADS
from watchllm_proxy.console.loading import LoadedRun
from watchllm_proxy.records import RunStatus

pytestmark = pytest.mark.browser

Open = Callable[..., Awaitable[Watched]]


async def test_new_runs_wait_behind_a_button_and_the_list_stays_as_it_was(watched: Open) -> None:
    running = replace(make_run("run-1"), status=RunStatus.RUNNING)
    reading = MemoryReading([LoadedRun(running, (), ())])
    seen = await watched(reading)
    await seen.go("/runs")
    reading.runs[:] = [LoadedRun(replace(running, status=RunStatus.FAILED), (), ())]
    reading.runs.append(LoadedRun(make_run(PAYLOADS[0]), (), ()))
    button = seen.page.get_by_role("button", name="1 new, 1 changed · show")
    await button.wait_for()
    assert await seen.page.locator("tr[data-run]").count() == 1, "nothing moves until it is asked for"
    await button.focus()
    await seen.page.keyboard.press("Enter")
    await seen.page.wait_for_function("() => document.querySelectorAll('tr[data-run]').length === 2")
    assert await seen.page.locator("#live").inner_text() == ""
    await seen.assert_clean()


async def test_a_list_whose_server_is_gone_says_so(watched: Open) -> None:
    seen = await watched(MemoryReading([LoadedRun(make_run("run-1"), (), ())]))
    await seen.go("/runs")
    await seen.page.route("**/api/agent-runs**", lambda route: route.abort())
    await seen.page.locator("#live", has_text="Live updates stopped").wait_for()
    await seen.page.unroute("**/api/agent-runs**")
    await seen.page.wait_for_function("() => document.querySelector('#live').textContent === ''")


async def test_a_page_further_down_or_in_another_order_does_not_ask(watched: Open) -> None:
    seen = await watched(MemoryReading([LoadedRun(make_run("run-1"), (), ())]))
    for path in ("/runs?sort=-cost", "/runs?offset=50"):
        await seen.go(path)
        assert await seen.page.locator("script[src$='/runs.js']").count() == 0
