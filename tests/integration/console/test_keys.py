"""Projects, keys and provider keys through the API and the page, on a real Postgres."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from jsonschema import Draft202012Validator

from tests.console_runs import MemoryReading
from watchllm_proxy.console import Health, build_app
from watchllm_proxy.console.context import Visitor
from watchllm_proxy.grants import ALL_SCOPES, Grants
from watchllm_proxy.proxy.auth import digest
from watchllm_proxy.sealing import Vault
from watchllm_proxy.settings import Settings
from watchllm_proxy.store import keys, projects
from watchllm_proxy.store.transactions import open_pool

SECRET_KEY = "s" * 44
PROVIDER_KEY = "sk-or-v1-of-acme-wxyz"
ACME = {"X-Project": "acme"}


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    opened = await open_pool(postgres_dsn)
    await projects.create_project(opened, "acme", "Acme")
    yield opened
    await opened.close()


@pytest.fixture
async def client(
    pool: asyncpg.Pool, reading: MemoryReading, aiohttp_client: Callable[..., Awaitable[TestClient]]
) -> TestClient:
    async def visitor_of(request: web.Request) -> Visitor | None:
        return Visitor(request.headers.get("X-Project", "default"), ALL_SCOPES)

    async def health() -> Health:
        return Health()

    settings = Settings(secret_keys=(SECRET_KEY,))
    app = build_app(reading, settings=settings, health=health, visitor_of=visitor_of, pool=pool)
    return await aiohttp_client(app)


async def in_force(pool: asyncpg.Pool) -> Grants:
    _, grants = await keys.load_grants(pool)
    assert grants is not None
    return grants


async def ask(client: TestClient, method: str, path: str, status: int = 200, **kwargs: Any) -> dict[str, Any]:
    """The answer, held against what /openapi.json says of it."""
    answer = await client.request(method, path, **kwargs)
    body = await answer.json()
    assert answer.status == status, body
    document = await (await client.get("/openapi.json")).json()
    route = re.sub(r"[0-9a-f-]{36}", "{key_id}", path.partition("?")[0])
    route = re.sub(r"(?<=/projects/)\w+", "{project_id}", route)
    described = document["paths"][route][method]["responses"][str(status)]["content"]["application/json"]["schema"]
    Draft202012Validator({**described, "components": document["components"]}).validate(body)
    found: dict[str, Any] = body
    return found


async def test_a_key_is_shown_once_and_in_force_by_its_hash(client: TestClient, pool: asyncpg.Pool) -> None:
    made = await ask(client, "post", "/api/keys", 201, json={"name": "laptop"}, headers=ACME)
    grant = (await in_force(pool)).keys[digest(made["secret"].encode())]
    assert (grant.project_id, sorted(grant.scopes)) == ("acme", ["ingest", "proxy"])
    listed = await ask(client, "get", "/api/keys", headers=ACME)
    assert [each["name"] for each in listed["keys"]] == ["laptop"]
    assert made["secret"] not in str(listed)


async def test_a_key_is_replaced_with_time_to_change_over_and_then_ended(
    client: TestClient, pool: asyncpg.Pool
) -> None:
    made = await ask(client, "post", "/api/keys", 201, json={"name": "agent", "scopes": ["proxy"]})
    path = f"/api/keys/{made['key']['key_id']}"
    new = await ask(client, "post", f"{path}/rotate", 201, json={"grace_s": 600})
    assert (new["key"]["name"], new["key"]["scopes"]) == ("agent", ["proxy"])
    grants = await in_force(pool)
    assert set(grants.keys) == {digest(each["secret"].encode()) for each in (made, new)}
    assert grants.keys[digest(made["secret"].encode())].expires_at_us is not None
    await ask(client, "post", f"{path}/rotate", 409, json={})
    ended = await ask(client, "delete", path)
    assert not ended["key"]["is_in_force"]
    assert set((await in_force(pool)).keys) == {digest(new["secret"].encode())}
    assert await ask(client, "delete", path) == ended, "once more changes nothing"


async def test_all_keys_of_a_project_are_replaced_or_ended_at_once(client: TestClient) -> None:
    for name in ("one", "two"):
        await ask(client, "post", "/api/keys", 201, json={"name": name}, headers=ACME)
    path = "/api/projects/acme"
    made = (await ask(client, "post", f"{path}/rotate", 201, json={"grace_s": 60}, headers=ACME))["keys"]
    assert sorted(each["key"]["name"] for each in made) == ["one", "two"]
    assert len({each["secret"] for each in made}) == 2
    assert len((await ask(client, "post", f"{path}/rotate", 201, json={}, headers=ACME))["keys"]) == 2, (
        "the new ones; those that end already are not replaced again"
    )
    foreign = await ask(client, "post", f"{path}/revoke", 404, json={}, headers={"X-Project": "other"})
    unknown = await ask(client, "post", "/api/projects/nowhere/revoke", 404, json={}, headers=ACME)
    assert foreign == unknown
    assert (await ask(client, "post", f"{path}/revoke", json={}, headers=ACME))["revoked"] == 6
    listed = (await ask(client, "get", "/api/keys", headers=ACME))["keys"]
    assert not any(each["is_in_force"] for each in listed)
    await ask(client, "post", f"{path}/revoke", 422, json={"all": True}, headers=ACME)


async def test_a_project_sees_and_changes_its_own_keys_alone(client: TestClient) -> None:
    made = await ask(client, "post", "/api/keys", 201, json={}, headers=ACME)
    path = f"/api/keys/{made['key']['key_id']}"
    other = {"X-Project": "other"}
    assert (await ask(client, "get", "/api/keys", headers=other))["keys"] == []
    unknown = await ask(client, "delete", "/api/keys/00000000-0000-0000-0000-00000000ffff", 404, headers=other)
    assert await ask(client, "delete", path, 404, headers=other) == unknown
    assert await ask(client, "post", f"{path}/rotate", 404, json={}, headers=other) == unknown
    foreign = await ask(client, "get", "/api/keys?project_id=default", 404, headers=ACME)
    assert await ask(client, "get", "/api/keys?project_id=nowhere", 404, headers=ACME) == foreign
    await ask(client, "post", "/api/keys", 404, json={"project_id": "default"}, headers=ACME)
    await ask(
        client, "put", "/api/provider-key", 404, json={"provider_key": "x", "project_id": "default"}, headers=ACME
    )


async def test_who_administers_default_runs_the_installation(client: TestClient) -> None:
    await ask(client, "post", "/api/projects", 201, json={"project_id": "shop", "name": "Shop"})
    await ask(client, "post", "/api/projects", 409, json={"project_id": "shop"})
    await ask(client, "post", "/api/projects", 422, json={"project_id": "No Such Id"})
    await ask(client, "post", "/api/projects", 403, json={"project_id": "mine"}, headers=ACME)
    made = await ask(client, "post", "/api/keys", 201, json={"project_id": "shop"})
    assert made["key"]["project_id"] == "shop"
    await ask(client, "post", "/api/keys", 404, json={"project_id": "nowhere"})
    everything = await ask(client, "get", "/api/projects")
    assert {each["project_id"]: each["keys_in_force"] for each in everything["projects"]} == {
        "default": 0,
        "acme": 0,
        "shop": 1,
    }
    own = await ask(client, "get", "/api/projects", headers=ACME)
    assert [each["project_id"] for each in own["projects"]] == ["acme"]


async def test_a_provider_key_is_sealed_and_never_given_out(client: TestClient, pool: asyncpg.Pool) -> None:
    assert (await ask(client, "get", "/api/provider-key"))["provider_key"] is None
    done = await ask(client, "put", "/api/provider-key", json={"provider_key": PROVIDER_KEY}, headers=ACME)
    assert done["provider_key"]["last_four"] == "wxyz"
    shown = await ask(client, "get", "/api/provider-key", headers=ACME)
    page = await (await client.get("/settings/keys", headers=ACME)).text()
    assert "…wxyz" in page
    assert PROVIDER_KEY not in str((done, shown)) + page
    assert Vault([SECRET_KEY]).provider_key((await in_force(pool)).projects["acme"]) == PROVIDER_KEY.encode()
    await ask(client, "delete", "/api/provider-key", headers=ACME)
    assert (await in_force(pool)).projects["acme"].sealed_provider_key is None


@pytest.mark.parametrize(
    ("method", "path", "body", "param"),
    [
        ("post", "/api/keys", {"name": ""}, "name"),
        ("post", "/api/keys", {"name": "x" * 201}, "name"),
        ("post", "/api/keys", {"scopes": []}, "scopes"),
        ("post", "/api/keys", {"scopes": ["fly"]}, "scopes"),
        ("post", "/api/keys", {"scopes": "proxy"}, "scopes"),
        ("post", "/api/keys", {"colour": 1}, "colour"),
        ("put", "/api/provider-key", {"provider_key": "two words"}, "provider_key"),
        ("put", "/api/provider-key", {"provider_key": 7}, "provider_key"),
    ],
)
async def test_a_field_that_is_wrong_is_named(
    client: TestClient, method: str, path: str, body: object, param: str
) -> None:
    refused = await ask(client, method, path, 422, json=body)
    assert refused["error"]["param"] == param


@pytest.mark.parametrize("grace_s", [-1, 2_592_001, 1.5, "60", True, None])
async def test_a_time_of_grace_is_bounded(client: TestClient, grace_s: object) -> None:
    made = await ask(client, "post", "/api/keys", 201, json={})
    path = f"/api/keys/{made['key']['key_id']}/rotate"
    refused = await ask(client, "post", path, 422, json={"grace_s": grace_s})
    assert refused["error"]["param"] == "grace_s"


async def test_the_page_makes_replaces_and_ends_keys(client: TestClient, pool: asyncpg.Pool) -> None:
    made = await client.post(
        "/settings/keys", data=[("name", "<b>laptop</b>"), ("scope", "proxy"), ("scope", "read")]
    )
    page = await made.text()
    assert made.status == 201
    (secret,) = set(re.findall(r"lgw_proj_[\w-]{43}", page))
    assert sorted((await in_force(pool)).keys[digest(secret.encode())].scopes) == ["proxy", "read"]
    assert "<b>laptop" not in page
    again = await (await client.get("/settings/keys")).text()
    assert secret not in again
    (key_id,) = set(re.findall(r"/settings/keys/([0-9a-f-]{36})/rotate", again))
    replaced = await client.post(f"/settings/keys/{key_id}/rotate", data={"grace_s": "3600"})
    assert replaced.status == 201
    assert "ends in" in await replaced.text()
    ended = await client.post(f"/settings/keys/{key_id}/revoke")
    assert "revoked" in await ended.text()
    assert digest(secret.encode()) not in (await in_force(pool)).keys


async def test_what_a_form_got_wrong_is_told_on_the_page(client: TestClient) -> None:
    for path, fields in (
        ("/settings/keys", {"name": "x"}),  # no scope ticked
        ("/settings/keys", {"name": " ", "scope": "proxy"}),
        ("/settings/provider-key", {"provider_key": "two words"}),
    ):
        refused = await client.post(path, data=fields)
        assert refused.status == 422
        assert 'role="alert"' in await refused.text()


async def test_the_page_sets_and_removes_the_provider_key(client: TestClient, pool: asyncpg.Pool) -> None:
    await client.post("/settings/provider-key", data={"provider_key": PROVIDER_KEY})
    assert Vault([SECRET_KEY]).provider_key((await in_force(pool)).projects["default"]) == PROVIDER_KEY.encode()
    await client.post("/settings/provider-key", data={"provider_key": "", "remove": "true"})
    assert (await in_force(pool)).projects["default"].sealed_provider_key is None
