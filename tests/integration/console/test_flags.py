"""From where on something is a flag: the project's form, on a real Postgres."""

from __future__ import annotations

import pytest

from tests.integration.console.conftest import Client, Visited
from watchllm_proxy.enrich.flags.thresholds import CHOICES

ACME = {"X-Project": "acme"}
PAGE = {"Accept": "text/html"}


@pytest.fixture
async def client(visited: Visited) -> Client:
    return await visited()


async def chosen(client: Client, **headers: str) -> object:
    return (await (await client.get("/api/project", headers=headers)).json())["project"]["flag_thresholds"]


async def test_thresholds_are_chosen_by_a_form_that_shows_them_and_takes_back_what_is_left_empty(
    client: Client,
) -> None:
    page = await (await client.get("/settings/flags", headers=PAGE)).text()
    assert [name for name in CHOICES if f'name="{name}"' not in page] == []
    sent = {"loop_times": " 4 ", "run_budget_usd": "0.25", "high_cost_share": ""}
    answer = await client.post("/settings/flags", data=sent, allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (303, "/settings/flags")
    assert await chosen(client) == {"loop_times": 4, "run_budget_usd": 0.25}
    assert await chosen(client, **ACME) == {}
    page = await (await client.get("/settings/flags", headers=PAGE)).text()
    assert 'name="run_budget_usd" inputmode="decimal" autocomplete="off" maxlength="30" value="0.25"' in page
    await client.post("/settings/flags", data={"loop_times": "5"})
    assert await chosen(client) == {"loop_times": 5}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("loop_times", "1"),
        ("loop_times", "2.5"),
        ("loop_times", "many"),
        ("loop_times", "9" * 400),
        ("high_cost_share", "2"),
        ("high_cost_usd", "nan"),
        ("high_cost_usd", "1e999"),
        ("slow_step_s", "<b>"),
    ],
)
async def test_what_cannot_be_is_refused_and_stands_in_the_form_as_it_was_written(
    client: Client, name: str, text: str
) -> None:
    answer = await client.post("/settings/flags", data={name: text, "huge_output_chars": "500"}, headers=PAGE)
    page = await answer.text()
    assert answer.status == 422
    assert f"as {name}" in page
    assert 'value="500"' in page
    assert "<b>" not in page
    assert await chosen(client) == {}


async def test_who_may_only_read_sees_them_and_changes_nothing(client: Client) -> None:
    reader = {**PAGE, "X-Scopes": "read"}
    page = await (await client.get("/settings/flags", headers=reader)).text()
    assert "needs the scope admin" in page
    assert "<form" not in page.partition("<main")[2]
    assert (await client.post("/settings/flags", data={"loop_times": "4"}, headers=reader)).status == 403
