"""Every route × who asks: generated from the routes, so that a new one is under test by default."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from tests.console_runs import MemoryDesk, MemoryReading
from watchllm_proxy.console import Health, build_app
from watchllm_proxy.console.app import ADMIN_ROUTES, OPEN_ROUTES, READ_ROUTES, ROUTES
from watchllm_proxy.console.context import NEEDED, Visitor
from watchllm_proxy.grants import ALL_SCOPES, Scope
from watchllm_proxy.settings import Settings

NEEDS = [
    *((route, None) for route in OPEN_ROUTES),
    *((route, Scope.READ) for route in READ_ROUTES),
    *((route, Scope.ADMIN) for route in ADMIN_ROUTES),
]
ASKERS: dict[str, frozenset[Scope] | None] = {
    "nobody": None,
    "nothing": frozenset(),
    **{f"all but {scope}": ALL_SCOPES - {scope} for scope in Scope},
    **{f"only {scope}": frozenset({scope}) for scope in Scope},
}


@pytest.fixture
async def app_client(
    reading: MemoryReading, desk: MemoryDesk, aiohttp_client: Callable[..., Awaitable[TestClient]]
) -> TestClient:
    async def visitor_of(request: web.Request) -> Visitor | None:
        scopes = ASKERS[request.headers["X-Asker"]]
        return None if scopes is None else Visitor("default", scopes)

    async def health() -> Health:
        return Health()

    app = build_app(reading, settings=Settings(), health=health, visitor_of=visitor_of, desk=desk)
    return await aiohttp_client(app)


def address(path: str) -> str:
    """A route's path with something in each place; names that a pattern limits get one of its words."""
    path = re.sub(r"\{\w+:\\d[^}]*\}\}?", "1", path)
    path = re.sub(r"\{\w+:(\w+)[^}]*\}", r"\1", path)
    return re.sub(r"\{\w+\}", "00000000-0000-0000-0000-00000000ffff", path)


@pytest.mark.parametrize(("route", "needed"), NEEDS, ids=[f"{r.method} {r.path}" for r, _ in NEEDS])
async def test_a_route_is_for_those_who_have_its_scope(
    app_client: TestClient, route: web.RouteDef, needed: Scope | None
) -> None:
    for asker, scopes in ASKERS.items():
        answer = await app_client.request(
            route.method,
            address(route.path),
            headers={"X-Asker": asker, "Accept": "application/json"},
            allow_redirects=False,
        )
        if needed is None or (scopes is not None and needed in scopes):
            assert answer.status not in {401, 403, 405, 500}, asker
        elif scopes is None:
            assert answer.status == 401, asker
            assert (await answer.json())["error"]["code"] == "invalid_api_key"
        else:
            assert answer.status == 403, asker
            assert (await answer.json())["error"]["code"] == f"{needed}_scope_required"


async def test_what_is_refused_is_told_to_a_person_in_words(app_client: TestClient) -> None:
    answer = await app_client.get("/runs", headers={"X-Asker": "only proxy", "Accept": "text/html"})
    assert answer.status == 403
    assert "scope `read`" in await answer.text()


def test_every_handler_says_whom_it_serves(app_client: TestClient) -> None:
    assert app_client.app is not None
    assert {route.handler for route in app_client.app.router.routes()} == set(app_client.app[NEEDED])
    assert len(ROUTES) == len(NEEDS)


async def test_head_is_get(app_client: TestClient) -> None:
    refused = await app_client.head("/runs", headers={"X-Asker": "nobody", "Accept": "application/json"})
    assert refused.status == 401
