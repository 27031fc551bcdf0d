"""An export in a real browser: asked for, watched while it is made, and downloaded."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import UUID

import pytest

from tests.console_runs import T0, MemoryExports, MemoryReading, make_call, make_run, model_step, totals
from tests.e2e.browser.conftest import Watched
from watchllm_proxy.console.jobs import JobState
from watchllm_proxy.console.loading import LoadedRun
from watchllm_proxy.records import StepType
from watchllm_proxy.store.shapes import CallDetail

pytestmark = pytest.mark.browser

Open = Callable[..., Awaitable[Watched]]


async def test_an_export_is_watched_until_it_can_be_downloaded(watched: Open, tmp_path: Path) -> None:
    exports = MemoryExports(tmp_path)
    seen = await watched(MemoryReading(), exports=exports)
    await seen.go("/jobs")
    await seen.page.get_by_role("button", name="Export all runs").click()
    await seen.page.get_by_text("Others are made before it").wait_for()
    exports.become(state=JobState.RUNNING, runs=30, total_runs=120, size_bytes=2_500_000, started_at_us=T0)
    await seen.page.get_by_text("30 of 120 runs, 2.5 MB").wait_for()
    assert await seen.page.locator("#bar").evaluate("bar => bar.position") == 0.25
    (tmp_path / f"{exports.known[0].job_id}.ndjson").write_bytes(b"{}\n")
    exports.become(state=JobState.DONE, runs=120, ended_at_us=T0, removed_at_us=T0)
    async with seen.page.expect_download() as coming:
        await seen.page.get_by_role("link", name="Download").click()
    download = await coming.value
    assert download.suggested_filename.startswith("watchllm-export-")
    assert Path(await download.path()).read_bytes() == b"{}\n"
    await seen.assert_clean()


@pytest.fixture
def big(reading: MemoryReading) -> MemoryReading:
    """A run whose fifty calls hold a megabyte each, that no compression makes small."""
    text = os.urandom(500_000).hex()
    bodies = [b'{"messages":[{"role":"user","content":"%d %s"}]}' % (n, text[n:].encode()) for n in range(50)]
    steps = [model_step(n, StepType.DECISION, n, 1, n + 1) for n in range(50)]
    reading.runs.append(LoadedRun(totals(make_run("run_big"), steps), (), steps))
    reading.calls = [make_call(n + 1, run_id="run_big", request=body) for n, body in enumerate(bodies)]
    return reading


@pytest.fixture
def reading() -> MemoryReading:
    return MemoryReading()


async def test_a_run_of_fifty_megabytes_is_saved_whole_from_its_page(watched: Open, big: MemoryReading) -> None:
    seen = await watched(big)
    await seen.go("/runs/run_big")
    async with seen.page.expect_download() as coming:
        await seen.page.get_by_role("link", name="Export").click()
    download = await coming.value
    assert download.suggested_filename == "run_big.ndjson"
    lines = Path(await download.path()).read_bytes().splitlines()
    assert len(lines) == 102
    assert [
        b'"request":%s,' % call.request in line for call, line in zip(big.calls, lines[51:-1], strict=True)
    ] == ([True] * 50)
    await seen.page.locator("dialog").wait_for(state="detached")
    await seen.assert_clean()


async def test_an_export_that_is_under_way_says_how_far_it_is_and_can_be_cancelled(
    watched: Open, big: MemoryReading, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    goes_on = asyncio.Event()
    get_call = big.get_call

    async def held(project_id: str, call_id: UUID) -> CallDetail | None:
        read.append(call_id)
        if len(read) > 10:
            await goes_on.wait()
        return await get_call(project_id, call_id)

    monkeypatch.setattr(big, "get_call", held)
    seen = await watched(big)
    await seen.go("/runs/run_big")
    await seen.page.get_by_role("link", name="Export").click()
    dialog = seen.page.get_by_role("dialog", name="Export of this run")
    await dialog.get_by_text(re.compile(r"^\d+ of 102 lines, \d+\.\d MB$")).wait_for()
    await dialog.get_by_role("button", name="Cancel").click()
    await seen.page.get_by_text("The export was cancelled").wait_for()
    assert await dialog.count() == 0
    goes_on.set()
    await seen.page.locator("#grid").press("j")  # the page is as it was
    await seen.page.wait_for_url("**#step-1")
    assert len(read) < 50
    await seen.assert_clean()
