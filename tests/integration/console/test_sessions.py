"""Conversations over turns: their list, their pages, and both for programs."""

from __future__ import annotations

import html
from decimal import Decimal

import pytest
from aiohttp.test_utils import TestClient

from tests.console_runs import SECOND, T0, MemoryReading, make_run
from watchllm_proxy.console.loading import LoadedRun
from watchllm_proxy.records import RunStatus


@pytest.fixture
def reading() -> MemoryReading:
    """Two turns with a sub-agent between them, and a run that nothing followed."""

    def turn(number: int, **changes: object) -> LoadedRun:
        at_us = T0 + number * 60 * SECOND
        plain: dict[str, object] = {
            "session_id": "talk/1", "title": f"turn {number}", "started_at_us": at_us,
            "ended_at_us": at_us + SECOND, "last_activity_at_us": at_us + SECOND, "total_steps": 3,
            "total_cost_usd": Decimal("0.25"),
        }  # fmt: skip
        return LoadedRun(make_run(f"run-{number}", **(plain | changes)), (), ())

    return MemoryReading(
        [
            turn(3, status=RunStatus.FAILED, error_count=1),
            turn(1, user_id="bob"),
            turn(2, parent_run_id="run-1", agent_name="helper", total_cost_usd=None, unpriced_calls=1),
            turn(9, session_id="alone", title="<b>nobody answered</b>"),
        ]
    )


async def _page(client: TestClient, path: str) -> str:
    answer = await client.get(path, headers={"Accept": "text/html"})
    assert answer.status == 200, await answer.text()
    return await answer.text()


async def test_a_list_holds_conversations_and_single_turns_where_they_are_asked_for(client: TestClient) -> None:
    page = await _page(client, "/sessions")
    assert "turn 1" in page
    assert "1 conversation of several turns" in page
    assert "answered" not in page
    both = await _page(client, "/sessions?turns=any")
    assert "&lt;b&gt;nobody answered&lt;/b&gt;" in both
    assert both.index("answered") < both.index("turn 1"), "the session with the newest run comes first"


async def test_a_session_is_its_runs_in_order_and_their_sums(client: TestClient) -> None:
    page = await _page(client, "/sessions/talk%2F1")
    places = [page.index(f'href="/runs/run-{number}"') for number in (1, 2, 3)]
    assert places == sorted(places)
    assert "sub-agent" in page
    said = await (await client.get("/sessions/talk%2F1.json")).json()
    session = said["session"]
    assert (session["turns"], session["runs"], session["failed"], session["error_count"]) == (2, 3, 1, 1)
    assert (session["total_cost_usd"], session["unpriced_calls"], session["total_steps"]) == (0.5, 1, 9)
    assert (session["title"], session["user_id"]) == ("turn 1", "bob")
    assert [run["run_id"] for run in said["runs"]] == ["run-1", "run-2", "run-3"]
    assert [run["parent_run_id"] for run in said["runs"]] == [None, "run-1", None]


async def test_long_sessions_come_in_pages(client: TestClient) -> None:
    first = html.unescape(await _page(client, "/sessions/talk%2F1?limit=2"))
    assert 'href="/sessions/talk%2F1?limit=2&offset=2"' in first
    last = html.unescape(await _page(client, "/sessions/talk%2F1?limit=2&offset=2"))
    assert 'href="/sessions/talk%2F1?limit=2"' in last
    assert "/runs/run-3" in last
    assert "/runs/run-1" not in last
    assert "nothing on this page" in await _page(client, "/sessions/talk%2F1?offset=5")
    assert "nothing on this page" in await _page(client, "/sessions?offset=5")


async def test_a_run_leads_to_its_session(client: TestClient) -> None:
    assert 'href="/sessions/talk%2F1"' in await _page(client, "/runs/run-3")


async def test_without_a_conversation_the_list_says_what_makes_one(
    client: TestClient, reading: MemoryReading
) -> None:
    del reading.runs[:3]
    assert "No conversation of several turns yet." in await _page(client, "/sessions")
    reading.runs.clear()
    assert "No sessions yet." in await _page(client, "/sessions?turns=any")


@pytest.mark.parametrize("path", ["/sessions/nobody", "/sessions/nobody.json"])
async def test_a_session_that_is_not_there_is_not_found(client: TestClient, path: str) -> None:
    assert (await client.get(path)).status == 404


@pytest.mark.parametrize("query", ["limit=0", "turns=one", "agent=x", "offset=-1"])
async def test_a_wrong_parameter_is_named(client: TestClient, query: str) -> None:
    answer = await client.get(f"/sessions.json?{query}")
    assert (answer.status, (await answer.json())["error"]["param"]) == (422, query.partition("=")[0])
