"""Projects, keys and provider keys through the API and the page, on a real Postgres."""

from __future__ import annotations

import html
import re
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient
from jsonschema import Draft202012Validator

from tests.integration.console.conftest import Visited
from watchllm_proxy.grants import Grants
from watchllm_proxy.proxy.auth import digest
from watchllm_proxy.sealing import Vault
from watchllm_proxy.settings import Settings
from watchllm_proxy.store import keys, project_settings
from watchllm_proxy.store.project_settings import ProjectSettings

SECRET_KEY = "s" * 44
PROVIDER_KEY = "sk-or-v1-of-acme-wxyz"
ACME = {"X-Project": "acme"}


@pytest.fixture
async def client(visited: Visited) -> TestClient:
    return await visited(Settings(secret_keys=(SECRET_KEY,)))


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


# --- projects on their pages --------------------------------------------------------------------------


async def settings_of(pool: asyncpg.Pool, project_id: str = "acme") -> ProjectSettings:
    found = await project_settings.of_project(pool, project_id)
    assert found is not None
    return found


async def text_of(answer: ClientResponse, status: int = 200) -> str:
    assert answer.status == status
    return await answer.text()


async def test_who_runs_the_installation_makes_a_project_on_the_page_and_sees_all(client: TestClient) -> None:
    made = await client.post("/settings/projects", data={"project_id": "shop", "name": "<b>Shop"})
    assert made.url.path == "/settings/projects/shop", "it leads to the new one"
    shown = await text_of(await client.get("/settings/projects"))
    assert re.findall(r"/settings/keys\?project_id=(\w+)", shown) == ["default", "acme", "shop"]
    assert "&lt;b&gt;Shop" in shown
    taken = await text_of(await client.post("/settings/projects", data={"project_id": "shop"}), 409)
    assert 'id="wrong-project_id" role="alert">There is a project of this id already' in taken
    wrong = await text_of(await client.post("/settings/projects", data={"project_id": "No Such"}), 422)
    assert 'value="No Such" ' in wrong
    assert 'aria-describedby="wrong-project_id"' in wrong


async def test_another_project_sees_itself_alone_and_makes_none(client: TestClient) -> None:
    shown = await text_of(await client.get("/settings/projects", headers=ACME))
    assert "default" not in re.findall(r"/settings/projects/(\w+)", shown)
    assert "<form" not in shown
    refused = await client.post("/settings/projects", data={"project_id": "mine"}, headers=ACME)
    assert refused.status == 403
    for path in ("/settings/projects/default", "/settings/keys?project_id=default", "/settings/projects/nowhere"):
        assert (await client.get(path, headers=ACME)).status == 404
    assert (await client.get("/settings/projects/nowhere")).status == 404
    assert (await client.get("/settings/keys?project_id=nowhere")).status == 404


async def test_all_that_a_project_may_is_set_on_its_page_and_taken_back(
    client: TestClient, pool: asyncpg.Pool
) -> None:
    written = {
        "name": "Acme & Co",
        "requests_per_minute": "600",
        "monthly_cap_usd": "12.345678901234",
        "retention_days": "30",
        "over_quota": "pass",
        "threshold.loop_times": "5",
        "threshold.run_budget_usd": "0.25",
    }
    saved = await text_of(await client.post("/settings/projects/acme", data=written, headers=ACME))
    assert "Saved." in saved
    assert all(f'name="{name}"' in saved for name in written)
    assert all(f'value="{html.escape(value)}"' in saved for value in written.values())
    now = await settings_of(pool)
    assert (now.name, now.requests_per_minute, now.retention_days, now.over_quota) == (
        "Acme & Co",
        600,
        30,
        "pass",
    )
    assert now.monthly_cap_usd == Decimal("12.345678901234")
    assert dict(now.flag_thresholds) == {"loop_times": 5, "run_budget_usd": Decimal("0.25")}
    emptied = {**dict.fromkeys(written, ""), "name": "Acme", "over_quota": "refuse"}
    await text_of(await client.post("/settings/projects/acme", data=emptied, headers=ACME))
    assert await settings_of(pool) == ProjectSettings("acme", "self_hosted", name="Acme")


async def test_each_field_that_is_wrong_says_so_beside_it_and_nothing_changes(
    client: TestClient, pool: asyncpg.Pool
) -> None:
    before = await settings_of(pool)
    wrong = {
        "name": " ",
        "requests_per_minute": "0",
        "monthly_cap_usd": "a lot",
        "retention_days": "9" * 5_000,
        "over_quota": "ignore",
        "threshold.loop_times": "2.5",
        "threshold.run_budget_usd": "1e999",
    }
    shown = await text_of(await client.post("/settings/projects/acme", data=wrong, headers=ACME), 422)
    assert set(re.findall(r'id="wrong-([\w.]+)" role="alert"', shown)) == set(wrong)
    assert ">Must be a whole number from 1 to 1,000,000, or empty.<" in shown
    assert 'value="a lot" ' in shown, "what was written stands there still"
    assert await settings_of(pool) == before


