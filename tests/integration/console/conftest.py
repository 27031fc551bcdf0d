"""The console over runs in memory, asked through a real HTTP server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from tests.console_runs import MemoryDesk, MemoryReading, failed_call, long_run, make_call, refund_run
from watchllm_proxy.console import Health, build_app
from watchllm_proxy.console.context import Visitor
from watchllm_proxy.console.loading import LoadedRun
from watchllm_proxy.grants import ALL_SCOPES, Scope
from watchllm_proxy.settings import Settings
from watchllm_proxy.store import projects
from watchllm_proxy.store.transactions import open_pool

Client = TestClient[web.Request, web.Application]
Visited = Callable[..., Awaitable[Client]]


@pytest.fixture
def reading() -> MemoryReading:
    """A run in a loop with a sub-agent, a long run, and the calls of the first."""
    refund = refund_run()
    child = refund.children[0]
    runs = [refund, long_run(260), LoadedRun(child.run, child.flags, refund.steps[:3])]
    told = b'{"messages":[{"role":"tool","tool_call_id":"c3","content":"It was refused, and that is all."}]}'
    again = make_call(6, request=told)
    return MemoryReading(runs, [*(make_call(n) for n in range(1, 5)), failed_call(5), again])


@pytest.fixture
def health() -> dict[str, str | None]:
    """What the parts behind the console are said to be; change it in the test."""
    return {"clickhouse": None, "postgres": None}


@pytest.fixture
def desk() -> MemoryDesk:
    return MemoryDesk()


@pytest.fixture
async def client(
    reading: MemoryReading,
    desk: MemoryDesk,
    health: dict[str, str | None],
    aiohttp_client: Callable[[web.Application], Awaitable[Client]],
) -> Client:
    async def ask_health() -> Health:
        return Health(checks=dict(health))

    return await aiohttp_client(build_app(reading, settings=Settings(), health=ask_health, desk=desk))


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    """A real Postgres that holds the projects `default` and `acme`."""
    opened = await open_pool(postgres_dsn)
    await projects.create_project(opened, "acme", "Acme")
    yield opened
    await opened.close()


@pytest.fixture
def visited(
    pool: asyncpg.Pool, reading: MemoryReading, aiohttp_client: Callable[..., Awaitable[Client]]
) -> Visited:
    """`await visited(settings, headers=…)`: a console on `pool` to which a request says itself who asks.

    `X-Project` is whose key it shows (else `default`), `X-Scopes` what that may do (else all). `headers` are those
    of each request that has none of its own by that name.
    """

    async def visitor_of(request: web.Request) -> Visitor | None:
        scopes = request.headers.get("X-Scopes")
        return Visitor(
            request.headers.get("X-Project", "default"),
            ALL_SCOPES if scopes is None else frozenset({Scope(scopes)}),
        )

    async def health() -> Health:
        return Health()

    async def open_console(settings: Settings = Settings(), **options: object) -> Client:  # noqa: B008 - it is frozen
        app = build_app(reading, settings=settings, health=health, visitor_of=visitor_of, pool=pool)
        return await aiohttp_client(app, **options)

    return open_console
