"""How soon a page shows what happens: the first run, a run that goes on, a picture; and what pages cost callers.

Through the whole product, in Chromium; needs the browser of the tests. Times are those of the machine and hour.
"""

from __future__ import annotations

import base64
import json
import os
import statistics
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from playwright.sync_api import Page, sync_playwright

from bench.pages import FLAGS
from tests.conftest import CHROMIUM
from tests.e2e.stack import Stack
from tests.fake_openai import Canned, FakeOpenAI

STEPS_OF_A_CALL = 3  # what the user says, the decision, and the tool that is called: such a run goes on
LISTED = 40
CALLS_PER_S, STEADY_S = 17, 60  # 51 steps a second
CALLERS, CALLS_EACH, PAGES = 4, 500, 20
PICTURE_BYTES = 5_000_000
PNG = b"\x89PNG\r\n\x1a\n"
WAIT_MS = 60_000

LONG_TASKS = """() => {
  window.tasks = [];
  new PerformanceObserver((list) => {
    for (const task of list.getEntries()) window.tasks.push(task.duration);
  }).observe({ entryTypes: ['longtask'] });
}"""
WHEN_LOST = """() => {
  const line = document.querySelector('#live');
  window.lost = new Promise((done) => new MutationObserver(() => {
    if (line.dataset.state === 'lost') done(Date.now());
  }).observe(line, { attributes: true }));
}"""
HAS_STEPS = "(count) => Number(document.querySelector('#grid')?.ariaRowCount ?? 0) >= count"
HAS_PICTURE = "() => document.querySelector('#detail').textContent.includes('image/png')"
PLACE_READ = "() => [document.querySelector('#grid').scrollTop, document.querySelector('#detail .nn').textContent]"


@dataclass(frozen=True, slots=True)
class Live:
    """Milliseconds."""

    first_run_ms: float  # from the end of the first answer to its run on the screen
    listed_ms: tuple[float, ...]  # from the end of an answer to its step in the list, sorted
    steady_steps: int
    longest_task_ms: float  # of the page while those came; 0: none beyond 50
    is_place_kept: bool
    told_lost_ms: float  # from the end of the server to the page's saying so
    is_whole_after_restart: bool  # every step once
    picture_ms: float  # from the key to the conversation with its button
    alone_p99_ms: float
    beside_pages_p99_ms: float


def measure() -> Live:
    with tempfile.TemporaryDirectory(prefix="watchllm-bench-") as folder, FakeOpenAI() as fake:
        Path(folder).chmod(0o711)  # as root Postgres runs as another user
        stack = Stack(Path(folder) / "data", fake).start()
        try:
            with _page() as page:
                first_run_ms = _first_run(stack, page)
                listed_ms = _listed(stack, page)
                longest_task_ms, is_place_kept = _steady(stack, page)
                picture_ms = _picture(stack, page)
                alone_p99_ms, beside_p99_ms = _p99_ms(stack), _p99_beside_pages(stack)
                told_lost_ms, is_whole = _restarted(stack, page)
        finally:
            stack.stop()
    return Live(
        first_run_ms=first_run_ms,
        listed_ms=listed_ms,
        steady_steps=CALLS_PER_S * STEADY_S * STEPS_OF_A_CALL,
        longest_task_ms=longest_task_ms,
        is_place_kept=is_place_kept,
        told_lost_ms=told_lost_ms,
        is_whole_after_restart=is_whole,
        picture_ms=picture_ms,
        alone_p99_ms=alone_p99_ms,
        beside_pages_p99_ms=beside_p99_ms,
    )


@contextmanager
def _page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(FLAGS))
        yield chromium.new_page(viewport={"width": 1440, "height": 900})
        chromium.close()


def _calls_a_tool() -> Canned:
    asked = {"id": f"call_{uuid4().hex}", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [asked]}
    answer = {
        "id": f"chatcmpl-{uuid4().hex}", "object": "chat.completion", "model": "gpt-4o-mini",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25},
    }  # fmt: skip
    return Canned(chunks=(json.dumps(answer).encode(),))


