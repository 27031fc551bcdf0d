"""People log in by name and password: sessions, cookies, forms of elsewhere, guessing, logging out."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient

from tests.console_runs import MemoryReading
from watchllm_proxy import passwords
from watchllm_proxy.access import ConsoleAccess
from watchllm_proxy.console import Health, build_app
from watchllm_proxy.console.login import TOO_OFTEN, WRONG
from watchllm_proxy.grants import SESSION_COOKIE, Scope
from watchllm_proxy.proxy.auth import KeyRing
from watchllm_proxy.settings import Settings
from watchllm_proxy.store import people, projects
from watchllm_proxy.store.transactions import open_pool

PASSWORD, NEW_PASSWORD = "correct horse battery", "a new battery staple"
HTML = {"Accept": "text/html"}


@pytest.fixture(scope="module")
def password_hash() -> str:
    return passwords.hashed(PASSWORD)


@pytest.fixture
async def pool(postgres_dsn: str, password_hash: str) -> AsyncIterator[asyncpg.Pool]:
    opened = await open_pool(postgres_dsn)
    await projects.create_project(opened, "acme", "Acme")
    await people.create_person(opened, "ann", "default", [Scope.READ, Scope.ADMIN], password_hash)
    await people.create_person(opened, "bob@acme.example", "acme", [Scope.READ], password_hash)
    yield opened
    await opened.close()


Build = Callable[..., Awaitable[TestClient]]


@pytest.fixture
async def build(
    pool: asyncpg.Pool, reading: MemoryReading, aiohttp_client: Callable[..., Awaitable[TestClient]]
) -> Build:
    async def built(*, allow_anonymous: bool = False, **settings: Any) -> TestClient:
        async def health() -> Health:
            return Health()

        access = ConsoleAccess(KeyRing(), pool, allow_anonymous=allow_anonymous, is_loopback=True)
        app = build_app(
            reading, settings=Settings(**settings), health=health, visitor_of=access.visitor_of, pool=pool
        )
        return await aiohttp_client(app)

    return built


async def log_in(client: TestClient, name: str = "ann", password: str = PASSWORD, **fields: str) -> ClientResponse:
    return await client.post(
        "/login", data={"user_name": name, "password": password, **fields}, headers=HTML, allow_redirects=False
    )


async def token(client: TestClient) -> str:
    page = await (await client.get("/settings/keys", headers=HTML)).text()
    (found,) = set(re.findall(r'name="form_token" value="([0-9a-f]{64})"', page))
    return str(found)


async def test_a_page_leads_to_the_login_and_that_back_to_the_page(build: Build) -> None:
    client = await build()
    asked = await client.get("/runs?status=failed", headers=HTML, allow_redirects=False)
    assert (asked.status, asked.headers["Location"]) == (303, "/login?to=/runs?status%3Dfailed")
    login = await client.get(asked.headers["Location"])
    assert 'value="/runs?status=failed"' in await login.text()
    done = await log_in(client, to="/runs?status=failed")
    assert (done.status, done.headers["Location"]) == (303, "/runs?status=failed")
    page = await client.get("/runs", headers=HTML)
    assert page.status == 200
    assert "ann · default" in await page.text()


async def test_programs_are_not_led_to_a_page(build: Build) -> None:
    client = await build()
    refused = await client.get("/api/agent-runs", allow_redirects=False)
    assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize("to", ["https://evil.test/", "//evil.test", "/\\evil.test", "evil", "/a\nb", "/login"])
async def test_the_login_leads_nowhere_else(build: Build, to: str) -> None:
    client = await build()
    done = await log_in(client, to=to)
    assert (done.status, done.headers["Location"]) == (303, "/")


@pytest.mark.parametrize(
    ("name", "password"),
    [("ann", "wrong password"), ("nobody", PASSWORD), ("", ""), ("ann", "x" * 2_000)],
)
async def test_whoever_is_wrong_is_told_the_same(build: Build, name: str, password: str) -> None:
    client = await build()
    refused = await log_in(client, name, password)
    assert refused.status == 401
    assert WRONG in await refused.text()
    assert "Set-Cookie" not in refused.headers
    assert (await client.get("/api/agent-runs")).status == 401


async def test_a_name_that_no_store_can_hold_is_refused_before_it_is_looked_up(build: Build) -> None:
    refused = await log_in(await build(), "ann\0", PASSWORD)
    assert (refused.status, "Set-Cookie" in refused.headers) == (422, False)


async def test_a_cookie_is_not_for_scripts_nor_other_sites_and_is_kept_as_a_hash(
    build: Build, pool: asyncpg.Pool
) -> None:
    client = await build(public_url="https://watch.example", session_s=60.0)
    done = await log_in(client)
    (header,) = done.headers.getall("Set-Cookie")
    assert {"HttpOnly", "Secure", "SameSite=Lax", "Path=/", "Max-Age=60"} <= set(header.split("; "))
    cookie = done.cookies[SESSION_COOKIE].value
    assert len(cookie) == 43, "256 bits"
    assert cookie not in str(await pool.fetch("SELECT * FROM sessions"))
    plain = await log_in(await build())
    assert "Secure" not in plain.headers["Set-Cookie"], "on loopback there is no https"


async def test_each_login_is_a_session_of_its_own_and_a_stranger_s_cookie_is_none(build: Build) -> None:
    client = await build()
    client.session.cookie_jar.update_cookies({SESSION_COOKIE: "chosen-by-somebody-else"})
    assert (await client.get("/api/agent-runs")).status == 401
    first, second = await log_in(client), await log_in(client)
    ours = {one.cookies[SESSION_COOKIE].value for one in (first, second)}
    assert len(ours - {"chosen-by-somebody-else"}) == 2


async def test_a_person_sees_their_project_as_far_as_their_scopes_go(build: Build) -> None:
    client = await build()
    await log_in(client, "bob@acme.example")
    assert (await (await client.get("/api/agent-runs")).json())["total"] == 0, "the runs are of default"
    refused = await client.get("/api/keys")
    assert (refused.status, (await refused.json())["error"]["code"]) == (403, "admin_scope_required")


async def test_a_session_ends_by_time_by_logging_out_by_a_new_password_and_with_the_person(
    build: Build, pool: asyncpg.Pool
) -> None:
    client = await build()

    async def is_in() -> bool:
        return (await client.get("/api/agent-runs")).status == 200

    done = await log_in(client)
    cookie = done.cookies[SESSION_COOKIE].value
    assert await is_in()
    left = await client.post("/logout", headers=HTML, allow_redirects=False)
    assert (left.status, left.headers["Location"]) == (303, "/login")
    assert not await is_in()
    client.session.cookie_jar.update_cookies({SESSION_COOKIE: cookie})
    assert not await is_in(), "the cookie alone brings nobody back"

    await log_in(client)
    await pool.execute("BEGIN; SET LOCAL ROLE watchllm_recorder; UPDATE sessions SET expires_at = now(); COMMIT")
    assert not await is_in()

    await log_in(client)
    assert await people.set_password(pool, "ann", passwords.hashed(NEW_PASSWORD))
    assert not await is_in()
    assert (await log_in(client)).status == 401
    assert (await log_in(client, password=NEW_PASSWORD)).status == 303
    assert await is_in()
    assert await people.remove_person(pool, "ann")
    assert not await is_in()


async def test_a_session_s_changes_need_the_token_of_its_forms(build: Build) -> None:
    client = await build()
    await log_in(client)
    good = await token(client)
    for wrong in ({}, {"form_token": ""}, {"form_token": "0" * 64}, {"form_token": "ü"}):
        refused = await client.post("/settings/keys", data={"name": "x", "scope": "proxy", **wrong})
        assert refused.status == 403
    refused = await client.post("/api/keys", json={"name": "x"})
    assert (refused.status, (await refused.json())["error"]["code"]) == (403, "foreign_form")
    fields = {"name": "x", "scope": "proxy", "form_token": good}
    assert (await client.post("/settings/keys", data=fields)).status == 201
    made = await client.post("/api/keys", json={"name": "y"}, headers={"X-WatchLLM-Form-Token": good})
    assert made.status == 201
    foreign = await client.post("/settings/keys", data=fields, headers={"Sec-Fetch-Site": "cross-site"})
    assert foreign.status == 403, "a token that leaked is not enough"
    await log_in(client)
    assert (await client.post("/settings/keys", data=fields)).status == 403, "of another session"


async def test_every_form_that_changes_something_carries_the_token(build: Build) -> None:
    client = await build()
    await log_in(client)
    await client.post("/settings/keys", data={"name": "x", "scope": "proxy", "form_token": await token(client)})
    for path in ("/settings/keys", "/settings/redaction", "/runs/run_7q2k9fh4"):
        page = await (await client.get(path, headers=HTML)).text()
        forms = re.findall(r'<form[^>]*method="post"[^>]*action="([^"]*)".*?</form>', page, flags=re.DOTALL)
        whole = re.findall(r'<form[^>]*method="post".*?</form>', page, flags=re.DOTALL)
        assert len(forms) == len(whole) > 1
        lacking = [action for action, form in zip(forms, whole, strict=True) if 'name="form_token"' not in form]
        assert lacking == ["/logout"], path
        assert '<meta name="form-token"' in page


async def test_guessing_is_slowed_down_by_address_and_by_name(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "is_right", lambda password_hash, password: password == PASSWORD)
    client = await build()
    by_name = [(await log_in(client, "ann", f"wrong password {n}")).status for n in range(12)]
    assert by_name[:10] == [401] * 10
    assert 429 in by_name
    told = await log_in(client, "ann", "wrong again")
    assert (told.status, told.headers["Retry-After"]) == (429, "60")
    assert TOO_OFTEN in await told.text()
    assert (await log_in(client)).status == 429, "right or wrong: it is not compared"
    by_address = [(await log_in(client, f"name{n}", "wrong password")).status for n in range(40)]
    assert by_address[0] == 401
    assert by_address[-1] == 429


async def test_on_one_person_s_machine_nobody_needs_to_log_in(build: Build) -> None:
    client = await build(allow_anonymous=True)
    page = await client.get("/settings/keys", headers=HTML)
    assert page.status == 200
    assert "Log out" not in await page.text()
    await log_in(client, "bob@acme.example")
    assert (await client.get("/settings/keys", headers=HTML)).status == 403, "who logged in is who they are"


@pytest.mark.parametrize(
    ("host", "status"),
    [("watch.example", 200), ("WATCH.example:8443", 200), ("127.0.0.1", 200), ("evil.test", 421)],
)
async def test_behind_a_public_name_only_that_name_is_answered(build: Build, host: str, status: int) -> None:
    client = await build(host="0.0.0.0", public_url="https://watch.example")
    assert (await client.get("/login", headers={"Host": host})).status == status


async def test_agents_are_pointed_at_the_public_address(build: Build) -> None:
    client = await build(allow_anonymous=True, public_url="https://watch.example")
    page = await (await client.get("/welcome", headers=HTML)).text()
    assert "export OPENAI_BASE_URL=https://watch.example/v1" in page
