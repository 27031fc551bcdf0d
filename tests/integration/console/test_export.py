"""A run to take along: JSON with bodies, NDJSON and Markdown, whole and in the store's own words."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from dataclasses import replace
from uuid import UUID

import aiohttp
import orjson
import pytest
from aiohttp.test_utils import TestClient
from yarl import URL

from tests.console_runs import MemoryReading, call_id, make_call, make_run, model_step, refund_run, totals
from watchllm_proxy.console.addresses import encode_id
from watchllm_proxy.console.loading import LoadedRun
from watchllm_proxy.errors import StoreUnavailable
from watchllm_proxy.records import ExchangeEnd, StepType
from watchllm_proxy.store.shapes import CallDetail

RUN = "run_7q2k9fh4"


async def lines_of(client: TestClient, run_id: str = RUN) -> list[dict]:
    answer = await client.get(f"/runs/{run_id}.ndjson")
    assert (answer.status, answer.content_type) == (200, "application/x-ndjson")
    return [orjson.loads(line) for line in (await answer.read()).splitlines()]


async def test_ndjson_is_the_summary_the_steps_the_children_and_each_call_once(client: TestClient) -> None:
    lines = await lines_of(client)
    debug = (await (await client.get(f"/api/agent-runs/{RUN}/debug")).json())["debug"]
    assert lines[0] == {"summary": debug["summary"]}
    assert [line["step"] for line in lines if "step" in line] == debug["steps"]
    assert [line["child"] for line in lines if "child" in line] == debug["children"]
    calls = [line["call"] for line in lines if "call" in line]
    wanted = list(dict.fromkeys(step["call_id"] for step in debug["steps"] if step["call_id"]))
    assert [call["call_id"] for call in calls] == wanted
    for call in calls:
        if not call.get("is_missing"):
            assert call == (await (await client.get(f"/api/calls/{call['call_id']}")).json())["call"]
    assert lines[-1]["end"]["calls"] == len(calls)


async def test_large_bodies_come_out_byte_for_byte_and_one_call_is_held_at_a_time(
    client: TestClient, reading: MemoryReading, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers that no float holds, escapes, and texts of a megabyte, in all three forms that have bodies."""
    bodies = [
        b'{"seed":12345678901234567890.125,"model":"m","messages":[{"role":"user","content":"%s \\u00e9 ``` "}]}'
        % (bytes([97 + n]) * 1_000_000)
        for n in range(6)
    ]
    reading.calls = [make_call(n + 1, request=body) for n, body in enumerate(bodies)]
    wanted = {hashlib.sha256(body).hexdigest() for body in bodies[:5]}
    asked: list[UUID] = []
    get_call = reading.get_call

    async def counted(project_id: str, call_id: UUID) -> CallDetail | None:
        asked.append(call_id)
        return await get_call(project_id, call_id)

    monkeypatch.setattr(reading, "get_call", counted)
    whole = await (await client.get(f"/runs/{RUN}.ndjson")).read()
    assert len(asked) == len(set(asked))
    for number, body in enumerate(bodies):
        assert (body in whole) == (call_id(number + 1) in asked)
    document = await (await client.get(f"/runs/{RUN}.json?bodies=on")).read()
    parts = {hashlib.sha256(body).hexdigest() for body in bodies if body in document}
    assert parts >= wanted
    assert orjson.loads(document)["debug"]["summary"]["run_id"] == RUN
    markdown = await (await client.get(f"/runs/{RUN}.md")).text()
    assert all(markdown.count(chr(97 + n) * 1_000_000) == 1 for n in range(5))


@pytest.fixture
def fifty_megabytes(reading: MemoryReading) -> list[bytes]:
    """The bodies of a run's fifty calls, a megabyte each, that no compression makes small."""
    text = os.urandom(500_000).hex()
    bodies = [
        b'{"messages":[{"role":"user","content":"%d %s"}]}' % (n, (text[n:] + text[:n]).encode())
        for n in range(50)
    ]
    reading.calls = [make_call(n + 1, run_id="run_big", request=body) for n, body in enumerate(bodies)]
    steps = [model_step(n, StepType.DECISION, n, 1, n + 1) for n in range(50)]
    reading.runs.append(LoadedRun(totals(make_run("run_big"), steps), (), steps))
    return bodies


def _counting(reading: MemoryReading, monkeypatch: pytest.MonkeyPatch) -> list[UUID]:
    """The calls that were read, as they are."""
    read: list[UUID] = []
    get_call = reading.get_call

    async def counted(project_id: str, call_id: UUID) -> CallDetail | None:
        read.append(call_id)
        return await get_call(project_id, call_id)

    monkeypatch.setattr(reading, "get_call", counted)
    return read


async def test_a_run_of_fifty_megabytes_comes_out_whole_with_its_number_of_lines_first(
    client: TestClient, fifty_megabytes: list[bytes]
) -> None:
    async with client.get("/runs/run_big.ndjson", headers={"Accept-Encoding": "identity"}) as answer:
        lines = (await answer.read()).splitlines()
    assert int(answer.headers["X-Lines"]) == len(lines) == 102
    wanted = [hashlib.sha256(body).hexdigest() for body in fifty_megabytes]
    requests = [line.partition(b'"request":')[2].partition(b',"answer":')[0] for line in lines[51:-1]]
    assert [hashlib.sha256(each).hexdigest() for each in requests] == wanted
    assert orjson.loads(lines[-1])["end"] == {"steps": 50, "calls": 50, "missing_calls": 0}


