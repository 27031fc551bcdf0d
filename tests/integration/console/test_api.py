"""The JSON API over real HTTP: lists, runs, calls, and every way to ask wrongly."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from urllib.parse import quote

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from yarl import URL

from tests.console_runs import MemoryReading, call_id, make_run, refund_run
from watchllm_proxy.console.addresses import encode_id
from watchllm_proxy.console.app import build_app
from watchllm_proxy.console.context import Health, Waiting
from watchllm_proxy.console.loading import LoadedRun
from watchllm_proxy.settings import Settings

ODD_IDS = ["a/b", "a?b=c", "a#b", "100%", "%2F", "ü λ 中", '"quoted" \'id\'', ".", "..", "a.json", "fixture", "a b+c", "<b>", "x" * 200]  # fmt: skip  # noqa: E501


async def _runs(client: TestClient, query: str = "") -> list[str]:
    answer = await client.get(f"/api/agent-runs{query}")
    assert answer.status == 200
    return [run["run_id"] for run in (await answer.json())["runs"]]


async def test_runs_are_listed_newest_first_page_by_page(client: TestClient) -> None:
    first = await (await client.get("/api/agent-runs?limit=2")).json()
    assert (first["total"], first["has_more"], first["limit"], first["offset"]) == (3, True, 2, 0)
    assert first["runs"][0]["run_id"] == "run_child"
    rest = await (await client.get("/api/agent-runs?limit=2&offset=2")).json()
    assert (len(rest["runs"]), rest["has_more"]) == (1, False)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("?status=failed", ["run_7q2k9fh4"]),
        ("?agent=policy-researcher", ["run_child"]),
        ("?flag=loop_detected", ["run_7q2k9fh4"]),
        ("?q=pathlib", ["run_big2000"]),
        ("?until=2025-01-01T00:00:00Z", []),
        ("?sort=-steps", ["run_big2000", "run_7q2k9fh4", "run_child"]),
        ("?status=&agent=", ["run_child", "run_7q2k9fh4", "run_big2000"]),
    ],
)
async def test_filters_narrow_the_list(client: TestClient, query: str, found: list[str]) -> None:
    assert await _runs(client, query) == found


async def test_lone_chats_are_listed_only_when_asked_for(client: TestClient, reading: MemoryReading) -> None:
    reading.runs.append(LoadedRun(make_run("chat", is_agent=False), (), ()))
    assert "chat" not in await _runs(client)
    assert "chat" in await _runs(client, "?kind=all")


@pytest.mark.parametrize(
    ("query", "name"), [("limit=0", "limit"), ("status=odd", "status"), ("since=x", "since"), ("odd=1", "odd")]
)
async def test_a_wrong_parameter_is_422_and_named(client: TestClient, query: str, name: str) -> None:
    answer = await client.get(f"/api/agent-runs?{query}")
    error = (await answer.json())["error"]
    assert (answer.status, error["param"], error["code"]) == (422, name, "invalid_parameter")


async def test_a_run_comes_with_its_steps_links_flags_and_children(client: TestClient) -> None:
    debug = (await (await client.get("/api/agent-runs/run_7q2k9fh4/debug")).json())["debug"]
    assert debug["summary"]["status"] == "failed"
    assert [step["step_index"] for step in debug["steps"]] == list(range(12))
    assert [child["run_id"] for child in debug["children"]] == ["run_child"]
    assert {link["kind"] for link in debug["summary"]["links"]} == {"new_run", "issued_id", "retry"}
    assert debug["summary"]["flags"][0]["step_indexes"] == [4, 6, 8]


async def test_money_arrives_exactly(client: TestClient) -> None:
    body = await (await client.get("/api/agent-runs/run_7q2k9fh4/debug")).text()
    cost = json.loads(body, parse_float=Decimal)["debug"]["summary"]["cost"]
    assert cost["total_cost_usd"] == Decimal("0.00413")


@pytest.mark.parametrize("run_id", ODD_IDS)
async def test_any_printable_run_id_can_be_asked_for(
    client: TestClient, reading: MemoryReading, run_id: str
) -> None:
    reading.runs.append(replace(refund_run(run_id), children=()))
    for path in (f"/api/agent-runs/{encode_id(run_id)}/debug", f"/runs/{encode_id(run_id)}.json"):
        answer = await client.get(URL(path, encoded=True))
        assert (await answer.json())["debug"]["summary"]["run_id"] == run_id, path
    page = await client.get(URL(f"/runs/{encode_id(run_id)}", encoded=True))
    assert (page.status, page.content_type) == (200, "text/html")
    step = await client.get(URL(f"/runs/{encode_id(run_id)}/steps/6", encoded=True))
    assert (await step.json())["index"] == 6


async def test_a_foreign_run_and_an_unknown_one_look_the_same(client: TestClient, reading: MemoryReading) -> None:
    unknown = await client.get("/api/agent-runs/nobody/debug")
    reading.project_id = "somebody-else"
    foreign = await client.get("/api/agent-runs/run_7q2k9fh4/debug")
    assert unknown.status == foreign.status == 404
    assert await unknown.read() == await foreign.read()
    call = await client.get(f"/api/calls/{call_id(1)}")
    assert (call.status, await call.read()) == (404, await unknown.read())


@pytest.mark.parametrize("name", ["normal", "loop", "high-cost"])
async def test_sample_runs_are_there_without_any_store(client: TestClient, name: str) -> None:
    debug = (await (await client.get(f"/api/agent-runs/fixture/{name}")).json())["debug"]
    assert debug["steps"]
    assert bool(debug["summary"]["flags"]) == (name != "normal")


async def test_a_raw_body_comes_byte_for_byte_as_a_file_that_no_browser_shows(
    client: TestClient, reading: MemoryReading
) -> None:
    answer = await client.get(f"/api/calls/{call_id(1)}/raw/request")
    assert (answer.status, await answer.read()) == (200, b"\x1f\x8b\x00<b>")
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{call_id(1)}.request"'
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    for path in (f"{call_id(1)}/raw/answer", f"{call_id(99)}/raw/request", "x/raw/request", f"{call_id(1)}/raw/x"):
        assert (await client.get(f"/api/calls/{path}")).status == 404
    reading.project_id = "somebody-else"
    assert (await client.get(f"/api/calls/{call_id(1)}/raw/request")).status == 404


async def test_a_call_comes_rebuilt_with_usage_timing_and_links(client: TestClient) -> None:
    answer = await client.get(f"/api/calls/{call_id(1)}")
    text = await answer.text()
    call = json.loads(text)["call"]
    assert call["request"]["messages"][1]["content"] == "Order A-10432 arrived **broken**."
    assert '"seed":12345678901234567890' in text
    assert call["timing"]["time_to_first_token_ms"] == 293
    assert call["usage"]["input_tokens"] == 1000
    assert call["links"][0]["kind"] == "issued_id"


@pytest.mark.parametrize(
    ("held", "encoding"), [(b"iVBORw0KGgo" * 200_000, None), (b"some words " * 200_000, "deflate")]
)
async def test_a_picture_is_not_compressed_again(
    client: TestClient, reading: MemoryReading, held: bytes, encoding: str | None
) -> None:
    reading.calls[0] = replace(reading.calls[0], request=b'{"messages":["' + held + b'"]}')
    answer = await client.get(f"/api/calls/{reading.calls[0].row.call_id}")
    assert answer.headers.get("Content-Encoding") == encoding
    assert (await answer.json())["call"]["request"]["messages"] == [held.decode()]


@pytest.mark.parametrize("odd", ["x", "1", quote("../etc", safe="")])
async def test_a_call_id_that_is_none_is_404(client: TestClient, odd: str) -> None:
    answer = await client.get(URL(f"/api/calls/{odd}", encoded=True))
    assert answer.status == 404


async def test_following_the_calls_brings_each_once(client: TestClient, reading: MemoryReading) -> None:
    seen: list[str] = []
    after = ""
    for _ in range(4):
        page = await (await client.get(f"/api/calls?limit=2&after={after or call_id(1)}")).json()
        seen += [call["call_id"] for call in page["calls"]]
        after = page["next_after"]
    assert seen == [str(call_id(n)) for n in range(2, 7)]
    assert after == str(call_id(6))


async def test_what_is_away_is_told_with_since_when_and_when_it_is_tried_again(
    aiohttp_client: Callable[[web.Application], Awaitable[TestClient]],
) -> None:
    async def health() -> Health:
        waiting = {"clickhouse": Waiting(since_us=1_700_000_000_000_000, tries=12, retry_in_s=3.24)}
        return Health(checks={"clickhouse": "away", "postgres": None}, waiting=waiting)

    client = await aiohttp_client(build_app(MemoryReading([], []), settings=Settings(), health=health))
    checks = (await (await client.get("/readyz")).json())["checks"]
    assert checks["clickhouse"].pop("since").startswith("2023-11-14T22:13:20")
    assert checks == {
        "clickhouse": {"status": "degraded", "detail": "away", "tries": 12, "retry_in_s": 3.2},
        "postgres": {"status": "ok"},
    }


async def test_what_is_degraded_is_told_in_readyz(client: TestClient, health: dict[str, str | None]) -> None:
    health["clickhouse"] = "It does not answer; captures wait in the log."
    answer = await client.get("/readyz")
    assert answer.status == 200
    assert await answer.json() == {
        "status": "degraded",
        "checks": {
            "clickhouse": {"status": "degraded", "detail": health["clickhouse"]},
            "postgres": {"status": "ok"},
        },
    }
