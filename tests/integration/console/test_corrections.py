"""What a person may correct, how it is refused, and that no page from elsewhere can ask for it."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest
from aiohttp.test_utils import TestClient

from tests.console_runs import MemoryDesk, MemoryReading, call_id, carried_out
from watchllm_proxy.console import correcting
from watchllm_proxy.records import Confidence, Correction, CorrectionKind, Link, LinkKind, RunStatus

RUN = "run_7q2k9fh4"
API = f"/api/agent-runs/{RUN}"
PAGE = f"/runs/{RUN}"


def end(reading: MemoryReading) -> str:
    """The id of the other run that has no family tie to `RUN`."""
    return next(each.run.run_id for each in reading.runs if each.run.run_id != RUN and not each.run.parent_run_id)


async def error_of(client: TestClient, path: str, body: object, **headers: str) -> tuple[int, str, str | None]:
    answer = await client.post(path, json=body, headers=headers)
    error = (await answer.json())["error"]
    assert set(error) == {"message", "type", "code", "param"}
    assert error["message"]
    return answer.status, error["code"], error["param"]


async def test_a_split_is_left_at_the_desk_and_answered_with_where_the_calls_are(
    client: TestClient, desk: MemoryDesk
) -> None:
    answer = await client.post(f"{API}/split", json={"call_id": str(call_id(3))})
    found = (await answer.json())["correction"]
    (asked,) = desk.asked
    assert (asked.kind, asked.run_id, asked.call_id, asked.is_single) == (
        CorrectionKind.SPLIT,
        RUN,
        call_id(3),
        False,
    )
    assert (answer.status, found["status"], found["to_run_id"]) == (200, "carried_out", f"{RUN}-part")
    assert found["correction_id"] == str(asked.correction_id)


async def test_a_correction_waits_where_the_recorder_is_away(
    client: TestClient, desk: MemoryDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(correcting, "WAIT_S", 0.1)
    desk.is_away = True
    answer = await client.post(f"{API}/split", json={"call_id": str(call_id(3)), "only": True})
    assert (answer.status, (await answer.json())["correction"]["status"]) == (202, "waiting")
    page = await client.post(f"{PAGE}/split", data={"call_id": str(call_id(3))}, headers={"Accept": "text/html"})
    assert (page.status, page.content_type) == (202, "text/html")


@pytest.mark.parametrize(
    ("address", "body", "refused"),
    [
        ("/api/agent-runs/nobody/merge", {"into": RUN}, (404, "not_found", None)),
        (f"{API}/merge", {"into": "nobody"}, (404, "run_not_found", "into")),
        (f"{API}/merge", {"into": RUN}, (422, "same_run", "into")),
        (f"{API}/merge", {"into": 7}, (422, "invalid_parameter", "into")),
        (f"{API}/merge", {"into": "x", "and": 1}, (422, "invalid_parameter", "and")),
        (f"{API}/merge", "text", (400, "invalid_json", None)),
        (f"{API}/split", {"call_id": str(call_id(1))}, (422, "first_call", "call_id")),
        (f"{API}/split", {"call_id": str(call_id(99))}, (404, "call_not_found", "call_id")),
        (f"{API}/split", {"call_id": "x"}, (422, "invalid_parameter", "call_id")),
        (f"{API}/split", {"call_id": str(call_id(3)), "only": "yes"}, (422, "invalid_parameter", "only")),
        (f"{API}/undo", {"correction_id": str(UUID(int=9))}, (404, "correction_not_found", "correction_id")),
    ],
)
async def test_what_is_wrong_is_named(
    client: TestClient, desk: MemoryDesk, address: str, body: object, refused: tuple[int, str, str | None]
) -> None:
    assert await error_of(client, address, body) == refused
    assert desk.asked == []


async def test_a_sub_agent_is_not_merged_with_its_parent(client: TestClient, reading: MemoryReading) -> None:
    child = next(each.run.run_id for each in reading.runs if each.run.parent_run_id == RUN)
    for address, into in ((f"{API}/merge", child), (f"/api/agent-runs/{child}/merge", RUN)):
        assert await error_of(client, address, {"into": into}) == (422, "own_family", "into")


async def test_a_run_that_still_receives_calls_is_left_alone(client: TestClient, reading: MemoryReading) -> None:
    other = end(reading)
    reading.runs = [
        replace(each, run=replace(each.run, status=RunStatus.RUNNING)) if each.run.run_id == RUN else each
        for each in reading.runs
    ]
    assert (await error_of(client, f"{API}/split", {"call_id": str(call_id(3))}))[:2] == (409, "run_is_running")
    assert (await error_of(client, f"/api/agent-runs/{other}/merge", {"into": RUN}))[:2] == (409, "run_is_running")


@pytest.mark.parametrize(("code", "status"), [("run_not_found", 404), ("corrected_since", 409), ("failed", 500)])
async def test_what_the_recorder_refuses_is_told_in_the_same_shape(
    client: TestClient, desk: MemoryDesk, code: str, status: int
) -> None:
    desk.refusal = (code, "It could not be.")
    assert (await error_of(client, f"{API}/split", {"call_id": str(call_id(3))}))[:2] == (status, code)


async def test_a_form_leads_to_the_run_it_made(
    client: TestClient, desk: MemoryDesk, reading: MemoryReading
) -> None:
    answer = await client.post(
        f"{PAGE}/split", data={"call_id": str(call_id(3)), "only": "true"}, allow_redirects=False
    )
    assert (answer.status, answer.headers["Location"]) == (303, f"{PAGE}-part#step-0")
    other = end(reading)
    pasted = f"http://127.0.0.1:8787/runs/{other}#step-12"
    answer = await client.post(f"{PAGE}/merge", data={"into": pasted}, allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (303, f"/runs/{other}#step-0")
    assert [(each.kind, each.into_run_id, each.is_single) for each in desk.asked] == [
        (CorrectionKind.SPLIT, None, True),
        (CorrectionKind.MERGE, other, False),
    ]


async def test_a_person_reads_why_a_form_was_refused(client: TestClient) -> None:
    answer = await client.post(f"{PAGE}/merge", data={"into": "nobody"}, headers={"Accept": "text/html"})
    assert (answer.status, answer.content_type) == (404, "text/html")
    assert "There is no such run to merge into." in await answer.text()


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
@pytest.mark.parametrize("address", [f"{API}/split", f"{PAGE}/split"])
async def test_a_page_from_elsewhere_changes_nothing(
    client: TestClient, desk: MemoryDesk, address: str, headers: dict[str, str]
) -> None:
    answer = await client.post(
        address, data={"call_id": str(call_id(3))}, headers={"Accept": "application/json", **headers}
    )
    assert (answer.status, (await answer.json())["error"]["code"]) == (403, "foreign_page")
    assert desk.asked == []


async def test_a_page_of_ours_is_heard_whether_or_not_the_browser_tells_of_sites(
    client: TestClient, desk: MemoryDesk
) -> None:
    origin = str(client.make_url("/")).rstrip("/")
    for headers in ({"Origin": origin}, {"Sec-Fetch-Site": "same-origin", "Origin": origin}):
        answer = await client.post(
            f"{PAGE}/split", data={"call_id": str(call_id(3))}, headers=headers, allow_redirects=False
        )
        assert answer.status == 303
    assert len(desk.asked) == 2


async def test_the_api_takes_json_only_so_that_no_form_of_another_page_fits(
    client: TestClient, desk: MemoryDesk
) -> None:
    answer = await client.post(f"{API}/split", data=b'{"call_id": 1}', headers={"Content-Type": "text/plain"})
    assert (answer.status, (await answer.json())["error"]["code"]) == (415, "unsupported_media_type")
    assert desk.asked == []


async def test_a_foreign_host_corrects_nothing(client: TestClient, desk: MemoryDesk) -> None:
    answer = await client.post(f"{API}/split", json={"call_id": str(call_id(3))}, headers={"Host": "evil.example"})
    assert answer.status == 421
    assert desk.asked == []


async def test_the_address_of_a_merged_run_leads_to_where_it_went(client: TestClient, desk: MemoryDesk) -> None:
    desk.merged = {"gone": RUN}
    for address, target in (
        ("/runs/gone", PAGE),
        ("/runs/gone.json", f"{PAGE}.json"),
        ("/api/agent-runs/gone/debug", f"{API}/debug"),
    ):
        answer = await client.get(address, allow_redirects=False)
        assert (answer.status, answer.headers["Location"]) == (302, target)
    assert (await client.get("/runs/nobody")).status == 404


async def test_the_page_and_the_document_tell_of_corrections_in_force(
    client: TestClient, desk: MemoryDesk
) -> None:
    merge = Correction(
        UUID(int=5), "default", CorrectionKind.MERGE, "other", 1_763_800_000_000_000, into_run_id=RUN
    )
    desk.done = [carried_out(merge)]
    page = await (await client.get(PAGE)).text()
    assert "A person merged 1 call into this run, from" in page
    assert f'action="{PAGE}/undo"' in page
    document = await (await client.get(f"{API}/debug")).json()
    (told,) = document["debug"]["summary"]["corrections"]
    assert (told["correction_id"], told["run_id"], told["to_run_id"]) == (str(UUID(int=5)), "other", RUN)
    answer = await client.post(f"{PAGE}/undo", data={"correction_id": str(UUID(int=5))}, allow_redirects=False)
    assert (answer.status, desk.asked[0].undoes) == (303, UUID(int=5))


async def test_what_the_machine_had_thought_is_shown_as_overruled(
    client: TestClient, reading: MemoryReading
) -> None:
    links = {
        call_id(2): (
            Link(LinkKind.PERSON, "2026-11-22T13:40:00Z", Confidence.CERTAIN),
            Link(LinkKind.ISSUED_ID, "call_1", Confidence.CERTAIN, call_id(1), 2),
            Link(LinkKind.HISTORY, "x", Confidence.PROBABLE, call_id(77), 3),
        )
    }
    reading.runs = [replace(each, links=links) if each.run.run_id == RUN else each for each in reading.runs]
    step = await (await client.get(f"{PAGE}/steps/3")).json()
    assert [(why["sentence"], why["is_overruled"], why["to_step"]) for why in step["why"]] == [
        ("A person put it here", False, None),
        ("Uses an id that the upstream gave to an earlier call", True, 2),
        ("Goes on with a conversation as it stood after an earlier call", True, None),
    ]
    assert step["split"] == {"call_id": str(call_id(2)), "is_first": False}


async def test_samples_and_open_runs_offer_no_correction(client: TestClient, reading: MemoryReading) -> None:
    assert "/merge" not in await (await client.get("/samples/loop")).text()
    assert (await (await client.get("/samples/loop/steps/1")).json())["split"] is None
    assert f'action="{PAGE}/merge"' in await (await client.get(PAGE)).text()
