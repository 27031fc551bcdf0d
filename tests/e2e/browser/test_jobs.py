"""An export in a real browser: asked for, watched while it is made, and downloaded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.console_runs import T0, MemoryExports, MemoryReading
from tests.e2e.browser.conftest import Watched
from watchllm_proxy.console.jobs import JobState

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
