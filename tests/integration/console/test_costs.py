"""The page of costs and its twins for programs."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from aiohttp.test_utils import TestClient

from tests.console_runs import MemoryReading
from watchllm_proxy.errors import StoreUnavailable
from watchllm_proxy.store.costs import CostBy, CostGroup

TODAY = datetime.now(UTC).date().isoformat()
HOSTILE = "<img src=x onerror=alert(1)>"


def group(name: str | None, usd: str, *, calls: int = 10, unpriced: int = 0) -> CostGroup:
    return CostGroup(name, Decimal(usd), unpriced, calls, 1, 12_345, 678, 90)


@pytest.fixture(autouse=True)
def groups(reading: MemoryReading) -> None:
    reading.cost_groups = {
        CostBy.DAY: [group(TODAY, "3.000000000003", calls=22, unpriced=2)],
        CostBy.MODEL: [
            group("gpt-4.1", "3.000000000003"),
            group(HOSTILE, "0", calls=2, unpriced=2),
            group("=cmd()", "0"),
        ],
        CostBy.AGENT: [group("support-refund-agent", "3"), group(None, "0.000000000003")],
    }


async def _page(client: TestClient, path: str) -> str:
    answer = await client.get(path, headers={"Accept": "text/html"})
    assert answer.status == 200, await answer.text()
    return await answer.text()


async def test_a_model_without_a_price_is_unpriced_and_hostile_names_are_text(client: TestClient) -> None:
    page = await _page(client, "/costs")
    assert HOSTILE not in page
    row = re.search(r"<tr>(?:(?!</tr>).)*onerror.*?</tr>", page, re.DOTALL)
    assert row is not None
    assert "unpriced" in row[0]
    assert "$0" not in row[0]
    assert "2 unpriced calls left out" in page
    assert "$3.0000" in page


async def test_bars_have_titles_and_a_table_that_says_the_same(client: TestClient) -> None:
    page = html.unescape(await _page(client, "/costs?since=7d"))
    assert f"<title>{TODAY}: $3.0000, 22 calls, 2 unpriced</title>" in page
    table = page.partition("The days as a table")[2]
    assert [day for day in _days_back(7) if day not in table] == []


def _days_back(count: int) -> Sequence[str]:
    return [str(date.fromisoformat(TODAY) - timedelta(days=number)) for number in range(count)]


async def test_an_agent_leads_to_its_runs_and_a_day_to_those_of_the_day(client: TestClient) -> None:
    assert 'href="/runs?agent=support-refund-agent"' in await _page(client, "/costs?by=agent")
    assert f"/runs?since={TODAY}&amp;until=" in await _page(client, "/costs?by=day")


async def test_the_form_keeps_what_it_was_asked(client: TestClient) -> None:
    page = html.unescape(await _page(client, "/costs?by=agent&since=90d"))
    assert '<option value="90d" selected>' in page
    assert 'href="/costs?by=key&since=90d"' in page
    assert 'href="/costs.csv?by=agent&since=90d"' in page


async def test_money_is_exact_for_programs(client: TestClient) -> None:
    answer = await client.get("/costs.json?by=model")
    text = await answer.text()
    assert '"cost_usd":3.000000000003' in text
    found = await answer.json()
    assert [each["cost_usd"] for each in found["groups"]] == [3.000000000003, None, 0]
    assert found["total"]["calls"] == 22
    assert found["total"]["unpriced_calls"] == 2


async def test_a_table_for_spreadsheets_holds_every_group_and_no_formula(client: TestClient) -> None:
    answer = await client.get("/costs.csv")
    assert answer.content_type == "text/csv"
    assert "attachment" in answer.headers["Content-Disposition"]
    lines = list(csv.reader(io.StringIO(await answer.text())))
    assert lines[0][:3] == ["model", "cost_usd", "unpriced_calls"]
    assert [line[:3] for line in lines[1:]] == [
        ["gpt-4.1", "3.000000000003", "0"],
        [HOSTILE, "", "2"],
        ["'=cmd()", "0", "0"],
    ]


async def test_nothing_spent_says_so_in_words(client: TestClient, reading: MemoryReading) -> None:
    reading.cost_groups = {}
    page = html.unescape(await _page(client, "/costs?since=24h"))
    assert "No calls in the last 24 hours." in page
    assert '<svg viewBox="0 0 10' not in page


async def test_without_the_store_of_calls_the_page_opens_and_says_what_is_missing(
    client: TestClient, reading: MemoryReading, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*args: object, **kwargs: object) -> Sequence[CostGroup]:
        raise StoreUnavailable("ClickHouse is away")

    monkeypatch.setattr(reading, "costs", away)
    page = await _page(client, "/costs")
    assert "not available now" in page
    assert "/costs.csv" not in page
    assert (await client.get("/costs.json")).status == 503
    assert (await client.get("/costs.csv", headers={"Accept": "text/csv"})).status == 503


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ("by=colour", "by"),
        ("since=x", "since"),
        ("since=401d", "since"),
        ("since=1h&until=2h", "since"),
        ("a=1", "a"),
    ],
)
async def test_what_cannot_be_asked_is_refused_by_name(client: TestClient, asked: str, param: str) -> None:
    answer = await client.get(f"/costs.json?{asked}")
    assert answer.status == 422
    assert (await answer.json())["error"]["param"] == param
