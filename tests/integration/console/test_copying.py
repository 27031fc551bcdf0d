"""A step's request as text to run again."""

from __future__ import annotations

from dataclasses import replace

from aiohttp.test_utils import TestClient

from tests.console_runs import MemoryReading

COPY = "/runs/run_7q2k9fh4/steps/1/copy"


async def test_a_step_is_copied_with_its_stored_body_and_no_key(
    client: TestClient, reading: MemoryReading
) -> None:
    curl = await client.get(f"{COPY}/curl")
    text = await curl.text()
    assert (curl.status, curl.content_type) == (200, "text/plain")
    assert "/v1/chat/completions" in text
    assert "$OPENAI_API_KEY" in text
    assert '"seed":12345678901234567890' in text
    assert "urllib.request.Request" in await (await client.get(f"{COPY}/python")).text()


async def test_a_request_that_was_cut_is_not_copied_and_says_why(
    client: TestClient, reading: MemoryReading
) -> None:
    reading.calls[:] = [replace(call, is_truncated=True) for call in reading.calls]
    answer = await client.get(f"{COPY}/curl")
    assert answer.status == 409
    assert "not stored whole" in (await answer.json())["error"]["message"]
