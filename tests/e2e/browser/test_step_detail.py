"""A step's detail: how a message is shown, a tool's whole output, pictures, what was cut."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from playwright.async_api import Response

from tests.console_runs import MemoryReading, call_id, make_call, refund_run
from tests.e2e.browser.test_dashboard import Open, _selected

pytestmark = pytest.mark.browser

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WIDTH = "(img) => img.decode().then(() => img.naturalWidth)"
LONG = json.dumps({"rows": [f"row {n} of the whole result" for n in range(200)]})


def request(*messages: object) -> bytes:
    return json.dumps({"model": "m", "messages": messages}).encode()


@pytest.fixture
def reading() -> MemoryReading:
    """A run whose tool at step 2 gave more than its step holds, and whose last question had a picture."""
    run = refund_run()
    steps = [replace(step, output_chars=len(LONG)) if step.step_index == 2 else step for step in run.steps]
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    again = {"role": "tool", "tool_call_id": "c0", "content": LONG}
    prose = {"role": "user", "content": [{"type": "text", "text": "It is **urgent**."}, picture]}
    cut = replace(make_call(5), request=None, is_truncated=True, opaque_reason="The request was longer than 1 MB.")
    return MemoryReading([replace(run, steps=steps)], [make_call(2, request=request(again, prose)), cut])


async def test_a_message_is_shown_raw_pretty_or_as_markdown_and_so_is_the_next(
    watched: Open, reading: MemoryReading
) -> None:
    seen = await watched(reading)
    await seen.go("/runs/run_7q2k9fh4#step-3/conversation")
    user = seen.page.locator("#detail .msg", has_text="urgent")
    await user.locator("strong", has_text="urgent").wait_for()  # prose is set as such from the start
    await user.get_by_role("button", name="Raw").click()
    assert '"text": "It is **urgent**."' in await user.inner_text()
    await user.get_by_role("button", name="Pretty").click()
    assert "It is **urgent**." in await user.inner_text()
    await seen.page.reload()
    await user.get_by_role("button", name="Pretty", pressed=True).wait_for()
    assert await user.locator("strong").count() == 0
    tool = seen.page.locator("#detail .msg", has_text="tool_call_id")
    assert await tool.get_by_role("button", pressed=True).count() == 0  # each role for itself
    await seen.assert_clean()


async def test_a_picture_is_a_button_until_somebody_wants_to_see_it(watched: Open, reading: MemoryReading) -> None:
    big = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL[:-2]}{'A' * 4000}=="}}
    script = {"type": "image_url", "image_url": {"url": "data:image/svg+xml;base64," + "A" * 4000}}
    reading.calls = [make_call(2, request=request({"role": "user", "content": [big, script]}))]
    seen = await watched(reading)
    await seen.go("/runs/run_7q2k9fh4#step-3/conversation")
    save = seen.page.get_by_role("link", name="image/svg+xml, 3.0 kB · download")
    assert re.fullmatch(rf"/api/calls/{call_id(2)}/files/[0-9a-f]{{32}}", await save.get_attribute("href") or "")
    assert await seen.page.locator("img").count() == 0
    (show,) = await seen.page.get_by_role(
        "button", name="image/png, 3.1 kB"
    ).all()  # not of what may hold a script
    await show.click()
    thumbnail = seen.page.get_by_role("button", name="Enlarge image/png, 3.1 kB")
    assert await thumbnail.locator("img").evaluate(WIDTH) == 1
    await thumbnail.click()
    assert await seen.page.locator("dialog img").evaluate(WIDTH) == 1
    await seen.page.keyboard.press("Escape")
    await seen.page.locator("dialog").wait_for(state="detached")
    await show.click()
    await seen.page.locator("img").wait_for(state="detached")
    await seen.assert_clean()


async def test_base64_never_comes_to_the_page_unless_somebody_copies_the_request(
    watched: Open, reading: MemoryReading
) -> None:
    parts = [
        {"type": "text", "text": f"Look: data:image/png;base64,{PIXEL} - is it **red**?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL[:-2]}{'A' * 4000}=="}},
    ]
    asked = request({"role": "user", "content": parts}, {"role": "tool", "content": json.dumps({"shot": PIXEL})})
    reading.calls = [make_call(2, request=asked)]
    seen = await watched(reading)
    fetched: list[Response] = []

    def note(answer: Response) -> None:
        fetched.append(answer)

    seen.page.on("response", note)
    for tab, buttons in (("conversation", 3), ("diff", 0), ("request", 3)):
        await seen.go(f"/runs/run_7q2k9fh4#step-3/{tab}")
        await seen.page.get_by_role("tab", name=tab.title(), selected=True).wait_for()
        await seen.page.locator("#part .muted, #part .card").first.wait_for()
        assert await seen.page.locator(".file > button").count() == buttons
        assert "iVBORw0K" not in await seen.page.content()
    assert await seen.page.get_by_text("red", exact=True).evaluate("(each) => each.tagName") == "STRONG"
    texts = [await each.text() for each in fetched if "json" in each.headers.get("content-type", "")]
    assert len(texts) >= 3
    assert not [text for text in texts if "iVBORw0K" in text]
    async with seen.page.expect_response("**/api/calls/*") as exact:
        await seen.page.get_by_role("button", name="Copy everything else").click()
    assert PIXEL in await (await exact.value).text()
    await seen.assert_clean()


async def test_a_picture_that_is_broken_can_be_saved(watched: Open, reading: MemoryReading) -> None:
    broken = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgoA" + "A" * 4000}}
    reading.calls = [make_call(2, request=request({"role": "user", "content": [broken]}))]
    seen = await watched(reading)
    await seen.go("/runs/run_7q2k9fh4#step-3/conversation")
    await seen.page.get_by_role("button", name="image/png, 3.0 kB").click()
    await seen.page.get_by_text("This picture cannot be shown: save it.").wait_for()
    await seen.assert_clean()


async def test_a_tools_output_is_shown_whole_with_who_asked_and_who_read_it(
    watched: Open, reading: MemoryReading
) -> None:
    seen = await watched(reading)
    await seen.go("/runs/run_7q2k9fh4#step-2")
    await _selected(seen, 2)
    detail = seen.page.locator("#detail")
    await detail.get_by_text("row 199 of the whole result").wait_for()
    assert await detail.get_by_role("tab").all_inner_texts() == ["Tool"]
    assert "asked by\n#1" in await detail.locator(".links").inner_text()
    assert "first read by\n#3" in await detail.locator(".links").inner_text()
    await detail.get_by_role("button", name="JSON").click()
    await seen.assert_clean()


async def test_a_call_that_cannot_be_sent_again_says_so_on_its_buttons(
    watched: Open, reading: MemoryReading
) -> None:
    reading.calls = [make_call(2, request=None)]
    seen = await watched(reading)
    await seen.go("/runs/run_7q2k9fh4#step-3")
    curl = seen.page.get_by_role("button", name="Copy as curl")
    assert await curl.get_attribute("aria-disabled") is None, "nobody has asked for the call yet"
    await seen.page.get_by_role("tab", name="Request").click()
    await seen.page.get_by_text("This request had no body.").wait_for()
    assert await curl.get_attribute("aria-disabled") == "true"
    assert await curl.get_attribute("title") == "This step cannot be sent again: it had no body."
    await seen.page.keyboard.press("c")
    await seen.page.locator(".toast", has_text="cannot be sent again: it had no body").wait_for()
    await seen.assert_clean()


async def test_what_is_not_whole_says_why_and_where_its_bytes_are(watched: Open, reading: MemoryReading) -> None:
    seen = await watched(reading)
    await seen.go("/runs/run_7q2k9fh4#step-9/request")
    await seen.page.get_by_text("The request was longer than 1 MB.").wait_for()
    bytes_of_it = seen.page.get_by_role("link", name="The bytes of the request, where they are kept")
    assert await bytes_of_it.get_attribute("href") == f"/api/calls/{call_id(5)}/raw/request"
    await seen.assert_clean()


async def test_where_a_calls_tokens_and_time_went_is_drawn_attempt_by_attempt(
    watched: Open, reading: MemoryReading
) -> None:
    reading.calls.append(make_call(6))
    seen = await watched(reading)
    await seen.go("/runs/run_7q2k9fh4#step-11/cost")
    detail = seen.page.locator("#detail")
    await detail.get_by_text("time · 2 attempts").wait_for()
    assert await detail.get_by_role("tab", selected=True).inner_text() == "Cost & time"
    assert "#9 HTTP 429 rate_limit_error" in await detail.inner_text()
    assert "input, from the cache" in await detail.inner_text()
    first, second = await detail.locator("rect.lost, .card:has-text('attempts') rect[class='']").all()
    assert (await first.bounding_box() or {})["x"] < (await second.bounding_box() or {})["x"]
    await detail.get_by_role("link", name="#9").first.click()
    await _selected(seen, 9)
    await seen.assert_clean()
