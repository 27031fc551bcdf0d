"""What is stored and how long, and erasing: through the page, on a real Postgres."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import asyncpg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from tests.console_runs import MemoryReading
from tests.integration.console.crawling import crawl
from watchllm_proxy.console import Health, build_app
from watchllm_proxy.console.context import Visitor
from watchllm_proxy.errors import StoreUnavailable
from watchllm_proxy.grants import ALL_SCOPES, Scope
from watchllm_proxy.settings import Settings
from watchllm_proxy.store import project_settings, projects
from watchllm_proxy.store.call_shapes import StoredCalls
from watchllm_proxy.store.transactions import open_pool

PAGE = {"Accept": "text/html"}
RUN = "run_7q2k9fh4"


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    opened = await open_pool(postgres_dsn)
    yield opened
    await opened.close()


@pytest.fixture
async def client(
    pool: asyncpg.Pool, reading: MemoryReading, aiohttp_client: Callable[..., Awaitable[TestClient]]
) -> TestClient:
    async def visitor_of(request: web.Request) -> Visitor | None:
        may = ALL_SCOPES if "X-Reader" not in request.headers else frozenset({Scope.READ})
        return Visitor(request.headers.get("X-Project", "default"), may)

    async def health() -> Health:
        return Health()

    app = build_app(reading, settings=Settings(), health=health, visitor_of=visitor_of, pool=pool)
    return await aiohttp_client(app)


async def _asked(pool: asyncpg.Pool) -> list[tuple[str, str]]:
    async with pool.acquire() as connection:
        found = await connection.fetch("SELECT scope, subject FROM erasures ORDER BY requested_at")
    return [(row["scope"], row["subject"]) for row in found]


async def test_the_page_says_what_is_stored_and_how_long(client: TestClient) -> None:
    page = await (await client.get("/settings/data", headers=PAGE)).text()
    for text in ("WATCHLLM_RETENTION_DAYS", "90 days", "after redaction (all)", "WATCHLLM_KEEP_RAW"):
        assert text in page
    said = await (await client.get("/settings/data.json")).json()
    assert (said["retention_days"], said["retention_said_by"]) == (90, "installation")
    assert (said["runs"], said["calls"], said["store_content"]) == (3, 6, True)


async def test_retention_is_changed_and_taken_back(client: TestClient, pool: asyncpg.Pool) -> None:
    answer = await client.post("/settings/data", data={"retention_days": "7"}, allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (303, "/settings/data")
    said = await (await client.get("/settings/data.json")).json()
    assert (said["retention_days"], said["retention_said_by"]) == (7, "project")
    for wrong in ("x", "-1", "７", "1e3", "99999999"):
        refused = await client.post("/settings/data", data={"retention_days": wrong}, headers=PAGE)
        assert refused.status == 422, wrong
        assert 'role="alert"' in await refused.text()
    await client.post("/settings/data", data={"retention_days": ""})
    assert (await (await client.get("/settings/data.json")).json())["retention_said_by"] == "installation"


async def test_a_plan_says_how_long_and_bounds_what_may_be_chosen(client: TestClient, pool: asyncpg.Pool) -> None:
    await projects.create_project(pool, "acme", "Acme")
    await project_settings.change(pool, "acme", lambda before: replace(before, plan="free"))
    acme = {"X-Project": "acme"}
    said = await (await client.get("/settings/data.json", headers=acme)).json()
    assert (said["retention_days"], said["retention_said_by"]) == (7, "plan")
    refused = await client.post("/settings/data", data={"retention_days": "30"}, headers={**acme, **PAGE})
    assert (refused.status, "must be at most 7" in await refused.text()) == (422, True)


async def test_an_erasure_is_shown_then_asked_for_and_told_as_a_job(
    client: TestClient, pool: asyncpg.Pool
) -> None:
    wanted = {"scope": "run", "subject": RUN}
    page = await (await client.post("/settings/data/erase", data=wanted, headers=PAGE)).text()
    assert "Erase it for good" in page
    assert f'href="/runs/{RUN}"' in page
    assert await _asked(pool) == [], "nothing is asked for before it is confirmed"
    answer = await client.post("/settings/data/erase", data={**wanted, "confirm": "yes"}, allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (303, "/jobs")
    assert await _asked(pool) == [("run", RUN)]
    page = await (await client.get("/jobs", headers=PAGE)).text()
    assert f"a run <code>{RUN}</code>" in page
    assert "waits for the recorder" in page
    (told,) = (await (await client.get("/jobs.json")).json())["erasures"]
    assert (told["scope"], told["subject"], told["done_at"]) == ("run", RUN, None)


async def test_a_program_asks_for_an_erasure_as_the_form_does(client: TestClient, pool: asyncpg.Pool) -> None:
    wanted = {"scope": "run", "subject": RUN}
    answer = await client.post("/api/erasures", json=wanted)
    assert (answer.status, await answer.json()) == (200, {"erasure": None, "runs": 1, "is_total_exact": True})
    assert await _asked(pool) == []
    answer = await client.post("/api/erasures", json={**wanted, "confirm": True})
    said = await answer.json()
    assert (answer.status, said["runs"], said["erasure"]["subject"]) == (202, 1, RUN)
    assert await _asked(pool) == [("run", RUN)]
    wrong = (
        ({"scope": "run"}, 422, "subject"),
        ({"scope": "project", "subject": "default"}, 422, "scope"),
        ({"scope": "run", "subject": "nobody"}, 404, "subject"),
        ({**wanted, "confirm": "yes"}, 422, "confirm"),
        ({**wanted, "sure": True}, 422, "sure"),
    )
    for body, status, param in wrong:
        answer = await client.post("/api/erasures", json=body)
        assert (answer.status, (await answer.json())["error"]["param"]) == (status, param), body


async def test_a_user_is_erased_by_the_id_that_was_sent(
    client: TestClient, reading: MemoryReading, pool: asyncpg.Pool
) -> None:
    reading.runs[0] = replace(reading.runs[0], run=replace(reading.runs[0].run, user_id="bob"))
    page = await (await client.post("/settings/data/erase", data={"scope": "user", "subject": "bob"})).text()
    assert "1 run of the user <code>bob</code>" in page
    await client.post("/settings/data/erase", data={"scope": "user", "subject": "bob", "confirm": "yes"})
    assert await _asked(pool) == [("user", "bob")]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"scope": "run", "subject": "nobody", "confirm": "yes"}, 404),
        ({"scope": "user", "subject": "nobody", "confirm": "yes"}, 404),
        ({"scope": "project", "subject": "default", "confirm": "yes"}, 422),
        ({"scope": "run", "subject": " ", "confirm": "yes"}, 422),
        ({"scope": "run", "subject": "x" * 1001, "confirm": "yes"}, 422),
        ({}, 422),
    ],
)
async def test_what_cannot_be_erased_here_is_refused(
    client: TestClient, pool: asyncpg.Pool, fields: dict[str, str], status: int
) -> None:
    answer = await client.post("/settings/data/erase", data=fields, headers=PAGE)
    assert answer.status == status
    assert 'role="alert"' in await answer.text()
    assert await _asked(pool) == []


async def test_who_may_only_read_is_offered_no_change(client: TestClient) -> None:
    page = await (await client.get("/settings/data", headers={"X-Reader": "1", **PAGE})).text()
    assert "<form" not in page
    answer = await client.post("/settings/data/erase", data={"scope": "run"}, headers={"X-Reader": "1"})
    assert answer.status == 403


async def test_while_the_store_of_calls_is_away_the_rest_is_told(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(self: MemoryReading, project_id: str) -> StoredCalls:
        raise StoreUnavailable("ClickHouse does not answer")

    monkeypatch.setattr(MemoryReading, "stored_calls", away)
    assert "not available now" in await (await client.get("/settings/data", headers=PAGE)).text()
    assert (await (await client.get("/settings/data.json")).json())["calls"] is None


async def test_no_link_of_any_page_is_dead_where_there_are_keys_and_plans(client: TestClient) -> None:
    seen = await crawl(client)
    assert {"/settings/keys", "/settings/projects", "/settings/prices", "/pricing"} <= seen
