"""What is asked for again and again is sent once for each time that it changes."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from tests.console_runs import MemoryReading
from watchllm_proxy.console.app import ROUTES

RUN = "run_7q2k9fh4"
POLLED = [
    "/api/agent-runs?limit=2",
    f"/api/agent-runs/{RUN}/debug",
    f"/runs/{RUN}.json",
    f"/runs/{RUN}/steps",
    "/api/calls?limit=3",
    "/api/usage?month=2026-11",
    "/openapi.json",
]


@pytest.mark.parametrize("path", POLLED)
async def test_what_is_still_the_same_is_not_sent_again(client: TestClient, path: str) -> None:
    first = await client.get(path)
    assert (first.status, first.headers["Cache-Control"]) == (200, "no-store")
    tag = first.headers["ETag"]
    again = await client.get(path, headers={"If-None-Match": f'"other", {tag}'})
    assert (again.status, again.headers["ETag"], await again.read()) == (304, tag, b"")
    assert again.headers["X-Content-Type-Options"] == "nosniff"
    other = await client.get(path, headers={"If-None-Match": 'W/"other"'})
    assert (other.status, await other.read()) == (200, await first.read())


async def test_what_has_changed_is_sent(client: TestClient, reading: MemoryReading) -> None:
    before = (await client.get("/api/agent-runs")).headers["ETag"]
    reading.runs.pop()
    answer = await client.get("/api/agent-runs", headers={"If-None-Match": before})
    assert answer.status == 200
    assert answer.headers["ETag"] != before


async def test_an_error_has_no_tag_and_is_told_each_time(client: TestClient) -> None:
    for path, status in (("/api/agent-runs?limit=0", 422), ("/api/agent-runs/nobody/debug", 404)):
        answer = await client.get(path, headers={"If-None-Match": "*"})
        assert answer.status == status
        assert "ETag" not in answer.headers


@pytest.mark.parametrize("route", ROUTES, ids=[f"{route.method} {route.path}" for route in ROUTES])
async def test_no_page_of_elsewhere_is_let_in(client: TestClient, route: web.RouteDef) -> None:
    """Neither before it asks, nor in an answer: there is no setting for it."""
    path = route.path.partition("{")[0].rstrip("/") or "/"
    elsewhere = {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"}
    before = {"Access-Control-Request-Method": route.method, "Access-Control-Request-Headers": "authorization"}
    for method, headers in (("OPTIONS", elsewhere | before), (route.method, elsewhere)):
        answer = await client.request(method, path, headers=headers, allow_redirects=False)
        assert not [name for name in answer.headers if name.lower().startswith("access-control-")]
        assert method != "OPTIONS" or answer.status in {404, 405}
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