async def test_a_reader_that_stands_still_stops_the_reading_and_one_that_leaves_ends_it(
    client: TestClient, reading: MemoryReading, fifty_megabytes: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = _counting(reading, monkeypatch)
    async with client.get("/runs/run_big.ndjson", headers={"Accept-Encoding": "identity"}) as answer:
        await answer.content.readexactly(100_000)
        seen = 0
        while seen != len(read):  # until the sockets between them are full; where that takes longer, less was read
            seen = len(read)
            await asyncio.sleep(0.2)
        assert 0 < len(read) < 25
        answer.close()
    runner = client.server.runner
    assert runner is not None
    while runner.server is not None and runner.server.connections:
        await asyncio.sleep(0.01)
    assert len(read) < 50


async def test_json_without_bodies_is_as_it_was(client: TestClient) -> None:
    plain = await (await client.get(f"/runs/{RUN}.json")).json()
    assert plain.keys() == {"debug"}
    whole = await (await client.get(f"/runs/{RUN}.json?bodies=on")).json()
    assert whole["debug"] == plain["debug"]
    assert {"request", "answer"} <= whole["calls"][0].keys()


async def test_markdown_tells_what_requests_repeat_once(client: TestClient) -> None:
    answer = await client.get(f"/runs/{RUN}.md")
    text = await answer.text()
    assert (answer.status, answer.content_type) == (200, "text/markdown")
    assert text.startswith("# ")
    assert text.count("You are the support agent of Northwind Audio. Be brief and kind.") == 1
    assert "Its first 2 messages as in call 1." in text
    assert "## What is worth a look" in text
    assert "get_order" in text
    assert text.rstrip().splitlines()[-1].startswith("End of the run. Model calls:")


async def test_a_captured_text_cannot_close_its_fence_or_make_headings(
    client: TestClient, reading: MemoryReading
) -> None:
    hostile = "```\n# not a heading\n````\n<script>"
    body = json.dumps({"messages": [{"role": "user\n# x", "content": hostile}]}).encode()
    reading.calls = [make_call(n, request=body) for n in range(1, 7)]
    run = reading.runs[0]
    reading.runs[0] = replace(run, run=replace(run.run, title="[x](javascript:1)\n# evil_one _x_ <b>"))
    text = await (await client.get(f"/runs/{RUN}.md")).text()
    assert f"`````text\n{hostile}\n`````" in text
    assert text.startswith("# \\[x\\](javascript:1) # evil_one \\_x\\_ \\<b\\>\n")
    assert "\n# x" not in text


@pytest.mark.parametrize("request_body", [None, b"[" * 3000 + b"]" * 3000, b"3", b'{"messages":"x","tools":4}'])
async def test_whatever_a_request_was_its_run_is_written(
    client: TestClient, reading: MemoryReading, request_body: bytes | None
) -> None:
    reading.calls = [
        make_call(n, request=request_body, answer=None, end=ExchangeEnd.CLIENT_ABORTED, http_status=None)
        for n in range(1, 7)
    ]
    text = await (await client.get(f"/runs/{RUN}.md")).text()
    assert "No answer is stored." in text
    assert text.rstrip().splitlines()[-1].startswith("End of the run.")


async def test_calls_that_are_gone_are_told_and_counted(client: TestClient, reading: MemoryReading) -> None:
    reading.calls.clear()
    lines = await lines_of(client)
    assert lines[-1]["end"]["missing_calls"] == lines[-1]["end"]["calls"] > 0
    assert all(line["call"]["is_missing"] for line in lines if "call" in line)
    assert "Not stored any more." in await (await client.get(f"/runs/{RUN}.md")).text()


async def test_a_store_that_goes_away_in_between_breaks_the_transfer(
    client: TestClient, reading: MemoryReading, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(project_id: str, call_id: UUID) -> CallDetail | None:
        raise StoreUnavailable("clickhouse", "away")

    monkeypatch.setattr(reading, "get_call", away)
    for form in ("ndjson", "md", "json?bodies=on"):
        with pytest.raises(aiohttp.ClientError):
            await (await client.get(f"/runs/{RUN}.{form}")).read()


@pytest.mark.parametrize("run_id", ["a.md", "a.ndjson", "a.md.json", "x/y.md"])
async def test_an_id_that_ends_like_a_form_has_all_its_forms(
    client: TestClient, reading: MemoryReading, run_id: str
) -> None:
    reading.runs.append(replace(refund_run(run_id), children=()))
    page = await client.get(URL(f"/runs/{encode_id(run_id)}", encoded=True))
    assert (page.status, page.content_type) == (200, "text/html")
    answer = await client.get(URL(f"/runs/{encode_id(run_id)}.ndjson", encoded=True))
    assert orjson.loads((await answer.read()).splitlines()[0])["summary"]["run_id"] == run_id


async def test_an_unknown_run_is_not_found_in_any_form(client: TestClient) -> None:
    for form in ("ndjson", "md", "json?bodies=on"):
        assert (await client.get(f"/runs/nobody.{form}")).status == 404
