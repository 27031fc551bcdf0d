"""Pages in a real browser: Debian's Chromium, driven by playwright, with everything it complains of kept."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from playwright.async_api import Browser, Page, async_playwright

from tests.conftest import CHROMIUM
from tests.console_runs import MemoryExports, MemoryReading
from tests.e2e.stack import Stack
from watchllm_proxy.console import Health, build_app
from watchllm_proxy.demo.agents import run_all
from watchllm_proxy.settings import Settings

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip

WATCH_VIOLATIONS = """
window.violations = [];
document.addEventListener('securitypolicyviolation', (event) => window.violations.push(
  `${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
"""


@dataclass
class Watched:
    """A page, and everything that should not happen on it."""

    page: Page
    origin: str
    dialogs: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    async def go(self, path: str) -> None:
        """Open a page of the console; a run's page is waited for until its script has taken over."""
        await self.page.goto(self.origin + path)
        if await self.page.locator("#grid").count():
            await self.page.wait_for_function("() => document.documentElement.dataset.ready === 'true'")

    async def assert_clean(self) -> None:
        assert self.dialogs == []
        assert self.errors == []
        assert self.outside == []
        assert await self.page.evaluate("window.violations") == []
        assert await self.page.evaluate("window.pwned") is None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests here share one loop, for they share the browser. An asynchronous fixture of theirs says so itself:
    `@pytest_asyncio.fixture(loop_scope="session")`."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and pytest_asyncio.is_async_test(item):
            # Before the mark that the auto mode has put there: the first one counts.
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """Started once, for starting takes most of a second."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(FLAGS))
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def browser(chromium: Browser) -> AsyncIterator[Browser]:
    """The browser that all tests share; what a test opened in it is closed when the test ends."""
    yield chromium
    for context in chromium.contexts:
        await context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def aiohttp_server() -> AsyncIterator[Callable[[web.Application], Awaitable[TestServer]]]:
    """That of pytest-aiohttp, in the loop of these tests."""
    servers: list[TestServer] = []

    async def start(app: web.Application) -> TestServer:
        servers.append(TestServer(app))
        await servers[-1].start_server()
        return servers[-1]

    yield start
    for server in servers:
        await server.close()


@pytest_asyncio.fixture(loop_scope="session")
async def watched(
    browser: Browser, aiohttp_server: Callable[..., Awaitable[TestServer]]
) -> Callable[..., Awaitable[Watched]]:
    """Opens a page on a console over `reading`; options are those of a playwright context."""

    async def health() -> Health:
        return Health()

    async def open_on(
        reading: MemoryReading, *, exports: MemoryExports | None = None, **options: object
    ) -> Watched:
        app = build_app(reading, settings=Settings(), health=health, exports=exports)
        server = await aiohttp_server(app)
        settings = {"viewport": {"width": 1440, "height": 900}, **options}
        context = await browser.new_context(**settings)  # type: ignore[arg-type]
        page = await context.new_page()
        found = Watched(page, str(server.make_url("")).rstrip("/"))
        await watch(page, found)
        return found

    return open_on


async def watch(page: Page, found: Watched) -> None:
    async def dismiss(dialog) -> None:
        found.dialogs.append(dialog.message)
        await dialog.dismiss()

    page.on("dialog", dismiss)
    page.on("pageerror", lambda error: found.errors.append(str(error)))
    page.on("console", lambda said: found.errors.append(said.text) if said.type == "error" else None)
    page.on(
        "request", lambda asked: None if asked.url.startswith(found.origin) else found.outside.append(asked.url)
    )
    await page.add_init_script(WATCH_VIOLATIONS)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def places(running_stack: Stack) -> Mapping[str, str]:
    """Sample agents have run on the shared stack: what stands in addresses of their runs."""
    running_stack.fake.reset()
    before = running_stack.run_ids()
    done = await run_all(running_stack.base_url)
    calls = [UUID(each) for run in done for each in run.request_ids]
    runs = await asyncio.to_thread(running_stack.wait_for_steps, before, 2 * len(calls))
    run_id = next(run["run_id"] for run in runs if run["agent_name"] == "support-refund-agent")
    found = running_stack.debug(run_id)
    return {
        "run_id": run_id,
        "session_id": found["summary"]["session_id"],
        "index": "1",
        "call_id": next(step["call_id"] for step in found["steps"] if step["call_id"]),
        "name": "loop",
        "language": "curl",
        "part": "request",
        "version": "none",
        "digest": "0" * 32,
        "key_id": str(UUID(int=1)),
        "project_id": "default",
        "job_id": await asyncio.to_thread(_export, running_stack),
    }


def _export(stack: Stack) -> str:
    """The id of an export of everything, begun as its page does."""
    request = urllib.request.Request(f"{stack.origin}/jobs", b"", {"Origin": stack.origin}, method="POST")
    with urllib.request.urlopen(request, timeout=20) as answer:
        return str(answer.url).rpartition("/")[2]
