"""What every answer carries, and what is refused before any handler runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from tests.console_runs import MemoryReading
from watchllm_proxy.console import Health, build_app
from watchllm_proxy.console.context import Visitor
from watchllm_proxy.errors import StoreUnavailable
from watchllm_proxy.settings import Settings

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
PATHS = ["/runs", "/welcome", "/runs/run_7q2k9fh4", "/runs/nobody", "/nowhere", "/api/agent-runs", "/api/nowhere", "/healthz", "/static/x/app.css"]  # fmt: skip  # noqa: E501


async def _well() -> Health:
    return Health()


@pytest.mark.parametrize("path", PATHS)
async def test_every_answer_carries_the_security_headers(client: TestClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.headers["Content-Security-Policy"] == CSP
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Server" not in answer.headers
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("address", ["/runs?agent=a%00b", "/runs/a%00b", "/api/agent-runs?%00=1", "/api/keys?project_id=%00", "/login?to=%00"])  # fmt: skip  # noqa: E501
async def test_an_address_that_no_store_can_hold_is_refused_before_one_is_asked(
    client: TestClient, address: str
) -> None:
    answer = await client.get(address, headers={"Accept": "application/json"})
    assert answer.status == 400
    assert (await answer.json())["error"]["code"] == "invalid_parameter"


@pytest.mark.parametrize("sent", ['{"key": ["a\\u0000b"]}', '{"key": {"\\ud800": 1}}', '{"key": "\\udfff"}'])
async def test_a_body_that_no_store_can_hold_is_refused_and_the_field_named(client: TestClient, sent: str) -> None:
    answer = await client.post("/api/keys", data=sent, headers={"Content-Type": "application/json"})
    assert (answer.status, (await answer.json())["error"]["param"]) == (422, "key")


async def test_a_form_that_no_store_can_hold_is_refused(client: TestClient) -> None:
    answer = await client.post("/settings/keys", data={"name": "a\0b"}, headers={"Accept": "application/json"})
    assert (answer.status, (await answer.json())["error"]["param"]) == (422, "name")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8787", "x y", ""])
@pytest.mark.parametrize("path", ["/runs", "/api/agent-runs", "/nowhere", "/static/x/app.css"])
async def test_a_foreign_host_reads_nothing(client: TestClient, path: str, host: str) -> None:
    answer = await client.get(path, headers={"Host": host})
    assert answer.status in {400, 421}
    assert "run_7q2k9fh4" not in await answer.text()


async def test_files_are_kept_for_ever_under_an_address_of_their_content(client: TestClient) -> None:
    page = await (await client.get("/runs")).text()
    address = page.split('rel="stylesheet" href="')[1].split('"')[0]
    answer = await client.get(address)
    assert answer.status == 200
    assert answer.content_type == "text/css"
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    again = await client.get(address, headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status, await again.read()) == (304, b"")
    assert (await client.get(address.replace("app.css", "../app.py"))).status == 404


@pytest.mark.parametrize("path", ["/runs", "/api/agent-runs", "/healthz"])
async def test_the_console_only_reads(client: TestClient, path: str) -> None:
    answer = await client.post(path)
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET, HEAD"


async def test_a_person_gets_a_page_and_a_program_gets_json(client: TestClient) -> None:
    page = await client.get("/runs/nobody", headers={"Accept": "text/html"})
    data = await client.get("/runs/nobody", headers={"Accept": "application/json"})
    assert (page.status, page.content_type) == (404, "text/html")
    assert (data.status, (await data.json())["error"]["type"]) == (404, "not_found_error")


class BrokenReading(MemoryReading):
    """A store that is away, or a bug of ours: `error` is raised by every question."""

    error: Exception = StoreUnavailable("Postgres is restarting")

    async def list_runs(self, project_id: str, query: object) -> object:  # type: ignore[override]
        raise self.error


async def test_a_store_that_is_away_is_503_and_says_that_requests_pass(
    aiohttp_client: Callable[..., Awaitable[TestClient]],
) -> None:
    client = await aiohttp_client(build_app(BrokenReading(), settings=Settings(), health=_well))
    for path in ("/runs", "/api/agent-runs"):
        answer = await client.get(path)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        assert "still pass" in await answer.text()


async def test_a_bug_of_ours_shows_nothing_of_what_was_captured(
    aiohttp_client: Callable[..., Awaitable[TestClient]], capsys: pytest.CaptureFixture[str]
) -> None:
    reading = BrokenReading()
    reading.error = ValueError("the secret prompt")
    client = await aiohttp_client(build_app(reading, settings=Settings(), health=_well))
    answer = await client.get("/api/agent-runs?q=private")
    assert answer.status == 500
    assert "secret" not in await answer.text()
    logged = capsys.readouterr()
    assert "console.failed" in logged.out + logged.err
    assert "secret" not in logged.out + logged.err
    assert "private" not in logged.out + logged.err


async def test_a_key_reads_its_own_project_and_a_bad_one_reads_nothing(
    aiohttp_client: Callable[..., Awaitable[TestClient]], reading: MemoryReading
) -> None:
    visitors = {"Bearer lgw_proj_a": Visitor("default"), "Bearer lgw_proj_b": Visitor("other")}

    async def visitor_of(request: web.Request) -> Visitor | None:
        return visitors.get(request.headers.get("Authorization", ""))

    app = build_app(reading, settings=Settings(), health=_well, visitor_of=visitor_of)
    client = await aiohttp_client(app)
    totals = []
    for key in ("lgw_proj_a", "lgw_proj_b"):
        answer = await client.get("/api/agent-runs", headers={"Authorization": f"Bearer {key}"})
        totals.append((await answer.json())["total"])
    assert totals == [3, 0]
    refused = await client.get("/api/agent-runs")
    assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert (await refused.json())["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize("path", ["/chat/completions", "/responses", "/messages", "/models", "/models/gpt-4.1"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_model_call_without_v1_is_told_what_its_base_url_lacks(
    client: TestClient, method: str, path: str
) -> None:
    answer = await client.request(method, path, headers={"Accept": "application/json"})
    assert answer.status == 404
    assert f"OPENAI_BASE_URL=http://{client.host}:{client.port}/v1`" in (await answer.json())["error"]["message"]
