"""What the page of a large run takes: recorded agents through the whole product, their run opened in Chromium.

Needs ../shared and the browser of the tests. Wall times are those of the machine and the hour.
"""

from __future__ import annotations

import gzip
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.conftest import CHROMIUM, SHARED
from tests.e2e.stack import Stack
from tests.fake_openai import Canned, FakeOpenAI
from tests.large_runs import calls

TRAJECTORIES = SHARED / "data" / "trajectories"
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
ASKED, LOADS, KEYS = 20, 5, 60
STORED_WITHIN_S = 300.0

NEXT_FRAME_MS = """() => new Promise((done) => addEventListener('keydown', (event) => {
  requestAnimationFrame(() => done(performance.now() - event.timeStamp));
}, { once: true, capture: true }))"""


@dataclass(frozen=True, slots=True)
class Opened:
    """Of one run's page; milliseconds, medians where nothing else is said."""

    steps: int
    html_bytes: int
    steps_gzip_bytes: int
    elements: int
    first_page_ms: float  # of the run as it is read for the first time, its steps by the page with it
    page_ms: float
    first_columns_ms: float
    columns_ms: float
    interactive_ms: float
    main_thread_ms: float
    frame_ms: float
    frame_p95_ms: float
    detail_ms: float


def measure(call_counts: tuple[int, ...]) -> list[Opened]:
    with tempfile.TemporaryDirectory(prefix="watchllm-bench-") as folder, FakeOpenAI() as fake:
        Path(folder).chmod(0o711)  # as root Postgres runs as another user
        stack = Stack(Path(folder) / "data", fake).start()
        try:
            return list(_measured(stack, call_counts))
        finally:
            stack.stop()


def _measured(stack: Stack, call_counts: tuple[int, ...]) -> Iterator[Opened]:
    for count in call_counts:
        run_id = f"large-{count}"
        _send(stack, run_id, count)
        yield _opened(stack, run_id)


def _send(stack: Stack, run_id: str, count: int) -> None:
    """One call after the other, as an agent does, and until all are stored."""
    url, sent = f"{stack.base_url}/chat/completions", 0
    headers = {"Content-Type": "application/json", "Authorization": "Bearer sk-bench", "X-Run-Id": run_id}
    for call in calls(TRAJECTORIES, count):
        stack.fake.answer_next(Canned(chunks=(call.answer,)))
        with urllib.request.urlopen(urllib.request.Request(url, call.request, headers), timeout=30) as answer:
            answer.read()
        sent += 1
    stack.fake.reset()
    deadline = time.monotonic() + STORED_WITHIN_S
    while next((run["total_steps"] for run in stack.runs() if run["run_id"] == run_id), 0) < 1.9 * sent:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the {sent} calls of {run_id} are not stored")
        time.sleep(0.5)


def _timed_get(url: str) -> tuple[bytes, float]:
    began = time.perf_counter()
    with urllib.request.urlopen(
        urllib.request.Request(url, headers={"Accept": "text/html"}), timeout=60
    ) as answer:
        body: bytes = answer.read()
    return body, (time.perf_counter() - began) * 1000


def _asked(url: str) -> tuple[bytes, float, float]:
    """The body; milliseconds of the first time and in the median."""
    answers = [_timed_get(url) for _ in range(ASKED)]
    return answers[-1][0], answers[0][1], statistics.median(taken for _, taken in answers)


def _opened(stack: Stack, run_id: str) -> Opened:
    html, first_page_ms, page_ms = _asked(f"{stack.origin}/runs/{run_id}")
    columns, first_columns_ms, columns_ms = _asked(f"{stack.origin}/runs/{run_id}/steps")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(FLAGS))
        page = chromium.new_page(viewport={"width": 1440, "height": 900})
        page.goto(f"{stack.origin}/runs/{run_id}")  # once, so that scripts are compiled and kept
        interactive, main_thread = zip(
            *(_load(page, f"{stack.origin}/runs/{run_id}") for _ in range(5)), strict=True
        )
        frames, details = zip(*(_press_j(page) for _ in range(KEYS)), strict=True)
        elements = int(page.evaluate("document.querySelectorAll('*').length"))
        steps = int(page.locator("#grid").get_attribute("aria-rowcount") or 0)
        chromium.close()
    return Opened(
        steps=steps,
        html_bytes=len(html),
        steps_gzip_bytes=len(gzip.compress(columns)),
        elements=elements,
        first_page_ms=first_page_ms,
        page_ms=page_ms,
        first_columns_ms=first_columns_ms,
        columns_ms=columns_ms,
        interactive_ms=statistics.median(interactive),
        main_thread_ms=statistics.median(main_thread),
        frame_ms=statistics.median(frames),
        frame_p95_ms=sorted(frames)[int(0.95 * len(frames))],
        detail_ms=statistics.median(details),
    )


def _load(page: Page, url: str) -> tuple[float, float]:
    """Until the script has taken over: by the clock, and CPU of the page's main thread."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.goto("about:blank")
    began = time.perf_counter()
    page.goto(url, wait_until="commit")
    page.wait_for_function("() => document.documentElement.dataset.ready === 'true'")
    ready_ms = (time.perf_counter() - began) * 1000
    metrics = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
    session.detach()
    return ready_ms, metrics["TaskDuration"] * 1000


def _press_j(page: Page) -> tuple[float, float]:
    """To the next frame by the page's own clock, and until the next step's detail is there."""
    now = int(page.locator("#detail .nn").inner_text().removeprefix("#"))
    page.evaluate(f"() => {{ window.framed = ({NEXT_FRAME_MS})(); }}")
    began = time.perf_counter()
    page.keyboard.press("j")
    page.wait_for_function(f"() => document.querySelector('#detail .nn').textContent === '#{now + 1}'")
    detail_ms = (time.perf_counter() - began) * 1000
    return float(page.evaluate("() => window.framed")), detail_ms
