"""The document at /openapi.json against the routes there are and the answers they really give."""

from __future__ import annotations

import json
import re

import pytest
from aiohttp.test_utils import TestClient
from jsonschema import Draft202012Validator

from tests.console_runs import call_id
from watchllm_proxy.console.api import openapi_ingest
from watchllm_proxy.console.app import ROUTES

NOBODY = "00000000-0000-0000-0000-00000000ffff"
SERVED_BY_THE_PROXY = {"/metrics", *openapi_ingest.TAKEN}
LONG_RUN = "run_big2000"

ASKED = {
    "/": "/",
    "/welcome": "/welcome",
    "/welcome.json": "/welcome.json",
    "/runs.json": "/runs.json?limit=2",
    "/runs.csv": None,
    "/usage.json": "/usage.json",
    "/pricing.json": "/pricing.json",
    "/settings/redaction.json": "/settings/redaction.json",
    "/settings/prices.json": None,  # as /api/prices
    "/settings/keys.json": None,  # as /api/keys
    "/settings/projects.json": None,  # as /api/projects
    "/runs": "/runs?status=failed",
    "/sessions": "/sessions?turns=any",
    "/sessions.json": "/sessions.json",
    "/sessions/{session_id}": "/sessions/session-1",
    "/sessions/{session_id}.json": "/sessions/session-1.json?limit=1",
    "/runs/{run_id}": "/runs/run_7q2k9fh4",
    "/runs/{run_id}.json": "/runs/run_7q2k9fh4.json",
    "/runs/{run_id}.ndjson": None,  # no JSON: test_export
    "/runs/{run_id}.md": None,
    "/runs/{run_id}/steps": "/runs/run_7q2k9fh4/steps",
    "/runs/{run_id}/steps/{index}": "/runs/run_7q2k9fh4/steps/6",
    "/runs/{run_id}/steps/{index}/changes": "/runs/run_7q2k9fh4/steps/3/changes",
    "/runs/{run_id}/steps/{index}/result": "/runs/run_7q2k9fh4/steps/8/result",
    "/runs/{run_id}/steps/{index}/copy/{language}": None,  # no JSON: test_copying
    "/samples/{name}": "/samples/loop",
    "/samples/{name}/steps": "/samples/loop/steps",
    "/samples/{name}/steps/{index}": "/samples/loop/steps/1",
    "/samples/{name}/search": "/samples/loop/search?q=a",
    "/api/agent-runs": "/api/agent-runs?limit=2",
    "/api/agent-runs/fixture/{name}": "/api/agent-runs/fixture/high-cost",
    "/api/agent-runs/{run_id}": "/api/agent-runs/run_7q2k9fh4",
    "/api/agent-runs/{run_id}/debug": "/api/agent-runs/run_7q2k9fh4/debug",
    "/api/agent-runs/{run_id}/events": None,  # no JSON: test_live
    "/api/agent-runs/{run_id}/search": "/api/agent-runs/run_7q2k9fh4/search?q=refund",
    "/api/calls": "/api/calls?limit=3",
    "/api/calls/{call_id}": f"/api/calls/{call_id(5)}",
    "/api/calls/{call_id}/raw/{part}": None,  # no JSON: test_api
    "/api/calls/{call_id}/files/{digest}": None,  # no JSON: test_files
    "/healthz": "/healthz",
    "/readyz": "/readyz",
    "/openapi.json": "/openapi.json",
    "/static/{version}/{name}": None,
    "/runs/{run_id}/merge": None,
    "/runs/{run_id}/split": None,
    "/runs/{run_id}/undo": None,
    "/api/agent-runs/{run_id}/merge": None,
    "/api/agent-runs/{run_id}/split": None,
    "/api/agent-runs/{run_id}/undo": None,
    "/settings/prices": None,  # need a Postgres: test_prices
    "/api/prices": None,
    "/settings/data": "/settings/data",
    "/settings/data.json": "/settings/data.json",
    "/settings/data/erase": None,  # test_data
    "/settings/flags": "/settings/flags",
    "/settings/redaction": "/settings/redaction",
    "/api/redaction": "/api/redaction",
    "/jobs": "/jobs",
    "/jobs.json": "/jobs.json",
    "/jobs/{job_id}": None,  # test_jobs
    "/jobs/{job_id}.json": None,
    "/jobs/{job_id}.ndjson": None,
    "/jobs/{job_id}/cancel": None,
    "/costs": "/costs?by=agent&since=7d",
    "/costs.json": "/costs.json?by=agent&since=7d",
    "/costs.csv": None,
    "/settings": "/settings",
    "/usage": "/usage",
    "/pricing": "/pricing",
    "/api/usage": "/api/usage?month=2026-11",
    "/api/plans": "/api/plans",
    "/api/project": None,  # need a Postgres: test_account
    "/api/keys/{key_id}/limits": None,
    "/api/exports": None,  # test_jobs
    "/api/exports/{job_id}/cancel": None,
    "/api/erasures": None,  # test_data
    "/api/projects": None,  # need a Postgres: test_keys
    "/api/projects/{project_id}/rotate": None,
    "/api/projects/{project_id}/revoke": None,
    "/api/keys": None,
    "/api/keys/{key_id}": None,
    "/api/keys/{key_id}/rotate": None,
    "/api/provider-key": None,
    "/login": None,  # test_login
    "/logout": None,
    "/settings/keys": None,
    "/settings/keys/{key_id}/rotate": None,
    "/settings/keys/{key_id}/revoke": None,
    "/settings/keys/{key_id}/limits": None,
    "/settings/provider-key": None,
    "/settings/projects": None,  # need a Postgres: test_projects
    "/settings/projects/{project_id}": None,
    "/settings/projects/{project_id}/rotate": None,
    "/settings/projects/{project_id}/revoke": None,
    "/api/redaction/try": None,
    "/v1/events/query": None,
}
REFUSED = (
    ("/api/agent-runs", "/api/agent-runs?limit=0", 422),
    ("/api/agent-runs/{run_id}/debug", "/api/agent-runs/nobody/debug", 404),
    ("/api/agent-runs/{run_id}/events", "/api/agent-runs/nobody/events", 404),
    ("/api/agent-runs/{run_id}/search", "/api/agent-runs/nobody/search?q=x", 404),
    ("/api/agent-runs/{run_id}/search", "/api/agent-runs/run_7q2k9fh4/search?limit=2", 422),
    ("/samples/{name}/search", "/samples/odd/search?q=x", 404),
    ("/samples/{name}/search", "/samples/loop/search?qq=x", 422),
    ("/api/agent-runs/fixture/{name}", "/api/agent-runs/fixture/odd", 404),
    ("/api/calls", "/api/calls?after=x", 422),
    ("/api/calls/{call_id}", f"/api/calls/{NOBODY}", 404),
    ("/api/calls/{call_id}", f"/api/calls/{call_id(5)}?files=away", 422),
    ("/api/calls/{call_id}/files/{digest}", f"/api/calls/{call_id(5)}/files/{'0' * 32}", 404),
    ("/runs/{run_id}.json", "/runs/nobody.json", 404),
    ("/runs/{run_id}.json", "/runs/run_7q2k9fh4.json?bodies=yes", 422),
    ("/runs/{run_id}.ndjson", "/runs/nobody.ndjson", 404),
    ("/runs/{run_id}.md", "/runs/nobody.md", 404),
    ("/sessions.json", "/sessions.json?turns=many", 422),
    ("/sessions/{session_id}.json", "/sessions/nobody.json", 404),
    ("/jobs/{job_id}.json", f"/jobs/{NOBODY}.json", 404),
    ("/jobs/{job_id}.json", "/jobs/nobody.json", 404),
    ("/costs.json", "/costs.json?by=colour", 422),
    ("/costs.json", "/costs.json?since=401d", 422),
    ("/runs/{run_id}/steps", "/runs/nobody/steps", 404),
    ("/runs/{run_id}/steps/{index}", "/runs/run_7q2k9fh4/steps/999", 404),
    ("/runs/{run_id}/steps/{index}/changes", "/runs/run_7q2k9fh4/steps/2/changes", 404),
    ("/runs/{run_id}/steps/{index}/result", "/runs/run_7q2k9fh4/steps/99/result", 404),
    ("/runs/{run_id}/steps/{index}/copy/{language}", "/runs/run_7q2k9fh4/steps/2/copy/curl", 404),
)
CORRECTED = (
    ("merge", {"into": LONG_RUN}, 200),
    ("merge", {"into": "nobody"}, 404),
    ("merge", {"into": "run_7q2k9fh4"}, 422),
    ("merge", {}, 422),
    ("merge", [], 400),
    ("split", {"call_id": str(call_id(3))}, 200),
    ("split", {"call_id": str(call_id(3)), "only": True}, 200),
    ("split", {"call_id": NOBODY}, 404),
    ("split", {"call_id": str(call_id(1))}, 422),
    ("undo", {"correction_id": NOBODY}, 404),
)


