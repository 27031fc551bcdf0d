"""The door for reports on a real capture log: 202 for what is on disk, and for nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.raw_upstream import RawClient, request
from tests.integration.proxy.conftest import KEY
from watchllm_proxy.capture import LogReader
from watchllm_proxy.capture.payload import unpack_any
from watchllm_proxy.capture.writer import LogWriter
from watchllm_proxy.grants import Grants, KeyGrant, ProjectTerms, Scope
from watchllm_proxy.ingesting import Ingestion
from watchllm_proxy.proxy.auth import KeyRing, digest
from watchllm_proxy.proxy.reported import MAX_BYTES
from watchllm_proxy.proxy.server import ProxyServer
from watchllm_proxy.records import Report, ReportKind
from watchllm_proxy.settings import load

AT = "2026-01-15T10:00:00Z"
RUN = {"run_id": "r 1", "started_at": AT, "steps": [{"step_index": 0, "timestamp": AT, "type": "tool_call"}]}
EVENT = {"event_type": "error", "event_id": "e", "timestamp": AT, "error": {"message": "m"}}
JSON = (b"Content-Type", b"application/json")
READER = b"lgw_proj_" + b"r" * 32
KEYS = Grants(
    {
        digest(KEY): KeyGrant("shop", "a"),
        digest(READER): KeyGrant("shop", "b", frozenset({Scope.READ, Scope.PROXY})),
    }
)


@dataclass
class Door:
    server: ProxyServer
    log: LogWriter
    directory: Path

    async def ask(
        self, method: str, target: str, body: object, *fields: tuple[bytes, bytes], key: bytes | None = KEY
    ) -> tuple[int, Any]:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = [*(fields or (JSON,)), *([(b"Authorization", b"Bearer " + key)] if key else [])]
        async with RawClient.connect(self.server.port) as client:
            answer = await client.ask(request(method, target, content, tuple(sent)))
        return answer.status, json.loads(answer.body)

    def kept(self) -> list[Report]:
        records = [unpack_any(record.payload) for record in LogReader(self.directory).read(None).records]
        return [each for each in records if isinstance(each, Report)]


Open = Callable[..., Awaitable[Door]]


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Open]:
    async with contextlib.AsyncExitStack() as stack:

        async def opened(*, max_bytes: int = 1 << 30, keys: Grants = KEYS, **settings: Any) -> Door:
            directory = tmp_path / "capture" / "w0"
            log = LogWriter(directory, max_bytes=max_bytes)
            log.open()
            stack.push_async_callback(log.close)
            values = {"port": 0, "data_dir": tmp_path, "allow_anonymous": False} | settings
            upstream_url = "http://127.0.0.1:9/api/v1"
            server = ProxyServer(
                load({}, upstream_url=upstream_url, **values),
                log=log,
                keys=KeyRing(keys),
                console_socket=None,
                intake=Ingestion(log),
            )
            await server.start()
            stack.push_async_callback(server.stop)
            return Door(server, log, directory)

        yield opened


async def test_what_is_answered_with_202_is_on_disk(door: Open) -> None:
    here = await door()
    accepted = {"run_id": "r 1", "accepted_steps": 1, "status": "accepted"}
    assert await here.ask("POST", "/v1/agent-runs", RUN) == (202, accepted)
    assert await here.ask("POST", "/v1/agent-runs/r%201/steps", {"steps": RUN["steps"]}) == (202, accepted)
    changed = await here.ask("PATCH", "/v1/agent-runs/r%2F2", {"status": "failed"})
    assert changed == (202, {"run_id": "r/2", "accepted_steps": 0, "status": "accepted"})
    one = {"accepted": 1, "rejected": 0, "events": [{"index": 0, "event_id": "e", "status": "accepted"}]}
    assert await here.ask("POST", "/v1/projects/shop/events", EVENT) == (202, one)
    assert await here.ask("POST", "/v1/events/batch", {"events": [EVENT]}) == (202, one)
    kept = here.kept()
    assert [(each.project_id, each.kind, each.run_id) for each in kept] == [
        ("shop", ReportKind.RUN, "r 1"), ("shop", ReportKind.RUN, "r 1"), ("shop", ReportKind.RUN, "r/2"),
        ("shop", ReportKind.EVENTS, None), ("shop", ReportKind.EVENTS, None),
    ]  # fmt: skip
    assert json.loads(kept[0].body) == RUN
    assert here.log.accepted == 5


REFUSED = {
    "no key": ("POST", "/v1/agent-runs", RUN, None, 401, "missing_api_key"),
    "an unknown key": ("POST", "/v1/agent-runs", RUN, b"lgw_proj_" + b"x" * 32, 401, "invalid_api_key"),
    "a wrong field": ("POST", "/v1/agent-runs", {**RUN, "status": "done"}, KEY, 422, "invalid_field"),
    "no JSON": ("POST", "/v1/agent-runs", b"{", KEY, 400, "invalid_json"),
    "a foreign project": ("POST", "/v1/projects/other/events", EVENT, KEY, 404, "not_found"),
    "a foreign project in the body": (
        "POST",
        "/v1/agent-runs",
        {**RUN, "project_id": "x"},
        KEY,
        422,
        "invalid_field",
    ),
    "another method": ("PUT", "/v1/agent-runs", RUN, KEY, 405, "method_not_allowed"),
    "a path that is none": ("POST", "/v1/agent-runs/r/steps/7", RUN, KEY, 404, "not_found"),
    "a batch of nothing": ("POST", "/v1/events/batch", {"events": []}, KEY, 422, "no_event_taken"),
    "a batch of rejects": ("POST", "/v1/events/batch", {"events": [{}]}, KEY, 422, "no_event_taken"),
    "an id that is too long": ("PATCH", f"/v1/agent-runs/{'x' * 201}", {}, KEY, 422, "invalid_field"),
    "traces": ("POST", "/v1/traces", {}, KEY, 501, "not_available"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_refused_is_not_kept_and_says_why(door: Open, name: str) -> None:
    method, target, body, key, status, code = REFUSED[name]
    here = await door()
    answered, problem = await here.ask(method, target, body, key=key)
    assert (answered, problem["error"]["code"]) == (status, code)
    assert here.kept() == []


async def test_a_key_without_the_scope_ingest_reports_nothing(door: Open) -> None:
    here = await door()
    status, problem = await here.ask("POST", "/v1/agent-runs", RUN, key=READER)
    assert (status, problem["error"]["type"]) == (403, "permission_error")
    assert here.kept() == []


@pytest.mark.parametrize(
    "fields",
    [
        (b"Content-Type", b"text/plain"),
        (b"Content-Type", b"multipart/form-data; boundary=x"),
        (b"X", b"no type at all"),
    ],
)
async def test_a_page_from_elsewhere_cannot_report(door: Open, fields: tuple[bytes, bytes]) -> None:
    """These are what a browser sends to another site without asking it first."""
    here = await door(allow_anonymous=True)
    status, _ = await here.ask("POST", "/v1/agent-runs", RUN, fields, key=None)
    assert status == 415


async def test_a_compressed_body_is_refused(door: Open) -> None:
    here = await door()
    status, problem = await here.ask("POST", "/v1/agent-runs", RUN, JSON, (b"Content-Encoding", b"gzip"))
    assert (status, problem["error"]["code"]) == (415, "unsupported_content_encoding")


async def test_a_body_over_the_limit_is_refused_whether_its_length_is_announced_or_not(door: Open) -> None:
    here = await door()
    head = (
        b"POST /v1/agent-runs HTTP/1.1\r\nHost: p\r\nContent-Type: application/json\r\n"
        b"Authorization: Bearer " + KEY + b"\r\n"
    )
    for framing in (b"Content-Length: %d\r\n\r\n" % (MAX_BYTES + 1), b"Transfer-Encoding: chunked\r\n\r\n"):
        async with RawClient.connect(here.server.port) as client:
            await client.send(head + framing)
            if b"chunked" in framing:
                piece = b" " * (1 << 20)
                with contextlib.suppress(ConnectionError):
                    for _ in range(MAX_BYTES // len(piece) + 1):
                        await client.send(b"%x\r\n" % len(piece) + piece + b"\r\n")
            answer = await client.answer()
        assert answer is not None
        assert answer.status == 413
    assert here.kept() == []


async def test_a_full_log_is_told_with_a_time_to_come_back_and_is_no_false_202(door: Open) -> None:
    here = await door(max_bytes=1)
    async with RawClient.connect(here.server.port) as client:
        body = json.dumps(RUN).encode()
        answer = await client.ask(
            request("POST", "/v1/agent-runs", body, (JSON, (b"Authorization", b"Bearer " + KEY)))
        )
    assert (answer.status, answer.value(b"Retry-After")) == (503, b"5")
    assert json.loads(answer.body)["error"]["code"] == "log_full"
    assert here.kept() == []


async def test_a_long_report_is_read_like_a_short_one(door: Open) -> None:
    here = await door()
    steps = [
        {"step_index": n, "timestamp": AT, "type": "tool_result", "tool_output_summary": "x" * 3000}
        for n in range(5000)
    ]
    status, answer = await here.ask("POST", "/v1/agent-runs", {**RUN, "steps": steps})
    assert (status, answer["accepted_steps"]) == (202, 5000)
    steps.append({"step_index": 5000, "timestamp": AT, "type": "tool_result"})
    status, problem = await here.ask("POST", "/v1/agent-runs", {**RUN, "steps": steps})
    assert (status, problem["error"]["code"]) == (413, "too_many_steps")
    assert len(here.kept()) == 1


async def test_a_body_that_stops_arriving_is_given_up(door: Open) -> None:
    here = await door(body_progress_timeout_s=0.2)
    async with RawClient.connect(here.server.port) as client:
        head = request("POST", "/v1/agent-runs", None, (JSON, (b"Authorization", b"Bearer " + KEY)))
        await client.send(head[:-2] + b"Content-Length: 100\r\n\r\n{")
        answer = await client.answer()
    assert answer is not None
    assert answer.status == 408


async def test_a_connection_goes_on_after_a_report(door: Open) -> None:
    here = await door()
    sent = request(
        "POST", "/v1/agent-runs", json.dumps(RUN).encode(), (JSON, (b"Authorization", b"Bearer " + KEY))
    )
    async with RawClient.connect(here.server.port) as client:
        statuses = [(await client.ask(sent)).status for _ in range(5)]
    assert statuses == [202] * 5
    await asyncio.gather(*(here.ask("POST", "/v1/agent-runs", RUN) for _ in range(50)))
    assert here.log.accepted == 55


async def test_a_report_counts_as_a_request_of_the_month_however_many_events_it_brings(door: Open) -> None:
    opened = await door(keys=Grants(KEYS.keys, {"shop": ProjectTerms("shop", plan="free", monthly_requests=2)}))
    assert (await opened.ask("POST", "/v1/agent-runs", RUN))[0] == 202
    many = {"events": [{**EVENT, "event_id": f"e{number}"} for number in range(5)]}
    assert (await opened.ask("POST", "/v1/events/batch", many))[0] == 202
    status, answer = await opened.ask("POST", "/v1/agent-runs", {**RUN, "run_id": "r 2"})
    assert (status, answer["error"]["code"]) == (429, "quota_exceeded")
    assert [report.run_id for report in opened.kept()] == ["r 1", None], "nothing of what was refused"