async def test_days_beyond_those_of_the_plan_are_refused_beside_their_field(client: TestClient) -> None:
    await client.post("/settings/projects/acme", data={"plan": "free"})
    shown = await text_of(await client.post("/settings/projects/acme", data={"retention_days": "8"}), 422)
    assert 'id="wrong-retention_days" role="alert">Must be at most 7' in shown


async def test_all_keys_are_replaced_and_revoked_on_the_page(client: TestClient, pool: asyncpg.Pool) -> None:
    for name in ("one", "two"):
        await ask(client, "post", "/api/keys", 201, json={"name": name}, headers=ACME)
    path = "/settings/projects/acme"
    shown = await text_of(await client.post(f"{path}/rotate", data={"grace_s": "60"}, headers=ACME), 201)
    assert len(set(re.findall(r"lgw_proj_[\w-]{43}", shown))) == 2
    assert (await client.post(f"{path}/rotate", data={"grace_s": "9" * 5_000}, headers=ACME)).status == 422
    unsure = await text_of(await client.post(f"{path}/revoke", data={}, headers=ACME), 422)
    assert 'id="wrong-sure"' in unsure
    assert len((await in_force(pool)).keys) == 4
    ended = await text_of(await client.post(f"{path}/revoke", data={"sure": "true"}, headers=ACME))
    assert "Revoked: 4 keys." in ended
    assert (await in_force(pool)).keys == {}


async def test_keys_of_another_project_are_made_and_ended_by_who_runs_the_installation(
    client: TestClient, pool: asyncpg.Pool
) -> None:
    made = await client.post("/settings/keys", data={"name": "x", "scope": "proxy", "project_id": "acme"})
    shown = await text_of(made, 201)
    (grant,) = (await in_force(pool)).keys.values()
    assert grant.project_id == "acme"
    assert shown.count('<input type="hidden" name="project_id" value="acme">') == shown.count("<form") > 3
    ended = await client.post(f"/settings/keys/{grant.key_id}/revoke", data={"project_id": "acme"})
    assert str(ended.url.relative()) == "/settings/keys?project_id=acme"
    assert (await in_force(pool)).keys == {}


# --- limits of a key ----------------------------------------------------------------------------------


async def test_limits_of_a_key_are_set_and_shown_on_the_page_and_go_to_its_successor(
    client: TestClient, pool: asyncpg.Pool
) -> None:
    made = await ask(client, "post", "/api/keys", 201, json={"name": "agent"}, headers=ACME)
    path = f"/settings/keys/{made['key']['key_id']}"
    written = {"requests_per_minute": "1200", "monthly_cap_usd": "0.5"}
    shown = await text_of(await client.post(f"{path}/limits", data=written, headers=ACME))
    assert ">1,200 a minute, $0.5 a month</summary>" in shown
    assert 'value="1200"' in shown
    assert 'value="0.5"' in shown
    assert [grant.requests_per_minute for grant in (await in_force(pool)).keys.values()] == [1200]
    new = await ask(client, "post", f"/api/keys/{made['key']['key_id']}/rotate", 201, json={}, headers=ACME)
    assert (new["key"]["requests_per_minute"], new["key"]["monthly_cap_usd"]) == (1200, 0.5)
    listed = (await ask(client, "get", "/api/keys", headers=ACME))["keys"]
    assert {(each["requests_per_minute"], each["monthly_cap_usd"]) for each in listed} == {(1200, 0.5)}
    none = await text_of(await client.post(f"/settings/keys/{new['key']['key_id']}/limits", data={}, headers=ACME))
    assert ">none</summary>" in none


async def test_a_limit_that_cannot_be_is_told_beside_its_field_and_changes_nothing(client: TestClient) -> None:
    made = await ask(client, "post", "/api/keys", 201, json={"name": "agent"}, headers=ACME)
    path = f"/settings/keys/{made['key']['key_id']}/limits"
    await client.post(path, data={"requests_per_minute": "7"}, headers=ACME)
    written = {"requests_per_minute": "many", "monthly_cap_usd": "-1"}
    shown = await text_of(await client.post(path, data=written, headers=ACME), 422)
    assert re.findall(r'id="wrong-(\w+)"', shown) == list(written)
    assert "<details open>" in shown
    (listed,) = (await ask(client, "get", "/api/keys", headers=ACME))["keys"]
    assert (listed["requests_per_minute"], listed["monthly_cap_usd"]) == (7, None)
    foreign = await client.post(path, data={"project_id": "acme"}, headers={"X-Project": "other"})
    assert foreign.status == 404
    assert (await client.post(path, data={}, headers={"X-Project": "other"})).status == 404