TRIED = (
    ("post", "/v1/events/query", {}, 200),
    ("post", "/v1/events/query", {"limit": 5, "models": ["m"], "sort_by": "latency_ms"}, 200),
    ("post", "/v1/events/query", {"limit": 0}, 422),
    ("post", "/v1/events/query", {"limits": 1}, 422),
    ("post", "/v1/events/query", {"cursor": "x"}, 422),
    ("post", "/v1/events/query", [], 422),
    ("patch", "/api/redaction", {"mode": "tender"}, 422),
    ("patch", "/api/redaction", [], 400),
    ("post", "/api/redaction/try", {"text": "x"}, 200),
    ("post", "/api/redaction/try", {}, 422),
)


def _documented(path: str) -> str:
    """A route's path as OpenAPI writes it: no patterns."""
    return re.sub(r"\{(\w+):[^}]*\}", r"{\1}", path.replace(r"\d{1,9}", "").replace(r"\d+", ""))


async def _document(client: TestClient) -> dict:
    return await (await client.get("/openapi.json")).json()


def _check(document: dict, path: str, status: int, answer: object, method: str = "get") -> None:
    schema = document["paths"][path][method]["responses"][str(status)]["content"]["application/json"]["schema"]
    whole = {**schema, "components": document["components"]}
    Draft202012Validator(whole, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(answer)


async def test_every_route_is_described_and_every_description_is_a_route(client: TestClient) -> None:
    document = await _document(client)
    routes = {_documented(route.path) for route in ROUTES}
    assert set(document["paths"]) == routes | SERVED_BY_THE_PROXY


TWINS_ELSEWHERE = {
    "/samples/{name}": "/api/agent-runs/fixture/{name}",
    "/settings/projects/{project_id}": "/api/projects",
    "/settings/flags": "/api/project",
}


async def test_every_page_has_a_twin_for_programs(client: TestClient) -> None:
    paths = (await _document(client))["paths"]
    answers = {
        path: spec.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
        for path, spec in paths.items()
    }
    pages = [path for path, content in answers.items() if "text/html" in content and path != "/login"]
    twins = [TWINS_ELSEWHERE.get(path, f"{path}.json") for path in pages]
    assert len(pages) > 12
    assert [path for path in twins if "application/json" not in answers.get(path, {})] == []


async def test_every_schema_is_a_schema(client: TestClient) -> None:
    document = await _document(client)
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_an_answer_of_every_route_is_asked_for_below() -> None:
    assert set(ASKED) == {_documented(route.path) for route in ROUTES}


@pytest.mark.parametrize("path", [path for path, asked in ASKED.items() if asked])
async def test_a_real_answer_is_as_described(client: TestClient, path: str) -> None:
    answer = await client.get(ASKED[path], allow_redirects=False)
    described = (await _document(client))["paths"][path]["get"]["responses"][str(answer.status)]
    assert answer.status == (302 if path in {"/", "/settings"} else 200)
    if answer.content_type == "application/json":
        _check(await _document(client), path, 200, json.loads(await answer.read()))
    elif "content" in described:
        assert answer.content_type in described["content"]


@pytest.mark.parametrize(("path", "asked", "status"), REFUSED)
async def test_a_refusal_is_as_described(client: TestClient, path: str, asked: str, status: int) -> None:
    answer = await client.get(asked, headers={"Accept": "application/json"})
    assert answer.status == status
    _check(await _document(client), path, status, await answer.json())


@pytest.mark.parametrize(("asked", "body", "status"), CORRECTED)
async def test_what_a_correction_is_answered_with_is_as_described(
    client: TestClient, asked: str, body: dict, status: int
) -> None:
    answer = await client.post(f"/api/agent-runs/run_7q2k9fh4/{asked}", json=body)
    assert answer.status == status
    path = f"/api/agent-runs/{{run_id}}/{asked}"
    _check(await _document(client), path, status, await answer.json(), method="post")


@pytest.mark.parametrize(("method", "path", "body", "status"), TRIED)
async def test_what_is_said_about_redaction_is_as_described(
    client: TestClient, method: str, path: str, body: object, status: int
) -> None:
    answer = await client.request(method.upper(), path, json=body)
    assert answer.status == status
    _check(await _document(client), path, status, await answer.json(), method=method)


async def test_a_wrong_answer_would_be_found(client: TestClient) -> None:
    """The schemas are closed: the check above can fail."""
    document = await _document(client)
    good = await (await client.get("/api/agent-runs")).json()
    with pytest.raises(Exception, match="surprise"):
        _check(document, "/api/agent-runs", 200, {**good, "surprise": 1})
