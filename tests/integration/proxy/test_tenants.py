"""Every door of a worker × who knocks: no key, one that was ended, one without the scope, one of another project.

Doors come from `targets.Route` and from the document of what is taken: a new one fails until it is here. Behind
`Route.CONSOLE` is a matrix of its own, tests/integration/console/test_tenants.py.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fixtures.raw_upstream import Conversation, RawClient, RawUpstream, answer, request
from watchllm_proxy.capture import LogReader
from watchllm_proxy.capture.payload import unpack_any
from watchllm_proxy.capture.writer import LogWriter
from watchllm_proxy.console.api.openapi_ingest import TAKEN
from watchllm_proxy.grants import ALL_SCOPES, Grants, KeyGrant, ProjectTerms, Scope
from watchllm_proxy.ingesting import Ingestion
from watchllm_proxy.proxy.auth import KeyRing, digest
from watchllm_proxy.proxy.server import ProxyServer
from watchllm_proxy.proxy.targets import Route, route
from watchllm_proxy.settings import load

AT = "2026-01-15T10:00:00Z"
STEP = {"step_index": 0, "timestamp": AT, "type": "tool_call"}
EVENT = {"event_type": "error", "event_id": "e", "timestamp": AT, "error": {"message": "m"}}
OURS, THEIRS = "acme", "globex"


def key(name: str) -> bytes:
    return b"lgw_proj_" + name.encode().ljust(43, b"-")


KEYS = Grants(
    {
        digest(key("all")): KeyGrant(OURS, "all"),
        digest(key("theirs")): KeyGrant(THEIRS, "theirs"),
        digest(key("ended")): KeyGrant(OURS, "ended", expires_at_us=1),
        **{digest(key(f"no-{scope}")): KeyGrant(OURS, scope, ALL_SCOPES - {scope}) for scope in Scope},
    },
    {OURS: ProjectTerms(OURS), THEIRS: ProjectTerms(THEIRS)},
)


@dataclass(frozen=True)
class Door:
    """`needed` None: it is open to everybody, and answers them all with `status`."""

    method: str
    target: str
    needed: Scope | None
    status: int
    body: object = None
    names_a_project: bool = False

    def __str__(self) -> str:
        return f"{self.method} {self.target}"


REPORTS: Mapping[tuple[str, str], tuple[str, object]] = {
    ("post", "/v1/agent-runs"): ("/v1/agent-runs", {"run_id": "r", "started_at": AT, "steps": [STEP]}),
    ("post", "/v1/agent-runs/{run_id}/steps"): ("/v1/agent-runs/r/steps", {"steps": [STEP]}),
    ("patch", "/v1/agent-runs/{run_id}"): ("/v1/agent-runs/r", {"status": "failed"}),
    ("post", "/v1/projects/{project_id}/events"): (f"/v1/projects/{OURS}/events", EVENT),
    ("post", "/v1/events/batch"): ("/v1/events/batch", {"events": [EVENT]}),
}
DOORS: Mapping[Route, tuple[Door, ...]] = {
    Route.FORWARD: (
        Door("POST", "/v1/chat/completions", Scope.PROXY, 200, {"model": "m", "messages": []}),
        Door("GET", "/v1/models", Scope.PROXY, 200),
    ),
    Route.INGESTION: tuple(
        Door(method.upper(), target, Scope.INGEST, 202, body, names_a_project="{project_id}" in path)
        for (method, path), (target, body) in REPORTS.items()
    ),
    Route.LATER: (Door("POST", "/v1/traces", None, 501, {}),),
    Route.HEALTH: (Door("GET", "/healthz", None, 200),),
    Route.READY: (Door("GET", "/readyz", None, 200),),
    Route.METRICS: (Door("GET", "/metrics", None, 200),),
    Route.CONSOLE: (Door("GET", "/runs", None, 404), Door("POST", "/v1/events/query", None, 404, {})),
}
"""No console runs here: whoever asks for it is told so."""

ALL_DOORS = [door for doors in DOORS.values() for door in doors]
GUARDED = [door for door in ALL_DOORS if door.needed is not None]
KNOCKING = [None, "unknown", "ended", "theirs", "all", *(f"no-{scope}" for scope in Scope)]


@dataclass
class Worker:
    server: ProxyServer
    upstream: RawUpstream
    log: LogWriter
    directory: Path

    async def knock(self, door: Door, shown: str | None) -> tuple[int, bytes]:
        content = b"" if door.body is None else json.dumps(door.body).encode()
        fields = [(b"Content-Type", b"application/json")]
        if shown is not None:
            fields.append((b"Authorization", b"Bearer " + key(shown)))
        async with RawClient.connect(self.server.port) as client:
            answered = await client.ask(request(door.method, door.target, content, tuple(fields)))
        return answered.status, answered.body

    async def projects_kept(self) -> list[str]:
        """Of each record in the log, in order: whose it is."""
        await self.log.flush()
        records = LogReader(self.directory).read(None).records
        return [unpack_any(record.payload).project_id for record in records]


@pytest.fixture
async def worker(tmp_path: Path) -> AsyncIterator[Worker]:
    async def script(conversation: Conversation) -> None:
        await conversation.send(answer(b'{"object": "list"}'))

    async with contextlib.AsyncExitStack() as stack:
        upstream = RawUpstream(script)
        await upstream.start()
        stack.push_async_callback(upstream.stop)
        directory = tmp_path / "capture" / "w0"
        log = LogWriter(directory, max_bytes=1 << 30)
        log.open()
        stack.push_async_callback(log.close)
        settings = load(
            {},
            upstream_url=f"http://127.0.0.1:{upstream.port}/api/v1",
            upstream_api_key="sk-of-the-upstream",
            port=0,
            data_dir=tmp_path,
            allow_anonymous=False,
        )
        server = ProxyServer(settings, log=log, keys=KeyRing(KEYS), console_socket=None, intake=Ingestion(log))
        await server.start()
        stack.push_async_callback(server.stop)
        yield Worker(server, upstream, log, directory)


def test_every_door_is_here() -> None:
    assert DOORS.keys() == set(Route)
    assert {(method, path) for path, methods in TAKEN.items() for method in methods} == REPORTS.keys()
    for where, doors in DOORS.items():
        assert {route(door.target) for door in doors} == {where}


@pytest.mark.parametrize("door", GUARDED, ids=str)
async def test_who_shows_no_key_in_force_or_lacks_the_scope_leaves_no_trace(worker: Worker, door: Door) -> None:
    status, body = await worker.knock(door, None)
    assert (status, json.loads(body)["error"]["code"]) == (401, "missing_api_key")
    ended, unknown = await worker.knock(door, "ended"), await worker.knock(door, "unknown")
    assert ended == unknown, "an ended key looks like one that never was"
    assert (ended[0], json.loads(ended[1])["error"]["code"]) == (401, "invalid_api_key")
    status, body = await worker.knock(door, f"no-{door.needed}")
    assert (status, json.loads(body)["error"]["code"]) == (403, f"{door.needed}_scope_required")
    assert worker.upstream.requests == []
    assert await worker.projects_kept() == []


@pytest.mark.parametrize("door", GUARDED, ids=str)
async def test_what_a_key_brings_is_its_own_projects_whatever_is_named(worker: Worker, door: Door) -> None:
    status, body = await worker.knock(door, "theirs")
    if door.names_a_project:
        nowhere = await worker.knock(
            Door(door.method, door.target.replace(OURS, "nowhere"), None, 0, door.body), "theirs"
        )
        assert (status, body) == nowhere
        assert (status, json.loads(body)["error"]["code"]) == (404, "not_found")
    else:
        assert status == door.status
        assert OURS.encode() not in body
    assert (await worker.knock(door, "all"))[0] == door.status
    await worker.server.stop()
    assert await worker.projects_kept() == [*([] if door.names_a_project else [THEIRS]), OURS]


@pytest.mark.parametrize("door", [door for door in ALL_DOORS if door.needed is None], ids=str)
async def test_a_door_that_is_open_tells_everybody_the_same_and_of_no_project(worker: Worker, door: Door) -> None:
    for shown in KNOCKING:
        status, body = await worker.knock(door, shown)
        assert status == door.status, shown
        assert OURS.encode() not in body
        assert THEIRS.encode() not in body
    assert worker.upstream.requests == []
    assert await worker.projects_kept() == []


@pytest.mark.parametrize("door", ALL_DOORS, ids=str)
async def test_a_page_of_elsewhere_that_asks_first_is_not_let_in(worker: Worker, door: Door) -> None:
    """Browsers ask so without a key, before they send one."""
    fields = (
        (b"Origin", b"https://elsewhere.example"),
        (b"Access-Control-Request-Method", door.method.encode()),
        (b"Access-Control-Request-Headers", b"authorization"),
    )
    async with RawClient.connect(worker.server.port) as client:
        answered = await client.ask(request("OPTIONS", door.target, None, fields))
    assert answered.status >= 400
    assert not [name for name, _ in answered.fields if name.lower().startswith(b"access-control-")]
    assert worker.upstream.requests == []
