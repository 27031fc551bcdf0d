"""Finding steps on a run's page: a text in bodies, kinds of steps, idle time cut out, the way back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.console_runs import MemoryReading, long_run, make_call, refund_run
from tests.e2e.browser.conftest import Watched
from tests.e2e.browser.test_dashboard import Open, _selected
from watchllm_proxy.console.loading import LoadedRun

pytestmark = pytest.mark.browser

SHOWN = """() => [...document.querySelectorAll('.row:not([hidden])')]
  .map((row) => Number(row.id.slice(5))).sort((a, b) => a - b)"""


@pytest.fixture
def reading() -> MemoryReading:
    """A run whose step 7 was asked with words that no row shows."""
    secret = replace(make_call(4), request=b'{"messages":[{"role":"user","content":"an okapi said so"}]}')
    return MemoryReading([refund_run(), long_run(2000)], [make_call(3), secret])


async def _shows(seen: Watched, *indexes: int) -> None:
    await seen.page.wait_for_function(
        f"(wanted) => JSON.stringify(({SHOWN})()) === wanted", arg=str([*indexes]).replace(" ", "")
    )


async def test_a_word_of_a_body_is_found_and_keys_stay_among_what_is_found(
    watched: Open, reading: MemoryReading
) -> None:
    seen = await watched(reading)
    await seen.go("/runs/run_7q2k9fh4#step-2")
    await seen.page.keyboard.press("/")
    await seen.page.keyboard.type("okapi")
    await seen.page.keyboard.press("Enter")
    await _selected(seen, 7)
    await _shows(seen, 7)
    assert "?q=okapi#step-7" in seen.page.url
    await seen.page.reload()  # an address with a search is that search
    await _selected(seen, 7)
    await _shows(seen, 7)
    await seen.page.fill("#q", "CREATE_refund")
    await _shows(seen, 3, 4, 5, 6, 7, 8)
    await seen.page.keyboard.press("Enter")
    for key, index in [("n", 8), ("n", 3), ("N", 8), ("k", 7), ("gg", 3), ("e", 4)]:
        for each in key:
            await seen.page.keyboard.press(each)
        await _selected(seen, index)
    await seen.page.keyboard.press("Escape")
    await _shows(seen, *range(12))
    await seen.page.fill("#q", "nowhere at all")
    await seen.page.get_by_role("button", name="Clear filters").click()
    await _shows(seen, *range(12))
    await seen.assert_clean()


async def test_kinds_of_steps_narrow_the_list_together(watched: Open, reading: MemoryReading) -> None:
    seen = await watched(reading)
    await seen.go("/runs/run_7q2k9fh4")

    async def choose(name: str) -> None:
        await seen.page.locator("#only").get_by_role("button", name=name).click()

    assert await seen.page.locator("#only").inner_text() == "Model 6\nTools 4\nErrors 4\nAnomalies 5\nTop cost"
    await choose("Tools")
    await _shows(seen, 2, 4, 6, 8)
    await choose("Errors")
    await _shows(seen, 4, 6, 8)
    await choose("Model")
    await _shows(seen, 4, 6, 8, 9)
    await choose("Tools")
    await choose("Errors")
    await choose("Top cost")
    await _shows(seen, 1, 3, 5, 7, 11)
    await choose("Model")
    await choose("Top cost")
    await choose("Anomalies")
    await _shows(seen, 4, 6, 8, 9, 10)
    assert "only=anomalies" in seen.page.url
    await seen.page.locator(".verdict a", has_text="9").last.click()  # a link to a step that is shown
    await _selected(seen, 9)
    await seen.page.goto(seen.page.url.replace("only=anomalies#step-9", "only=tools#step-9"))  # to one that is not
    await _selected(seen, 9)
    await _shows(seen, *range(12))
    await seen.assert_clean()


async def test_back_leads_to_the_step_and_tab_that_a_link_was_followed_from(
    watched: Open, reading: MemoryReading
) -> None:
    seen = await watched(reading)
    await seen.go("/runs/run_7q2k9fh4")
    await _selected(seen, 4)
    await seen.page.locator("#detail .links a", has_text="#3").first.click()
    await _selected(seen, 3)
    for _ in range(4):
        await seen.page.keyboard.press("j")
    await _selected(seen, 7)
    await seen.page.keyboard.press("d")
    await seen.page.wait_for_url("**#step-7/diff")
    await seen.page.locator("#detail .same a", has_text="#5").click()
    await _selected(seen, 5)
    await seen.page.wait_for_url("**#step-5/diff")
    await seen.page.go_back()
    await _selected(seen, 7)
    await seen.page.wait_for_url("**#step-7/diff")
    await seen.page.go_back()
    await _selected(seen, 4)
    assert await seen.page.locator("#detail [role=tab][aria-selected=true]").inner_text() == "Tool"
    await seen.assert_clean()


async def test_idle_time_of_a_long_run_is_cut_out_until_it_is_wanted(
    watched: Open, reading: MemoryReading
) -> None:
    seen = await watched(reading)
    await seen.go("/runs/run_big2000#step-1500")
    await _selected(seen, 1500)
    folded = seen.page.locator("[data-drawing=folded]")
    assert await folded.is_visible()
    widths = await seen.page.evaluate(
        "() => [...document.querySelectorAll('.row:not([hidden]) .bar')].map((bar) => bar.offsetWidth)"
    )
    assert sorted(widths)[len(widths) // 2] >= 4  # with zoom and fold the usual bar is to be seen
    await seen.page.keyboard.press("x")
    assert not await folded.is_visible()
    assert await seen.page.locator("[data-drawing=whole]").is_visible()
    await seen.page.keyboard.press("z")
    pressed = "() => [...document.querySelectorAll('#scale button')].map((each) => each.ariaPressed)"
    assert await seen.page.evaluate(pressed) == ["false", "false"]
    await seen.go("/runs/run_7q2k9fh4")
    assert await seen.page.evaluate(pressed) == ["false", "true"]  # a short run is shown as it was
    await seen.assert_clean()


async def test_a_lanes_name_shows_its_agents_steps_alone_and_escape_all_again(
    watched: Open, reading: MemoryReading
) -> None:
    refund = reading.runs[0]
    child = refund.children[0]
    reading.runs.append(LoadedRun(child.run, (), refund.steps[:3]))
    seen = await watched(reading)
    await seen.go("/runs/run_7q2k9fh4#step-4")
    await _shows(seen, *range(12))
    cursor = seen.page.locator(".mcur")
    await seen.page.get_by_role("link", name="policy-researcher").focus()
    await seen.page.keyboard.press("Enter")
    await seen.page.wait_for_url("**/runs/run_7q2k9fh4?agent=run_child#step-0")
    await _shows(seen, 0, 1, 2)
    left = await cursor.evaluate("(mark) => parseFloat(mark.style.left)")
    assert left > 0, "in the overview of the whole run it began later"
    await seen.page.keyboard.press("j")
    await _selected(seen, 1)
    detail = await seen.page.locator("#detail h2 .nn").text_content()
    assert detail == "#1"
    await seen.page.reload()  # the address carries it
    await _shows(seen, 0, 1, 2)
    await _selected(seen, 1)
    await seen.page.keyboard.press("Escape")
    await seen.page.wait_for_url("**/runs/run_7q2k9fh4#step-*")
    await _shows(seen, *range(12))
    await seen.page.go_back()
    await _shows(seen, 0, 1, 2)
    await seen.assert_clean()
