"""Exports in the background as the pages show them. How they are made: tests/integration/conductors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import uuid4

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from jsonschema import Draft202012Validator

from tests.console_runs import SECOND, T0, MemoryExports, MemoryReading
from watchllm_proxy.console import Health, build_app
from watchllm_proxy.console.jobs import MAX_UNFINISHED, ExportJob, JobState
from watchllm_proxy.settings import Settings

Client = TestClient[web.Request, web.Application]
PAGE = {"Accept": "text/html"}


@pytest.fixture
def exports(tmp_path: Path) -> MemoryExports:
    return MemoryExports(tmp_path)


@pytest.fixture
async def client(exports: MemoryExports, aiohttp_client: Callable[[web.Application], Awaitable[Client]]) -> Client:
    async def well() -> Health:
        return Health()

    return await aiohttp_client(build_app(MemoryReading(), settings=Settings(), health=well, exports=exports))


async def _asked(client: Client) -> str:
    answer = await client.post("/jobs", allow_redirects=False)
    assert answer.status == 303
    return answer.headers["Location"]


async def test_an_export_is_asked_for_watched_and_taken(client: Client, exports: MemoryExports) -> None:
    path = await _asked(client)
    page = await (await client.get(path, headers=PAGE)).text()
    assert "Others are made before it" in page
    assert "job.js" in page
    exports.become(state=JobState.RUNNING, runs=30, total_runs=120, size_bytes=2_500_000, started_at_us=T0)
    said = await (await client.get(f"{path}.json")).json()
    assert said["words"].startswith("30 of 120 runs, 2.5 MB · about ")
    assert (said["export"]["state"], said["export"]["runs"]) == ("running", 30)
    assert "30 of 120 runs" in await (await client.get("/jobs", headers=PAGE)).text()
    assert (await client.get(f"{path}.ndjson")).status == 404
    exports.become(state=JobState.DONE, runs=120, ended_at_us=T0 + SECOND, removed_at_us=T0 + 2 * SECOND)
    (exports.directory / f"{exports.known[0].job_id}.ndjson").write_bytes(b'{"a":1}\n{"end":2}\n')
    page = await (await client.get(path, headers=PAGE)).text()
    assert f'href="{path}.ndjson"' in page
    assert "job.js" not in page, "nothing is left to wait for"
    answer = await client.get(f"{path}.ndjson")
    assert (await answer.read(), answer.content_type) == (b'{"a":1}\n{"end":2}\n', "application/x-ndjson")
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="watchllm-export-')
    assert answer.headers["Cache-Control"] == "no-store"
    rest = await client.get(f"{path}.ndjson", headers={"Range": "bytes=8-"})
    assert (rest.status, await rest.read()) == (206, b'{"end":2}\n')


async def test_an_export_can_be_cancelled_and_says_why_it_failed(client: Client, exports: MemoryExports) -> None:
    path = await _asked(client)
    assert f'action="{path}/cancel"' in await (await client.get(path, headers=PAGE)).text()
    await client.post(f"{path}/cancel")
    assert "It was cancelled" in await (await client.get(path, headers=PAGE)).text()
    exports.become(state=JobState.FAILED, failure="the store <b>went</b> away")
    assert (
        "It failed: the store &lt;b&gt;went&lt;/b&gt; away." in await (await client.get(path, headers=PAGE)).text()
    )


async def test_few_exports_wait_at_a_time(client: Client) -> None:
    for _ in range(MAX_UNFINISHED):
        await _asked(client)
    answer = await client.post("/jobs", allow_redirects=False)
    assert (answer.status, "3 exports are under way" in await answer.text()) == (409, True)


async def test_a_job_of_another_project_is_one_that_is_not_there(client: Client, exports: MemoryExports) -> None:
    exports.ask(ExportJob(uuid4(), "globex", T0, JobState.DONE))
    path = f"/jobs/{exports.known[0].job_id}"
    for address in (path, f"{path}.json", f"{path}.ndjson"):
        assert (await client.get(address)).status == 404
    assert (await client.post(f"{path}/cancel")).status == 404
    assert exports.known[0].state is JobState.DONE
    assert str(exports.known[0].job_id) not in await (await client.get("/jobs")).text()


async def test_answers_are_as_described(client: Client) -> None:
    path = await _asked(client)
    document = await (await client.get("/openapi.json")).json()
    for described, asked in (("/jobs.json", "/jobs.json"), ("/jobs/{job_id}.json", f"{path}.json")):
        ok = document["paths"][described]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        schema = {**ok, "components": document["components"]}
        Draft202012Validator(schema).validate(await (await client.get(asked)).json())


async def test_a_program_asks_for_an_export_and_cancels_it(client: Client, exports: MemoryExports) -> None:
    answer = await client.post("/api/exports", json={})
    job = (await answer.json())["export"]
    assert (answer.status, job["state"]) == (202, "waiting")
    assert (await (await client.get(f"/jobs/{job['job_id']}.json")).json())["export"] == job
    answer = await client.post(f"/api/exports/{job['job_id']}/cancel", json={})
    assert (answer.status, (await answer.json())["export"]["state"]) == (202, "cancelled")
    assert (await client.post(f"/api/exports/{uuid4()}/cancel", json={})).status == 404
    assert (await client.post("/api/exports", json={"runs": 1})).status == 422
