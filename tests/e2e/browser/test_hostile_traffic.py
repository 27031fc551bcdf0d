"""Sixty payloads in every field that traffic can fill, through proxy, recorder and real stores, on every page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.e2e.browser import hostile
from tests.e2e.browser.conftest import Watched, watch
from tests.e2e.browser.every_page import pages
from tests.e2e.browser.payloads import PAYLOADS
from tests.e2e.stack import Stack
from watchllm_proxy.console.addresses import run_path

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

REPORTED = "hostile-report"
LIVE = "live-hostile"
STEPS_OF_A_RUN = 6
OF_A_CHILD = 2

# What captured text may never become.
ELEMENTS = (
    "img, image, script, iframe, object, embed, link, meta, base, style, video, audio, source, marquee, math,"
    " animate, [onerror], [onload], [onclick], [srcdoc], [hx-get], [x-data]"
)

WALK = """async (elements) => {
  const pane = document.querySelector('#detail');
  const until = async (what, isSo) => {
    const end = Date.now() + 20000;
    while (!isSo()) {
      if (Date.now() > end) throw new Error(`waited for ${what}`);
      await new Promise((go) => setTimeout(go));
    }
  };
  const read = await fetch(`${document.querySelector('#main').dataset.path}/steps`);
  if (!read.ok) throw new Error(`HTTP ${read.status} for ${read.url}`);
  let sum = 0;
  const index = (await read.json()).index_gaps.map((gap) => (sum += gap));
  const grown = [];
  const links = "a:not([href^='#step-'], [href^='/runs/'], [href^='/api/calls/'])";
  let parts = 0;
  for (const step of index) {
    location.hash = `#step-${step}`;
    await until(`step ${step}`, () => pane.querySelector('.nn')?.textContent === `#${step}`);
    const count = pane.querySelectorAll('[role=tab]').length;
    for (let tab = 0; tab < count; tab += 1) {
      pane.querySelectorAll('[role=tab]')[tab].click();
      await until(`part ${tab} of step ${step}`, () => !/Loading…$/.test(pane.textContent));
      grown.push(...[...pane.querySelectorAll(elements)].map((each) => each.outerHTML.slice(0, 200)));
      grown.push(...[...pane.querySelectorAll(links)].map((each) => each.outerHTML.slice(0, 200)));
      parts += 1;
    }
  }
  return { parts, grown };
}"""


@dataclass(frozen=True)
class Attacked:
    """What was sent is stored, and can be read."""

    run_ids: tuple[str, ...]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def attacked(running_stack: Stack) -> Attacked:
    running_stack.fake.reset()
    before = running_stack.run_ids()

    def send() -> Attacked:
        run_ids = [hostile.attack(running_stack, number) for number in range(len(hostile.TEXTS))]
        reported = hostile.report(running_stack, REPORTED)
        running_stack.wait_for_steps(before, len(run_ids) * (STEPS_OF_A_RUN + OF_A_CHILD) + reported)
        assert {*run_ids, REPORTED} <= running_stack.run_ids() - before
        return Attacked((*run_ids, REPORTED))

    return await asyncio.to_thread(send)


@pytest_asyncio.fixture(loop_scope="session")
async def seen(browser: Browser, stack: Stack) -> AsyncIterator[Watched]:
    page = await (await browser.new_context()).new_page()
    found = Watched(page, stack.origin)
    await watch(page, found)
    yield found


async def grown_from_text(page: Page) -> list[str]:
    """Elements in the page's own part that only captured text could have made."""
    found: list[str] = await page.locator(f"main :is({ELEMENTS})").evaluate_all(
        "(all) => all.map((e) => e.outerHTML)"
    )
    return found


async def test_every_part_of_every_step_of_hostile_runs_is_text(seen: Watched, attacked: Attacked) -> None:
    parts = 0
    for run_id in attacked.run_ids:
        await seen.go(run_path(run_id))
        await expect(seen.page.locator("#grid"), run_id).to_be_visible()
        assert await grown_from_text(seen.page) == []
        walked = await seen.page.evaluate(WALK, ELEMENTS)
        assert walked["grown"] == []
        parts += walked["parts"]
        await seen.assert_clean()
    assert parts > len(hostile.TEXTS) * STEPS_OF_A_RUN * 2 + len(PAYLOADS)


async def test_every_other_page_shows_hostile_runs_as_text(
    seen: Watched, stack: Stack, attacked: Attacked, places: Mapping[str, str]
) -> None:
    words, run_id = hostile.as_header(hostile.TEXTS[2]), attacked.run_ids[2]
    call_id = next(step["call_id"] for step in stack.debug(quote(run_id, safe=""))["steps"] if step["call_id"])
    hostile_places = {
        **places, "run_id": quote(run_id, safe=""), "session_id": quote(words, safe=""), "call_id": call_id,
    }  # fmt: skip
    asked = [
        f"/runs?{urlencode({'kind': 'all', 'limit': 200})}",
        *(f"/runs?{urlencode({name: words, 'kind': 'all'})}" for name in ("q", "agent", "session", "user")),
        *(f"/costs?by={by}&since=7d" for by in ("model", "agent", "version", "day", "key")),
    ]
    for path in [*pages(stack.origin, hostile_places), *asked]:
        await seen.go(path)
        assert await grown_from_text(seen.page) == [], path
        seen.errors[:] = [error for error in seen.errors if "status of 404" not in error]  # a page, too
        await seen.assert_clean()
    await seen.go(asked[0])
    shown = await seen.page.locator("main").inner_text()
    assert sum(" ".join(payload.split()) in shown for payload in PAYLOADS) >= len(PAYLOADS) - 5, (
        "it is shown as it is"
    )


async def test_a_run_grows_by_hostile_text_before_the_reader_s_eyes(seen: Watched, stack: Stack) -> None:
    asked: list[dict[str, Any]] = [{"role": "user", "content": hostile.without_halves("\n".join(PAYLOADS))}]

    def go_on(number: int) -> None:
        text = hostile.TEXTS[number]
        called, output = hostile.tool_turn(number, text)
        hostile.ask(stack, LIVE, text, asked, hostile.answer(text, called))
        asked.extend([called, output])

    await asyncio.to_thread(go_on, 0)
    for _ in range(150):
        answer = await seen.page.request.get(f"{seen.origin}/runs/{LIVE}")
        if answer.status == 200:
            break
        await asyncio.sleep(0.1)
    await seen.go(f"/runs/{LIVE}")
    await seen.page.locator("#live", has_text="Live").wait_for()
    for number in range(1, 8):
        await asyncio.to_thread(go_on, number)
    await seen.page.wait_for_function("() => Number(document.querySelector('#grid').ariaRowCount) >= 16")
    await seen.page.keyboard.press("G")
    await seen.page.locator("#detail", has_text=hostile.TEXTS[7].splitlines()[0]).wait_for()
    assert await grown_from_text(seen.page) == []
    await seen.assert_clean()
