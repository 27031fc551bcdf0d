"""The console over runs in memory, asked through a real HTTP server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from tests.console_runs import MemoryDesk, MemoryReading, failed_call, long_run, make_call, refund_run
from watchllm_proxy.console import Health, build_app
from watchllm_proxy.console.loading import LoadedRun
from watchllm_proxy.settings import Settings

Client = TestClient[web.Request, web.Application]


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