def _send(stack: Stack, run_id: str, content: object) -> float:
    """One call; when its answer had ended."""
    stack.fake.answer_next(_calls_a_tool())
    body = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": content}]}).encode()
    headers = {"Content-Type": "application/json", "Authorization": "Bearer sk-bench", "X-Run-Id": run_id}
    request = urllib.request.Request(f"{stack.base_url}/chat/completions", body, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        answer.read()
    return time.perf_counter()


def _shown(page: Page, steps: int) -> None:
    page.wait_for_function(HAS_STEPS, arg=steps, timeout=WAIT_MS, polling=10)


def _stored(stack: Stack, run_id: str, steps: int) -> None:
    deadline = time.monotonic() + WAIT_MS / 1000
    while next((run["total_steps"] for run in stack.runs() if run["run_id"] == run_id), 0) < steps:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{run_id} has no {steps} steps")
        time.sleep(0.05)


def _since_ms(began: float) -> float:
    return (time.perf_counter() - began) * 1000


def _first_run(stack: Stack, page: Page) -> float:
    page.goto(f"{stack.origin}/welcome")
    page.wait_for_load_state("networkidle")
    ended = _send(stack, "first", "Hello?")
    page.locator("#waiting a[href='/runs/first']").wait_for(timeout=WAIT_MS)
    return _since_ms(ended)


def _listed(stack: Stack, page: Page) -> tuple[float, ...]:
    _send(stack, "goes-on", "Number 0?")
    _stored(stack, "goes-on", STEPS_OF_A_CALL)
    page.goto(f"{stack.origin}/runs/goes-on")
    _shown(page, STEPS_OF_A_CALL)
    taken = []
    for number in range(1, LISTED + 1):
        ended = _send(stack, "goes-on", f"Number {number}?")
        _shown(page, STEPS_OF_A_CALL * (number + 1))
        taken.append(_since_ms(ended))
    return tuple(sorted(taken))


def _steady(stack: Stack, page: Page) -> tuple[float, bool]:
    """Calls at a steady rate, while somebody reads the first step."""
    page.goto("about:blank")  # to an address it is at already the browser does not go
    page.goto(f"{stack.origin}/runs/goes-on#step-0")
    page.locator("#step-0[aria-selected=true]").wait_for()
    page.locator("#detail .nn").wait_for()
    page.evaluate(LONG_TASKS)
    place = page.evaluate(PLACE_READ)
    sender = threading.Thread(target=_send_steadily, args=(stack,))
    sender.start()
    while sender.is_alive():
        page.wait_for_timeout(500)
    sender.join()
    _shown(page, STEPS_OF_A_CALL * (LISTED + 1 + CALLS_PER_S * STEADY_S))
    return max(page.evaluate("() => window.tasks"), default=0.0), page.evaluate(PLACE_READ) == place


def _send_steadily(stack: Stack) -> None:
    began = time.perf_counter()
    for number in range(CALLS_PER_S * STEADY_S):
        time.sleep(max(0.0, began + number / CALLS_PER_S - time.perf_counter()))
        _send(stack, "goes-on", f"Steadily, number {number}?")


def _picture(stack: Stack, page: Page) -> float:
    picture = base64.b64encode(PNG + os.urandom(PICTURE_BYTES * 3 // 4)).decode()
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}},
    ]
    _send(stack, "picture", "Are you there?")
    _send(stack, "picture", parts)
    _stored(stack, "picture", 2 * STEPS_OF_A_CALL)
    asked = STEPS_OF_A_CALL + 1  # after what the user says
    page.goto(f"{stack.origin}/runs/picture#step-{asked}")
    page.locator(f"#step-{asked}[aria-selected=true]").wait_for()
    page.get_by_role("tab", name="Conversation").wait_for()
    page.locator("#grid").focus()
    began = time.perf_counter()
    page.keyboard.press("]")
    page.wait_for_function(HAS_PICTURE, timeout=WAIT_MS, polling=10)  # a locator looks again after 500 ms only
    return _since_ms(began)


def _p99_ms(stack: Stack) -> float:
    def one_caller(caller: int) -> list[float]:
        taken = []
        for number in range(CALLS_EACH):
            began = time.perf_counter()
            taken.append((_send(stack, f"caller-{caller}", f"Number {number}?") - began) * 1000)
        return taken

    with ThreadPoolExecutor(CALLERS) as callers:
        taken = [each for one in callers.map(one_caller, range(CALLERS)) for each in one]
    return statistics.quantiles(taken, n=100)[98]


def _p99_beside_pages(stack: Stack) -> float:
    """While the page of a long run and its steps are read, one after the other, twenty times."""

    def read_pages() -> None:
        for path in ("/runs/goes-on", "/runs/goes-on/steps") * PAGES:
            with urllib.request.urlopen(f"{stack.origin}{path}", timeout=60) as answer:
                answer.read()

    reader = threading.Thread(target=read_pages)
    reader.start()
    p99_ms = _p99_ms(stack)
    reader.join()
    return p99_ms


def _restarted(stack: Stack, page: Page) -> tuple[float, bool]:
    page.goto(f"{stack.origin}/runs/first")
    _shown(page, STEPS_OF_A_CALL)
    port = int(stack.origin.rpartition(":")[2])
    page.evaluate(WHEN_LOST)
    began = time.time()
    stack.stop()
    told_ms = float(page.evaluate("() => window.lost")) - began * 1000
    stack.start(port=port)
    _send(stack, "first", "And again?")
    _shown(page, 2 * STEPS_OF_A_CALL)
    rows = page.locator("#grid .row .c-n").all_inner_texts()
    return told_ms, sorted(map(int, rows)) == list(range(len(rows)))
