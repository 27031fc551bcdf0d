"""Pictures and other base64 of a call: put apart for pages, had from an address, never run, never another's."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from tests.console_runs import MemoryReading, call_id
from watchllm_proxy.console import files
from watchllm_proxy.console.api.calls import FILE_POLICY
from watchllm_proxy.console.app import build_app
from watchllm_proxy.console.context import Health
from watchllm_proxy.settings import Settings
from watchllm_proxy.store.grown_calls import stub
from watchllm_proxy.store.shapes import CallDetail

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8
OTHER = b"\x89PNG\r\n\x1a\n" + bytes(range(255, -1, -1)) * 8
STEP = "/runs/run_7q2k9fh4/steps/3"


def url_of(content: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{b64encode(content).decode()}"


def asks_about(*pictures: str) -> bytes:
    parts = [{"type": "image_url", "image_url": {"url": each}} for each in pictures]
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": parts}]}).encode()


def holding(reading: MemoryReading, number: int, request: bytes, answer: bytes | None = b"{}") -> None:
    held = next(each for each in reading.calls if each.row.call_id == call_id(number))
    reading.calls[reading.calls.index(held)] = replace(held, request=request, answer=answer)


async def told(client: TestClient, path: str) -> dict[str, dict[str, object]]:
    """Files by their labels; no base64 of theirs came along."""
    answer = await client.get(path)
    assert answer.status == 200
    text = await answer.text()
    assert b64encode(PNG).decode()[:60] not in text
    found: dict[str, dict[str, object]] = json.loads(text)["files"]
    assert all(label in text for label in found)
    return found


async def test_pages_read_labels_and_a_script_the_exact_bytes(client: TestClient, reading: MemoryReading) -> None:
    answer = json.dumps({"role": "assistant", "images": [url_of(OTHER)]}).encode()
    holding(reading, 2, asks_about(url_of(PNG)), answer)
    path = f"/api/calls/{call_id(2)}"
    apart = await told(client, f"{path}?files=apart")
    assert apart == await told(client, f"{STEP}/changes")
    assert [each["media_type"] for each in apart.values()] == ["image/png", "image/png"]
    bodies = [await (await client.get(str(each["address"]))).read() for each in apart.values()]
    assert bodies == [PNG, OTHER]
    exact = (await (await client.get(path)).json())["call"]
    assert exact["request"] == json.loads(asks_about(url_of(PNG)))
    assert exact["answer"] == json.loads(answer)
    assert "files" not in await (await client.get(path)).json()
    copied = await (await client.get(f"{STEP}/copy/curl")).text()
    assert url_of(PNG) in copied


async def test_a_picture_says_what_it_is_and_is_left_in_no_cache(
    client: TestClient, reading: MemoryReading
) -> None:
    holding(reading, 2, asks_about(url_of(PNG, "image/jpeg")))
    (file,) = (await told(client, f"{STEP}/changes")).values()
    answer = await client.get(str(file["address"]))
    assert answer.content_type == "image/png", "as its bytes say"
    assert answer.headers["Content-Security-Policy"] == FILE_POLICY
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert answer.headers["Content-Disposition"].startswith('inline; filename="')
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"


@pytest.mark.parametrize("claimed", ["image/png", "image/svg+xml", "text/html", "application/xhtml+xml"])
@pytest.mark.parametrize(
    "content", [b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", b"<!doctype html><script>"]
)
async def test_what_could_run_is_saved_and_never_shown(
    client: TestClient, reading: MemoryReading, claimed: str, content: bytes
) -> None:
    holding(reading, 2, asks_about(url_of(content + b" " * 60, claimed)))
    (file,) = (await told(client, f"{STEP}/changes")).values()
    assert file["is_picture"] is False
    answer = await client.get(str(file["address"]))
    assert answer.content_type == "application/octet-stream"
    assert answer.headers["Content-Disposition"].startswith("attachment; ")
    assert answer.headers["Content-Security-Policy"] == FILE_POLICY


async def test_a_files_address_leads_to_it_in_its_own_call_alone(
    client: TestClient,
    reading: MemoryReading,
    aiohttp_client: Callable[[web.Application], Awaitable[TestClient]],
) -> None:
    holding(reading, 2, asks_about(url_of(PNG)))
    (file,) = (await told(client, f"{STEP}/changes")).values()
    address = str(file["address"])
    digest = address.rpartition("/")[2]
    for path in (
        f"/api/calls/{call_id(3)}/files/{digest}",
        f"/api/calls/{call_id(2)}/files/{'0' * 32}",
        f"/api/calls/{call_id(2)}/files/{digest[:-1]}",
        f"/api/calls/{call_id(2)}/files/{digest.upper()}x",
        f"/api/calls/{call_id(2)}/files/{quote('../raw', safe='')}",
        f"/api/calls/x/files/{digest}",
    ):
        answer = await client.get(path)
        assert (answer.status, (await answer.json())["error"]["code"]) == (404, "not_found"), path

    async def health() -> Health:
        return Health()

    elsewhere = MemoryReading(reading.runs, reading.calls, project_id="another")
    other = await aiohttp_client(build_app(elsewhere, settings=Settings(), health=health))
    assert (await other.get(address)).status == 404


async def test_a_file_that_is_too_large_says_where_it_is_all_the_same(
    client: TestClient, reading: MemoryReading, monkeypatch: pytest.MonkeyPatch
) -> None:
    holding(reading, 2, asks_about(url_of(PNG)))
    (file,) = (await told(client, f"{STEP}/changes")).values()
    monkeypatch.setattr(files, "MAX_FILE_BYTES", 1000)
    answer = await client.get(str(file["address"]))
    error = (await answer.json())["error"]
    assert (answer.status, error["code"]) == (409, "file_too_large")
    assert error["message"] == (
        "This file has 2.1 kB, and at most 1.0 kB are sent from here. The call's JSON has all of it."
    )


async def test_a_picture_that_changed_differs_by_its_label(client: TestClient, reading: MemoryReading) -> None:
    holding(reading, 1, asks_about(url_of(PNG), url_of(PNG)))
    holding(reading, 2, asks_about(url_of(PNG), url_of(OTHER + b"more")))
    changes = await (await client.get(f"{STEP}/changes")).json()
    (row,) = changes["rows"]
    marked = {mark: text for mark, text in row["pieces"] if mark in "+-"}
    (new,) = [label for label in changes["files"] if label.strip("⟨⟩").split(", ")[-1] in marked["+"]]
    assert len(marked["-"].strip()) == len(marked["+"].strip()) == 32, "the hash alone"
    assert "image/png, 2.1 kB" in new


async def test_a_tools_result_and_what_a_tool_is_given_have_their_files_apart(
    client: TestClient, reading: MemoryReading
) -> None:
    (run,) = [each for each in reading.runs if each.run.run_id == "run_7q2k9fh4"]
    tool = run.steps[2]
    given = json.dumps({"path": "a.png", "content": url_of(PNG)})
    steps = [replace(each, tool_args=given) if each is tool else each for each in run.steps]
    reading.runs[reading.runs.index(run)] = replace(run, steps=steps)
    result = {"role": "tool", "tool_call_id": tool.tool_call_id, "content": json.dumps({"shot": url_of(PNG)})}
    holding(reading, 2, json.dumps({"messages": [result, {"role": "user", "content": url_of(OTHER)}]}).encode())
    detail = await told(client, "/runs/run_7q2k9fh4/steps/2")
    (own,) = detail.values()
    assert own["address"] == f"/api/calls/{tool.call_id}/files/{str(own['address'])[-32:]}"
    (brought,) = (await told(client, "/runs/run_7q2k9fh4/steps/2/result")).values()
    assert await (await client.get(str(brought["address"]))).read() == PNG


async def test_a_sample_has_no_files_to_fetch(client: TestClient) -> None:

    assert (await (await client.get("/samples/loop/steps/1")).json())["files"] == {}


async def test_where_stubs_would_show_whole_calls_are_compared(
    client: TestClient, reading: MemoryReading, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = reading.get_grown_call

    async def stubbed(*asked: Any, **how: Any) -> tuple[CallDetail | None, CallDetail | None]:
        now, before = await whole(*asked, **how)
        assert now is not None
        return replace(now, request=b'{"messages":[%s]}' % stub("0f")), before

    held = await (await client.get(f"{STEP}/changes")).json()
    monkeypatch.setattr(reading, "get_grown_call", stubbed)
    assert await (await client.get(f"{STEP}/changes")).json() == held
