"""Plans, usage and limits through the API and the pages, on a real Postgres."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from jsonschema import Draft202012Validator

from tests.integration.console.conftest import Visited
from watchllm_proxy.console.app import FEATURES, OPEN_ROUTES, ROUTES
from watchllm_proxy.store import keys, project_settings, usage
from watchllm_proxy.store.sql import queries
from watchllm_proxy.store.transactions import BATCH, transaction
from watchllm_proxy.store.usage import CountedDay, RequestCounts, Spent

PEOPLE = {"Accept": "text/html"}
READER = {"X-Scopes": "read"}
OPERATOR = {"X-Project": "default"}
OF_ACME = {"project_id": "acme"}
RUN = "run_7q2k9fh4"


@pytest.fixture
async def client(visited: Visited) -> TestClient:
    return await visited(headers={"X-Project": "acme"})


async def choose(pool: asyncpg.Pool, **chosen: Any) -> None:
    assert await project_settings.change(pool, "acme", lambda now: replace(now, **chosen))


async def used(pool: asyncpg.Pool, day: date, counts: RequestCounts, cost_usd: str = "0") -> None:
    await usage.save_counts(pool, "w0", [CountedDay("acme", day, counts)])
    spent = [Spent("acme", day, "key-1", Decimal(cost_usd), 1, 2)]
    async with transaction(pool, BATCH) as connection:
        await connection.execute(queries("postgres")["add_spent"], *usage.spent_columns(spent))


async def ask(client: TestClient, method: str, path: str, status: int = 200, **kwargs: Any) -> dict[str, Any]:
    """The answer, held against what /openapi.json says of it."""
    answer = await client.request(method, path, **kwargs)
    body = await answer.json()
    assert answer.status == status, body
    document = await (await client.get("/openapi.json")).json()
    route = re.sub(r"[0-9a-f-]{36}", "{key_id}", path.partition("?")[0]).replace(RUN, "{run_id}")
    described = document["paths"][route][method]["responses"][str(status)]["content"]["application/json"]["schema"]
    Draft202012Validator({**described, "components": document["components"]}).validate(body)
    found: dict[str, Any] = body
    return found


async def page(client: TestClient, path: str, status: int = 200, **kwargs: Any) -> str:
    answer = await client.get(path, headers=PEOPLE, **kwargs)
    assert answer.status == status
    return await answer.text()


# --- what was used ----------------------------------------------------------------------------------


async def test_a_month_is_told_by_day_with_what_was_refused_and_what_it_cost(
    client: TestClient, pool: asyncpg.Pool
) -> None:
    await choose(pool, plan="free", monthly_cap_usd=Decimal(2))
    await used(pool, date(2026, 11, 3), RequestCounts(900, 5, 1, 2, 3, 4), "1.25")
    await used(pool, date(2026, 11, 30), RequestCounts(50), "0.35")
    await used(pool, date(2026, 12, 1), RequestCounts(7), "100")
    told = (await ask(client, "get", "/api/usage?month=2026-11"))["usage"]
    days = told.pop("days")
    assert told == {
        "month": "2026-11",
        "resets_at": "2026-12-01T00:00:00.000000Z",
        "plan": "free",
        "requests": 950,
        "quota": 1000,
        "passed_over_quota": 5,
        "refused": {"quota": 1, "rate": 2, "cap": 3, "share": 4},
        "cost_usd": 1.6,
        "monthly_cap_usd": 2,
        "unpriced_calls": 4,
        "warnings": ["near_quota", "near_cap"],
        "keys": [{"key_id": "key-1", "cost_usd": 1.6, "unpriced_calls": 4}],
    }
    assert [(day["day"], day["requests"], day["refused"]) for day in days] == [
        ("2026-11-03", 900, 10),
        ("2026-11-30", 50, 0),
    ]
    assert (await ask(client, "get", "/api/usage"))["usage"]["month"] != "2026-11-03"
    await ask(client, "get", "/api/usage?month=2026-13", 422)


@pytest.mark.parametrize(
    ("requests", "sentence"),
    [
        (799, None),
        (800, "80 % of this month&#39;s requests are used"),
        (1_000, "requests are used up. Requests are"),
    ],
)
async def test_the_page_warns_at_80_and_at_100_percent(
    client: TestClient, pool: asyncpg.Pool, requests: int, sentence: str | None
) -> None:
    await choose(pool, plan="free")
    await used(pool, date(2026, 11, 3), RequestCounts(requests))
    shown = await page(client, "/usage?month=2026-11")
    assert f"{requests:,}" in shown
    assert "of 1,000" in shown
    assert ('role="status"' in shown) is (sentence is not None)
    assert (sentence or "") in shown


async def test_who_passes_on_what_is_beyond_is_told_so(client: TestClient, pool: asyncpg.Pool) -> None:
    await choose(pool, plan="free", over_quota=project_settings.OverQuota.PASS)
    await used(pool, date(2026, 11, 3), RequestCounts(1_200, 200))
    shown = await page(client, "/usage?month=2026-11")
    assert "Requests pass, and of those beyond it figures are kept, and no text." in shown
    assert "200 passed on without keeping their text" in shown


async def test_a_month_without_requests_says_so(client: TestClient) -> None:
    assert "No request was counted" in await page(client, "/usage?month=2020-02")


async def test_a_project_sees_its_own_usage_only(client: TestClient, pool: asyncpg.Pool) -> None:
    await used(pool, date(2026, 11, 3), RequestCounts(12), "1")
    told = await ask(client, "get", "/api/usage?month=2026-11", headers={"X-Project": "default"})
    assert (told["usage"]["requests"], told["usage"]["keys"]) == (0, [])


# --- plans ------------------------------------------------------------------------------------------


async def test_the_plans_and_ones_own_are_told(client: TestClient, pool: asyncpg.Pool) -> None:
    await choose(pool, plan="starter")
    told = await ask(client, "get", "/api/plans")
    assert told["current"] == "starter"
    assert told["plans"][2] == {
        "plan": "pro",
        "title": "Pro",
        "monthly_usd": 99,
        "monthly_requests": 500_000,
        "retention_days": 90,
        "features": ["anomaly_detection", "cost_attribution", "dashboard", "debugger", "events"],
    }
    shown = await page(client, "/pricing")
    assert "This project has Starter." in shown
    assert all(text in shown for text in ("$99", "500,000", "unlimited", "365 days"))
    assert "Self-hosted" not in shown


async def test_a_projects_admin_asks_for_a_plan_and_who_runs_the_installation_gives_it(
    client: TestClient, pool: asyncpg.Pool
) -> None:
    await choose(pool, plan="free")
    shown = await (await client.post("/pricing", data={"wanted_plan": "pro"}, headers=PEOPLE)).text()
    assert 'aria-label="No longer ask for Pro"' in shown
    assert await chosen_by(pool) == ("free", "pro")
    for refused in (
        await client.post("/pricing", data={"plan": "pro"}, headers=PEOPLE),
        await client.post("/settings/projects/acme", data={"plan": "pro"}, headers=PEOPLE),
    ):
        assert refused.status == 403
        assert "Send `wanted_plan` to ask for one." in await refused.text()
    assert await chosen_by(pool) == ("free", "pro")
    listed = await (await client.get("/settings/projects", headers={**PEOPLE, **OPERATOR})).text()
    assert "asks for Pro" in listed
    given = {"project_id": "acme", "plan": "pro"}
    await ask(client, "patch", "/api/project", json=given, headers=OPERATOR)
    assert await chosen_by(pool) == ("pro", None)


async def test_a_plan_asked_for_is_taken_back_or_declined(client: TestClient, pool: asyncpg.Pool) -> None:
    for path, headers in (("/pricing", {}), ("/settings/projects/acme", OPERATOR)):
        await ask(client, "patch", "/api/project", json={"wanted_plan": "starter"})
        await client.post(path, data={"wanted_plan": ""}, headers={**PEOPLE, **headers})
        assert await chosen_by(pool) == ("self_hosted", None)
    await ask(client, "patch", "/api/project", json={"wanted_plan": "self_hosted"})
    assert await chosen_by(pool) == ("self_hosted", None), "it has that one"


async def test_who_runs_the_installation_chooses_on_the_page(client: TestClient, pool: asyncpg.Pool) -> None:
    people = {**PEOPLE, **OPERATOR}
    answer = await client.post("/pricing", data={"plan": "pro"}, headers=people, allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (303, "/pricing")
    assert await chosen_by(pool, "default") == ("pro", None)
    assert (await client.post("/pricing", data={"plan": "golden"}, headers=people)).status == 422
    assert (await client.post("/pricing", data={"wanted_plan": "golden"}, headers=PEOPLE)).status == 422
    assert (await client.post("/pricing", data={"plan": "free"}, headers={**people, **READER})).status == 403
    assert "<form" not in await (await client.get("/pricing", headers={**PEOPLE, **READER})).text()


async def chosen_by(pool: asyncpg.Pool, project_id: str = "acme") -> tuple[str, str | None]:
    """The plan it has, and the one it asks for."""
    found = await project_settings.of_project(pool, project_id)
    assert found is not None
    return found.plan, found.wanted_plan


async def test_what_the_plan_has_not_is_402_with_the_plan_that_has_it(
    client: TestClient, pool: asyncpg.Pool
) -> None:
    await choose(pool, plan="free")
    for path in (f"/api/agent-runs/{RUN}/debug", "/api/agent-runs", "/api/calls"):
        error = (await ask(client, "get", path, 402))["error"]
        assert error["code"] == "upgrade_required"
        assert ("Pro (pro)" if "debug" in path else "Starter (starter)") in error["message"]
        assert "this project has Free" in error["message"]
    await choose(pool, plan="starter")
    await client.patch("/api/project", json={})  # a change through the API is known at once
    assert (await client.get("/api/agent-runs")).status == 200
    assert (await client.get(f"/api/agent-runs/{RUN}/debug")).status == 402
    await ask(client, "patch", "/api/project", json={**OF_ACME, "plan": "pro"}, headers=OPERATOR)
    assert (await client.get(f"/api/agent-runs/{RUN}/debug")).status == 404  # it is of another project


async def test_every_gated_route_is_gated(client: TestClient, pool: asyncpg.Pool) -> None:
    await choose(pool, plan="free")
    gated = [route for route in ROUTES if isinstance(route, web.RouteDef) and route.handler in FEATURES]
    assert {route.handler for route in gated} == FEATURES.keys()
    assert len(gated) > 10
    for route in gated:
        concrete = re.sub(r"\{index[^/]*", "1", route.path).replace("{run_id}", RUN).replace("{call_id}", "x")
        concrete = re.sub(r"\{part[^/]*", "request", concrete)
        concrete = re.sub(r"\{\w+\}", "x", re.sub(r"\{language[^/]*", "curl", concrete))
        assert (await client.get(concrete)).status == 402, concrete


async def test_a_page_that_the_plan_has_not_says_what_it_would_show_and_how_to_get_it(
    client: TestClient, pool: asyncpg.Pool
) -> None:
    await choose(pool, plan="free")
    shown = await page(client, f"/runs/{RUN}", 402)
    assert "A run step by step" in shown
    assert "the plan Pro, $99 a month; this project has Free" in shown
    assert '<a class="btn" href="/pricing">' in shown
    assert '<a class="btn" href="/samples/normal">' in shown
    assert "It comes with the plan Starter, $29 a month" in await page(client, "/runs", 402)


async def test_who_may_manage_keys_is_led_to_them_first(client: TestClient) -> None:
    found = await client.get("/settings", allow_redirects=False)
    assert found.headers["Location"] == "/settings/keys"


async def test_samples_usage_and_prices_are_in_every_plan(client: TestClient, pool: asyncpg.Pool) -> None:
    await choose(pool, plan="free")
    for path in (
        "/samples/normal",
        "/usage",
        "/pricing",
        "/welcome",
        "/api/agent-runs/fixture/loop",
        "/api/usage",
    ):
        assert (await client.get(path)).status == 200, path
    assert not {route.handler for route in OPEN_ROUTES} & set(FEATURES)


async def test_a_plan_is_asked_of_ones_own_project_only(client: TestClient, pool: asyncpg.Pool) -> None:
    await choose(pool, plan="free")
    assert (await client.get("/api/agent-runs", headers={"X-Project": "default"})).status == 200


async def test_a_plan_that_is_known_holds_while_postgres_is_away(client: TestClient, pool: asyncpg.Pool) -> None:
    await choose(pool, plan="starter")
    assert (await client.get("/api/agent-runs")).status == 200
    await pool.close()
    assert (await client.get("/api/agent-runs")).status == 200  # runs are in memory here


# --- what is chosen ---------------------------------------------------------------------------------


async def test_everything_is_chosen_by_the_api_and_what_is_left_out_stays(client: TestClient) -> None:
    wanted = {
        "name": "Acme & Co",
        "wanted_plan": "pro",
        "over_quota": "pass",
        "retention_days": 30,
        "requests_per_minute": 600,
        "monthly_cap_usd": "12.345678901234",
        "flag_thresholds": {"loop_times": 5, "run_budget_usd": 0.25},
    }
    changed = (await ask(client, "patch", "/api/project", json=wanted))["project"]
    expected = {**wanted, "project_id": "acme", "plan": "self_hosted", "monthly_cap_usd": 12.345678901234}
    assert changed == expected
    await ask(client, "patch", "/api/project", json={"monthly_cap_usd": None})
    assert (await ask(client, "get", "/api/project"))["project"] == {**expected, "monthly_cap_usd": None}
    await ask(client, "patch", "/api/project", json={"flag_thresholds": None})
    assert (await ask(client, "get", "/api/project"))["project"]["flag_thresholds"] == {}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"plan": "golden"}, "plan"),
        ({"plan": None}, "plan"),
        ({"wanted_plan": "golden"}, "wanted_plan"),
        ({"wanted_plan": 7}, "wanted_plan"),
        ({"name": " "}, "name"),
        ({"name": None}, "name"),
        ({"over_quota": "ignore"}, "over_quota"),
        ({"requests_per_minute": 0}, "requests_per_minute"),
        ({"requests_per_minute": True}, "requests_per_minute"),
        ({"requests_per_minute": 1.5}, "requests_per_minute"),
        ({"monthly_cap_usd": -1}, "monthly_cap_usd"),
        ({"monthly_cap_usd": "NaN"}, "monthly_cap_usd"),
        ({"monthly_cap_usd": "a lot"}, "monthly_cap_usd"),
        ({"monthly_cap_usd": 1e300}, "monthly_cap_usd"),
        ({"retention_days": -1}, "retention_days"),
        ({"plan": "free", "retention_days": 8}, "retention_days"),
        ({"plan": "free", "retention_days": 0}, "retention_days"),
        ({"flag_thresholds": [3]}, "flag_thresholds"),
        ({"flag_thresholds": {"loop_time": 3}}, "flag_thresholds"),
        ({"flag_thresholds": {"loop_times": 2.5}}, "flag_thresholds"),
        ({"flag_thresholds": {"loop_times": 1}}, "flag_thresholds"),
        ({"flag_thresholds": {"run_budget_usd": "NaN"}}, "flag_thresholds"),
        ({"flag_thresholds": {"slow_step_s": True}}, "flag_thresholds"),
        ({"flag_thresholds": {"slow_step_s": None}}, "flag_thresholds"),
        ({"colour": "red"}, "colour"),
    ],
    ids=str,
)
async def test_what_cannot_be_chosen_is_named_and_nothing_changes(
    client: TestClient, fields: dict[str, object], param: str
) -> None:
    before = await ask(client, "get", "/api/project")
    asked = {**OF_ACME, **fields}
    refused = await ask(client, "patch", "/api/project", 422, json=asked, headers=OPERATOR)
    assert refused["error"]["param"] == param
    assert await ask(client, "get", "/api/project") == before


async def test_limits_of_a_key_reach_the_proxies(client: TestClient, pool: asyncpg.Pool) -> None:
    made = await keys.create_key(pool, "acme", "laptop")
    path = f"/api/keys/{made.info.key_id}/limits"
    told = await ask(client, "patch", path, json={"requests_per_minute": 7, "monthly_cap_usd": 0.5})
    assert told["key"]["requests_per_minute"] == 7
    _, grants = await keys.load_grants(pool)
    assert grants is not None
    assert [grant.requests_per_minute for grant in grants.keys.values()] == [7]
    await ask(client, "patch", path, 404, json={}, headers={"X-Project": "default"})
    await ask(client, "patch", path, 403, json={}, headers=READER)
    await ask(client, "patch", path, 422, json={"requests_per_minute": "many"})
    await ask(client, "patch", path, json={})
    _, grants = await keys.load_grants(pool)
    assert grants is not None
    assert [grant.requests_per_minute for grant in grants.keys.values()] == [None]


async def test_what_a_project_chose_reaches_the_proxies(client: TestClient, pool: asyncpg.Pool) -> None:
    seen, _ = await keys.load_grants(pool)
    wanted = {**OF_ACME, "plan": "free", "over_quota": "pass", "requests_per_minute": 9}
    await ask(client, "patch", "/api/project", json=wanted, headers=OPERATOR)
    _, grants = await keys.load_grants(pool, seen)
    assert grants is not None, "it is seen that something changed"
    terms = grants.projects["acme"]
    assert (terms.plan, terms.monthly_requests, terms.passes_over_quota, terms.requests_per_minute) == (
        "free",
        1_000,
        True,
        9,
    )
