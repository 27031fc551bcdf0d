"""The dashboard in a real browser: keys, long runs, the wait for the first request, both colours."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from tests.console_runs import LoadedRun, MemoryReading, failed_call, long_run, make_call, refund_run
from tests.e2e.browser.conftest import Watched
from watchllm_proxy.errors import StoreUnavailable
from watchllm_proxy.records import RunStatus

pytestmark = pytest.mark.browser

Open = Callable[..., Awaitable[Watched]]
MAX_ELEMENTS = 1200
IS_UNCOVERED = """(element) => {
  const box = element.getBoundingClientRect();
  return element.contains(document.elementFromPoint(box.x + 4, box.y + box.height / 2));
}"""


@pytest.fixture
def reading() -> MemoryReading:
    refund = refund_run()
    child = LoadedRun(refund.children[0].run, (), refund.steps[:3])
    return MemoryReading(
        [refund, child, long_run(2000)], [*(make_call(n) for n in range(1, 5)), failed_call(5), make_call(6)]
    )


async def _selected(seen: Watched, index: int) -> None:
    """Waits until a step is selected in the list, in the address and in the detail."""
    await seen.page.wait_for_function(
        "(n) => document.querySelector('.row[aria-selected=true]')?.id === `step-${n}`"
        " && document.querySelector('#detail .nn')?.textContent === `#${n}`",
        arg=index,
    )


async def test_a_run_opens_at_its_first_error_and_keys_move_on(watched: Open, reading: MemoryReading) -> None:
    seen = await watched(reading)
    await seen.go("/runs/run_7q2k9fh4")
    await _selected(seen, 4)
    for key, index in [
        ("j", 5),
        ("j", 6),
        ("k", 5),
        ("e", 6),
        ("e", 8),
        ("E", 6),
        ("G", 11),
        ("a", 11),
        ("A", 10),
    ]:
        await seen.page.keyboard.press(key)
        await _selected(seen, index)
        assert key == "a" or seen.page.url.endswith(f"#step-{index}")
    await seen.assert_clean()


@pytest.mark.parametrize("width", [390, 1024])
async def test_on_a_narrow_screen_list_and_detail_can_both_be_reached(
    watched: Open, reading: MemoryReading, width: int
) -> None:
    seen = await watched(reading, viewport={"width": width, "height": 844})
    await seen.go("/runs/run_big2000")
    row = seen.page.locator("#grid .row[aria-selected=true]")
    await row.scroll_into_view_if_needed()
    assert await row.evaluate(IS_UNCOVERED)
    assert not await seen.page.locator("#detail").is_visible()
    await row.click()  # the step is a sheet over the list
    assert await seen.page.locator("#detail .nn").evaluate(IS_UNCOVERED)
    await seen.page.keyboard.press("Escape")
    assert not await seen.page.locator("#detail").is_visible()
    await seen.page.keyboard.press("Enter")
    await seen.page.get_by_role("button", name="Close the step").click()
    assert not await seen.page.locator("#detail").is_visible()
    assert await seen.page.evaluate("document.documentElement.scrollWidth") <= width
    await seen.go("/runs")
    assert await seen.page.evaluate("document.documentElement.scrollWidth") <= width
    await seen.assert_clean()


async def test_an_address_with_a_step_opens_there(watched: Open, reading: MemoryReading) -> None:
    seen = await watched(reading)
    await seen.go("/runs/run_big2000#step-1500")
    await _selected(seen, 1500)
    assert await seen.page.locator("#step-1500").is_visible()
    await seen.assert_clean()


async def test_two_thousand_steps_are_a_few_hundred_elements(watched: Open, reading: MemoryReading) -> None:
    seen = await watched(reading)
    await seen.go("/runs/run_big2000")
    await _selected(seen, 199)
    assert await seen.page.evaluate("document.querySelectorAll('*').length") <= MAX_ELEMENTS
    for _ in range(30):
        await seen.page.keyboard.press("PageDown")
    await _selected(seen, 649)
    await seen.page.evaluate("document.querySelector('#grid').scrollTop = 1e9")
    await seen.page.wait_for_selector("#step-1999")
    assert await seen.page.evaluate("document.querySelectorAll('*').length") <= MAX_ELEMENTS
    await seen.assert_clean()


async def test_the_detail_shows_the_request_and_the_answer_when_asked(
    watched: Open, reading: MemoryReading
) -> None:
    seen = await watched(reading)
    await seen.go("/runs/run_7q2k9fh4#step-1")
    await _selected(seen, 1)
    await seen.page.get_by_role("tab", name="Request").click()
    await seen.page.wait_for_selector("#detail :text('12345678901234567890')")
    assert await seen.page.locator("#detail strong").inner_text() == "broken"
    await seen.page.get_by_role("tab", name="Response").click()
    await seen.page.wait_for_selector("#detail :text('get_order')")
    await seen.assert_clean()


async def test_only_what_is_new_since_the_request_before_is_shown_and_the_diff_marks_words(
    watched: Open, reading: MemoryReading
) -> None:
    asked = [{"role": "system", "content": "Be kind. It is 12:13Z."}, {"role": "user", "content": "Refund me."}]
    later = [
        {**asked[0], "content": "Be kind. It is 12:27Z."},
        asked[1],
        {"role": "user", "content": "Still there?"},
    ]
    for place, body in ((1, asked), (2, [*asked, {"role": "user", "content": "Please **now**."}]), (3, later)):
        request = json.dumps({"model": "m", "temperature": place // 3, "messages": body}).encode()
        reading.calls[place - 1] = make_call(place, request=request)
    seen = await watched(reading)
    page = seen.page
    await seen.go("/runs/run_7q2k9fh4#step-3/conversation")
    await _selected(seen, 3)
    await page.get_by_text("2 messages as in #1").wait_for()
    assert await page.locator("#detail .msg strong").all_inner_texts() == ["now"]
    assert await page.get_by_text("Refund me.").count() == 0
    await page.get_by_role("button", name="show", exact=True).click()
    await page.get_by_text("Refund me.").wait_for()
    assert page.url.endswith("#step-3/request")

    await page.keyboard.press("d")
    await page.get_by_text("2 messages unchanged").wait_for()
    await page.keyboard.press("J")
    await _selected(seen, 5)
    assert page.url.endswith("#step-5/diff")
    await page.locator(
        "#detail [data-broke]", has_text="Message 1 (system) differs from character 19 on"
    ).wait_for()
    assert await page.locator("#detail del").all_inner_texts() == ["0", "13Z", "Please **now**."]
    assert await page.locator("#detail ins").all_inner_texts() == ["1", "27Z", "Still there?"]
    await page.locator("#detail .same a").click()
    await _selected(seen, 3)
    await page.keyboard.press("d")
    assert page.url.endswith("#step-3")
    await page.keyboard.press("j")
    await _selected(seen, 4)
    await page.keyboard.press("h")
    await _selected(seen, 3)
    await seen.assert_clean()


async def test_a_step_is_copied_as_a_command(watched: Open, reading: MemoryReading) -> None:
    seen = await watched(reading, permissions=["clipboard-read", "clipboard-write"])
    await seen.go("/runs/run_7q2k9fh4#step-1")
    await _selected(seen, 1)
    for key, sign in (("c", "curl -sS"), ("p", "urllib.request")):
        await seen.page.keyboard.press(key)
        await seen.page.wait_for_function(
            "async (sign) => (await navigator.clipboard.readText()).includes(sign)", arg=sign
        )
    await seen.assert_clean()


async def test_a_run_that_goes_on_grows_where_it_is_read_and_a_lost_connection_is_told(
    watched: Open, reading: MemoryReading, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = long_run(400)

    def now_has(steps: int, status: RunStatus = RunStatus.RUNNING) -> None:
        run = replace(whole.run, status=status, total_steps=steps)
        seen_of_it = [replace(step, duration_us=None) if step.step_index == 162 else step for step in whole.steps]
        reading.runs[2] = replace(whole, run=run, steps=seen_of_it[:steps], flags=())

    now_has(100)
    seen = await watched(reading)
    page = seen.page
    page.set_default_timeout(12_000)
    await seen.go("/runs/run_big2000#step-99")
    await _selected(seen, 99)
    await page.locator("#live", has_text="Live").wait_for()
    now_has(150)
    await page.locator("#step-149").wait_for()  # whoever reads the end is taken along
    assert await page.locator("#detail .nn").inner_text() == "#99"

    await page.evaluate("document.querySelector('#grid').scrollTop = 280")
    await page.locator("#step-10").wait_for()
    now_has(163)
    await page.get_by_role("button", name="↓ 13 new").wait_for()
    assert await page.evaluate("document.querySelector('#grid').scrollTop") == 280
    await page.get_by_role("button", name="↓ 13 new").click()
    await page.locator("#step-162[data-open] .c-d", has_text="…").wait_for()  # it waits for its result

    async def away(*_: object) -> None:
        raise StoreUnavailable("postgres")

    with monkeypatch.context() as patch:
        patch.setattr(reading, "get_run", away)
        await page.locator("#live[data-state=lost]", has_text="trying again").wait_for()
    now_has(170, RunStatus.COMPLETED)
    await page.locator("#live[data-state=over]", has_text="The run is over.").wait_for()
    await page.locator("#step-169").wait_for()
    assert [error for error in seen.errors if "503" not in error] == []


async def test_a_run_that_was_over_and_goes_on_is_followed_again(watched: Open, reading: MemoryReading) -> None:
    whole = long_run(60)

    def now_has(steps: int, status: RunStatus) -> None:
        run = replace(whole.run, status=status, total_steps=steps, is_explicit=True)
        reading.runs[2] = replace(whole, run=run, steps=whole.steps[:steps], flags=())

    now_has(20, RunStatus.COMPLETED)
    seen = await watched(reading)
    await seen.go("/runs/run_big2000#step-19")
    await _selected(seen, 19)
    assert not await seen.page.locator("#live").is_visible()
    now_has(24, RunStatus.RUNNING)
    await seen.page.locator("#live[data-state=on]", has_text="Live").wait_for()
    await seen.page.locator("#step-23").wait_for()
    now_has(25, RunStatus.COMPLETED)
    await seen.page.locator("#live[data-state=over]", has_text="The run is over.").wait_for()
    now_has(27, RunStatus.COMPLETED)  # between two looks
    await seen.page.locator("#step-26").wait_for()
    await _selected(seen, 19)
    await seen.assert_clean()


async def test_the_argument_that_an_error_names_is_marked_and_base64_is_a_button(
    watched: Open, reading: MemoryReading
) -> None:
    picture = {
        "type": "image_url",
        "image_url": {"url": "data:image/png;base64,iVBORw0KGgoA" + "iVBORw0K" * 500_000},
    }
    request = json.dumps({"messages": [{"role": "user", "content": [picture]}]}).encode()
    reading.calls[0] = make_call(1, request=request)
    seen = await watched(reading)
    await seen.go("/runs/run_7q2k9fh4#step-4")
    await _selected(seen, 4)
    assert await seen.page.locator("#detail .jk", has=seen.page.locator("mark")).all_inner_texts() == [
        "currency: the error names this "
    ]
    tops = await seen.page.locator("#detail .card >> nth=0 >> .jk").evaluate_all(
        "keys => keys.map((key) => key.getBoundingClientRect().top)"
    )
    assert len(tops) > 1
    assert tops == sorted(set(tops)), "each key has a line of its own"
    await seen.page.evaluate("location.hash = '#step-1/request'")
    await seen.page.get_by_role("button", name="image/png, 3.0 MB").wait_for()
    assert "iVBORw0K" not in await seen.page.locator("#detail").inner_text()
    await seen.assert_clean()


async def test_a_call_that_is_gone_is_told_in_words(watched: Open, reading: MemoryReading) -> None:
    reading.calls.clear()
    seen = await watched(reading)
    await seen.go("/runs/run_7q2k9fh4#step-1")
    await seen.page.get_by_role("tab", name="Request").click()
    await seen.page.wait_for_selector("#detail :text('This call cannot be shown')")


async def test_search_narrows_the_list_and_escape_leaves_it(watched: Open, reading: MemoryReading) -> None:
    seen = await watched(reading)
    await seen.go("/runs/run_7q2k9fh4")
    await seen.page.keyboard.press("/")
    await seen.page.keyboard.type("tokens per minute")
    await seen.page.wait_for_function("() => document.querySelector('#found').textContent === '1 of 12 steps'")
    await seen.page.keyboard.press("Enter")
    await _selected(seen, 9)
    await seen.page.keyboard.press("Escape")
    await seen.page.wait_for_function("() => document.querySelector('#found').textContent === ''")
    await seen.page.keyboard.press("Escape")
    await seen.page.wait_for_url("**/runs")
    await seen.assert_clean()


async def test_the_overview_leads_to_the_nearest_step(watched: Open, reading: MemoryReading) -> None:
    seen = await watched(reading)
    await seen.go("/runs/run_7q2k9fh4")
    box = await seen.page.locator("#overview").bounding_box()
    assert box is not None
    await seen.page.mouse.click(box["x"] + box["width"] - 3, box["y"] + 28)
    await _selected(seen, 11)
    await seen.assert_clean()


async def test_t_switches_the_colours_and_the_next_page_keeps_them(watched: Open, reading: MemoryReading) -> None:
    seen = await watched(reading, color_scheme="light")
    await seen.go("/runs")
    background = "getComputedStyle(document.documentElement).backgroundColor"
    light = await seen.page.evaluate(background)
    await seen.page.keyboard.press("t")
    dark = await seen.page.evaluate(background)
    assert light != dark
    await seen.go("/welcome")
    assert await seen.page.evaluate(background) == dark
    await seen.assert_clean()


async def test_question_mark_lists_the_keys(watched: Open, reading: MemoryReading) -> None:
    seen = await watched(reading)
    await seen.go("/runs/run_7q2k9fh4")
    await seen.page.keyboard.press("?")
    assert await seen.page.get_by_role("dialog").is_visible()
    await seen.page.keyboard.press("Escape")
    await seen.page.wait_for_selector("dialog", state="detached")
    assert "/runs/run_7q2k9fh4" in seen.page.url


async def test_welcome_moves_to_the_first_run_by_itself(watched: Open, reading: MemoryReading) -> None:
    runs, reading.runs = reading.runs, []
    seen = await watched(reading)
    await seen.go("/welcome")
    await seen.page.wait_for_selector("text=Waiting for the first request")
    reading.runs = runs[:1]
    await seen.page.wait_for_selector("#waiting :text('Order A-10432')")
    assert "gpt-4.1-mini" in await seen.page.locator("#waiting").inner_text()
    await seen.page.wait_for_url("**/runs/run_7q2k9fh4", timeout=3000)
    await seen.assert_clean()


async def test_welcome_stays_when_told_to(watched: Open, reading: MemoryReading) -> None:
    runs, reading.runs = reading.runs, []
    seen = await watched(reading)
    await seen.go("/welcome")
    reading.runs = runs[:1]
    await seen.page.get_by_role("button", name="Stay here").click()
    await seen.page.wait_for_timeout(1500)  # longer than it would take to move
    assert seen.page.url.endswith("/welcome")


async def test_without_a_script_a_run_is_readable_and_shows_no_dead_button(
    watched: Open, reading: MemoryReading
) -> None:
    seen = await watched(reading, java_script_enabled=False)
    await seen.page.goto(seen.origin + "/runs/run_7q2k9fh4")
    for text in ("Order A-10432", "What went wrong", "$0.0041", "create_refund"):
        assert await seen.page.get_by_text(text).first.is_visible()
    assert await seen.page.locator("button:visible").count() == 0
    await seen.page.goto(seen.origin + "/welcome")
    await seen.page.get_by_text("Python", exact=True).click()
    assert await seen.page.get_by_text("OpenAI(base_url=").is_visible()
