"""Runs of 2,000 and of 20,000 steps, made of recorded agents: sizes, elements, and bars wide enough to be seen."""

from __future__ import annotations

import gzip
from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest

from tests.console_runs import T0, LoadedRun, MemoryReading
from tests.e2e.browser.conftest import Watched
from tests.large_runs import calls
from watchllm_proxy.decode import decode
from watchllm_proxy.enrich.flags import find_flags
from watchllm_proxy.records import Body, Exchange, ExchangeEnd, Step
from watchllm_proxy.sessionize import Sessionizer

pytestmark = [pytest.mark.browser, pytest.mark.shared, pytest.mark.timeout(240)]

Open = Callable[..., Awaitable[Watched]]
LARGE, HUGE = 1000, 10_200
"""Calls: a little more than 2,000 and 20,000 steps."""

MAX_HTML_BYTES = 40_000
MAX_STEPS_GZIPPED_BYTES = 40_000
MAX_ELEMENTS = 1200
BARS_PX = """() => new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(() => {
  const lasting = '#grid .row:is([data-shape=model], [data-shape=answer], [data-shape=tool]) .bar';
  const boxes = [...document.querySelectorAll(lasting)].map((bar) => bar.getBoundingClientRect());
  const inView = boxes.filter((box) => box.bottom > 0 && box.top < innerHeight);
  go(inView.map((box) => Math.round(box.width)).sort((a, b) => a - b));
})))"""
"""Of the steps in view that take time."""


@pytest.fixture(scope="module")
def runs(shared: Path) -> dict[int, LoadedRun]:
    """As they are once so many calls are recorded."""
    sessionizer = Sessionizer(silence_us=600_000_000)
    found = {}
    at_us = T0
    for number, call in enumerate(calls(shared / "data" / "trajectories", HUGE), start=1):
        took_us = int(call.took_s * 1_000_000)
        at_us += int(call.pause_s * 1_000_000)
        exchange = Exchange(
            exchange_id=UUID(int=number), project_id="default", method="POST", target="/v1/chat/completions",
            request_headers=(("x-run-id", "large"), ("x-agent-name", "worker")),
            request_body=Body(call.request, len(call.request)), status=200, response_headers=(),
            response_body=Body(call.answer, len(call.answer)), end=ExchangeEnd.COMPLETE, started_at_us=at_us,
            first_byte_us=None, duration_us=took_us, client_address="10.0.0.1:4000",
        )  # fmt: skip
        sessionizer.observe(decode(exchange), exchange.ended_at_us)
        at_us += took_us
        if number in {LARGE, HUGE}:
            changes = sessionizer.drain()
            (run,) = changes.runs
            steps = tuple(priced(step) for step in changes.all_steps["default", "large"])
            found[number] = LoadedRun(run, find_flags(run, steps), steps)
    return found


def priced(step: Step) -> Step:
    """A cent for each thousand tokens, so that the page has costs to show."""
    return replace(step, cost_usd=Decimal(step.input_tokens or 0) / 100_000) if step.is_priced else step


async def _elements(seen: Watched) -> int:
    count: int = await seen.page.evaluate("document.querySelectorAll('*').length")
    return count


async def test_a_run_of_2000_steps_is_a_small_page_and_its_steps_travel_small(
    watched: Open, runs: dict[int, LoadedRun]
) -> None:
    assert len(runs[LARGE].steps) >= 2000
    seen = await watched(MemoryReading([runs[LARGE]]))
    answer = await seen.page.request.get(f"{seen.origin}/runs/large", headers={"Accept": "text/html"})
    steps = await seen.page.request.get(f"{seen.origin}/runs/large/steps")
    sizes = len(await answer.body()), len(gzip.compress(await steps.body()))
    print(f"{len(runs[LARGE].steps)} steps: {sizes[0]} bytes of HTML, {sizes[1]} bytes of steps, gzipped")
    assert sizes[0] <= MAX_HTML_BYTES
    assert sizes[1] <= MAX_STEPS_GZIPPED_BYTES


@pytest.mark.parametrize("count", [LARGE, HUGE])
async def test_however_many_steps_the_page_has_a_few_hundred_elements(
    watched: Open, runs: dict[int, LoadedRun], count: int
) -> None:
    run = runs[count]
    seen = await watched(MemoryReading([run]))
    await seen.go("/runs/large")
    at_first = await _elements(seen)
    last = run.steps[-1].step_index
    await seen.page.keyboard.press("G")
    await seen.page.locator(f"#step-{last}[aria-selected=true]").wait_for()
    at_the_end = await _elements(seen)
    await seen.page.evaluate(f"location.hash = '#step-{last // 2}'")
    await seen.page.locator(f"#step-{last // 2}[aria-selected=true]").wait_for()
    in_the_middle = await _elements(seen)
    bars = await seen.page.evaluate(BARS_PX)
    print(f"{len(run.steps)} steps: {at_first}, {at_the_end}, {in_the_middle} elements; bars {bars}")
    assert max(at_first, at_the_end, in_the_middle) <= MAX_ELEMENTS
    assert bars[len(bars) // 2] >= 4, "the median bar in view can be seen"
    await seen.assert_clean()
