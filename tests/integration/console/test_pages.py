"""The pages as a reader without a script gets them."""

from __future__ import annotations

import csv
import html
import io
import re
from dataclasses import replace

import pytest
from aiohttp.test_utils import TestClient
from yarl import URL

from tests.console_runs import MemoryReading, make_run, refund_run
from tests.integration.console.crawling import crawl
from watchllm_proxy.console.addresses import run_path
from watchllm_proxy.console.context import now_us
from watchllm_proxy.console.loading import LoadedRun
from watchllm_proxy.records import RunStatus


async def _page(client: TestClient, path: str, status: int = 200) -> str:
    answer = await client.get(path, headers={"Accept": "text/html"})
    assert answer.status == status, await answer.text()
    assert answer.content_type == "text/html"
    return html.unescape(await answer.text())


async def test_home_waits_for_the_first_run_and_then_lists_them(
    client: TestClient, reading: MemoryReading
) -> None:
    assert (await client.get("/", allow_redirects=False)).headers["Location"] == "/runs"
    reading.runs.clear()
    assert (await client.get("/", allow_redirects=False)).headers["Location"] == "/welcome"


async def test_welcome_prints_the_address_it_was_asked_at(client: TestClient) -> None:
    page = await _page(client, "/welcome")
    assert f"export OPENAI_BASE_URL=http://127.0.0.1:{client.port}/v1" in page
    other = await client.get("/welcome", headers={"Host": "localhost:9", "X-Forwarded-Proto": "https"})
    assert "export OPENAI_BASE_URL=http://localhost:9/v1" in await other.text(), (
        "a client cannot say what is before us"
    )


async def test_welcome_shows_all_four_clients_without_a_script(client: TestClient) -> None:
    page = await _page(client, "/welcome")
    for text in ("export OPENAI_BASE_URL", "OpenAI(base_url=", "new OpenAI({ baseURL:", "curl http"):
        assert text in page
    assert len(re.findall(r'type="radio"', page)) == 4


async def test_welcome_names_the_upstream_and_what_is_degraded(
    client: TestClient, health: dict[str, str | None]
) -> None:
    health["clickhouse"] = "ClickHouse does not answer."
    page = await _page(client, "/welcome")
    assert "openrouter.ai" in page
    assert "ClickHouse does not answer." in page


async def test_every_page_leads_to_the_settings_and_those_to_each_other(client: TestClient) -> None:
    found = await client.get("/settings", allow_redirects=False)
    assert (found.status, found.headers["Location"]) == (302, "/usage"), "there are no keys without a Postgres"
    tabs = ["/usage", "/pricing", "/settings/data", "/settings/flags", "/settings/redaction"]
    for path in tabs:
        page = await _page(client, path)
        shown = page.partition('aria-label="Settings"')[2].partition("</nav>")[0]
        assert re.findall(r'href="([^"]+)"', shown) == tabs
        assert re.findall(r'href="([^"]+)" aria-current="page"', shown) == [path]
    assert 'href="/settings"' in await _page(client, "/runs")


async def test_the_list_shows_each_run_and_leads_to_it(client: TestClient) -> None:
    page = await _page(client, "/runs")
    for text in ("support-refund-agent", "Failed", "loop", "sub-agent", "/runs/run_7q2k9fh4", "$0.0041"):
        assert text in page


async def test_a_row_draws_the_tokens_of_its_calls_and_the_table_has_them_as_figures(
    client: TestClient, reading: MemoryReading
) -> None:
    page = await _page(client, "/runs")
    assert "<title>Tokens by call: " in page
    assert 'href="/runs.csv?limit=50"' in page
    assert "<title>Tokens by call: " in await _page(client, "/sessions/session-1")
    reading.runs.append(LoadedRun(make_run("run-2", title="=1+1", agent_name="other"), (), ()))
    answer = await client.get("/runs.csv?agent=support-refund-agent")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="runs.csv"'
    lines = list(csv.DictReader(io.StringIO(await answer.text())))
    steps = [step for step in refund_run().steps if step.input_tokens]
    assert [line["run_id"] for line in lines] == ["run_7q2k9fh4"]
    assert lines[0]["tokens_by_call"].split() == [str(s.input_tokens + (s.output_tokens or 0)) for s in steps]
    (other,) = csv.DictReader(io.StringIO(await (await client.get("/runs.csv?agent=other")).text()))
    assert (other["title"], other["tokens_by_call"]) == ("'=1+1", "")


async def test_an_unpriced_run_is_unpriced_and_not_free(client: TestClient, reading: MemoryReading) -> None:
    reading.runs[:] = [LoadedRun(make_run(total_calls=1, unpriced_calls=1), (), ())]
    assert "unpriced" in await _page(client, "/runs")
    assert "$0" not in re.sub(r"by rule · \$0", "", await _page(client, "/runs/run-1"))


async def test_filters_stay_in_the_form_and_in_the_address_of_the_next_page(
    client: TestClient, reading: MemoryReading
) -> None:
    reading.runs[:] = [LoadedRun(make_run(f"run-{n}"), (), ()) for n in range(120)]
    page = await _page(client, "/runs?agent=support-refund-agent&since=&offset=50")
    assert "51–100 of 120" in page
    assert 'href="/runs?agent=support-refund-agent&offset=100"' in page
    assert 'href="/runs?agent=support-refund-agent&offset=0"' in page
    assert re.search(r'value="support-refund-agent" selected', page)


async def test_nothing_found_says_the_filter_in_words(client: TestClient) -> None:
    page = await _page(client, "/runs?status=cancelled&agent=nobody&q=zzz&since=24h")
    assert "No runs that are cancelled of the agent “nobody” that match “zzz” in the last 24 hours." in page
    assert "Clear filters" in page


async def test_no_run_at_all_leads_to_the_welcome_page(client: TestClient, reading: MemoryReading) -> None:
    reading.runs.clear()
    page = await _page(client, "/runs")
    assert "No runs of agents yet." in page
    assert 'href="/welcome"' in page


async def test_where_there_are_only_lone_chats_they_are_listed(client: TestClient, reading: MemoryReading) -> None:
    reading.runs = [LoadedRun(make_run("lone", is_agent=False), (), ())]
    page = await _page(client, "/runs")
    assert "/runs/lone" in page
    assert "1 run" in page
    assert "No runs that are failed." in await _page(client, "/runs?status=failed"), "a filter means what it says"


async def test_the_figures_beside_the_filters_count_what_the_list_may_show(
    client: TestClient, reading: MemoryReading
) -> None:
    reading.runs = [
        LoadedRun(make_run("agent", status=RunStatus.FAILED), (), ()),
        LoadedRun(make_run("lone", is_agent=False, status=RunStatus.FAILED), (), ()),
    ]
    assert "Failed <b>1</b>" in await _page(client, "/runs")
    assert "Failed <b>2</b>" in await _page(client, "/runs?kind=all")


async def test_runs_that_ended_well_with_errors_are_a_filter_away(
    client: TestClient, reading: MemoryReading
) -> None:
    reading.runs = [
        LoadedRun(make_run("quiet"), (), ()),
        LoadedRun(make_run("stumbled", error_count=5), (), ()),
    ]
    (chip,) = re.findall(
        r'<a class="chip " href="([^"]+)">With errors</a>', await _page(client, "/runs?since=24h&kind=")
    )
    assert chip == "/runs?since=24h&errors=any"
    reading.runs = [replace(each, run=replace(each.run, started_at_us=now_us())) for each in reading.runs]
    page = await _page(client, chip)
    assert "1 run with errors in the last 24 hours" in page
    assert "/runs/stumbled" in page
    assert "/runs/quiet" not in page
    assert "errors must be any" in await _page(client, "/runs?errors=no", 422)


async def test_a_run_that_is_not_there_is_told_to_people_without_the_api(client: TestClient) -> None:
    page = await _page(client, "/runs/no-such-run", 404)
    assert "There is no such run or page here" in page
    assert "/api/" not in page


async def test_a_wrong_filter_is_told_in_words(client: TestClient) -> None:
    assert "limit must be a whole number" in await _page(client, "/runs?limit=x", 422)


async def test_a_run_is_readable_without_a_script(client: TestClient) -> None:
    page = await _page(client, "/runs/run_7q2k9fh4")
    for text in ("Order A-10432 arrived broken", "Failed", "What went wrong", "3 times with equal arguments"):
        assert text in page
    for figure in ("Duration", "Cost", "Tokens in → out", "Steps", "Errors", "Anomalies"):
        assert f"<dt>{figure}</dt>" in page
    assert 'href="#step-4"' in page
    assert len(re.findall(r'id="step-\d+"', page)) == 12
    assert 'href="/runs/run_7q2k9fh4?agent=run_child"' in page


async def test_a_sub_agent_leads_back_to_its_parent(client: TestClient) -> None:
    assert 'href="/runs/run_7q2k9fh4"' in await _page(client, "/runs/run_child")


async def test_a_long_run_sends_its_first_rows_only(client: TestClient) -> None:
    page = await _page(client, "/runs/run_big2000")
    assert len(re.findall(r'id="step-\d+"', page)) == 36
    assert "224 more steps need JavaScript" in page
    assert len(page) < 40_000


async def test_a_run_without_steps_and_one_that_runs_are_pages_too(
    client: TestClient, reading: MemoryReading
) -> None:
    running = make_run("r", status=RunStatus.RUNNING, ended_at_us=None, agent_name=None, title="")
    reading.runs[:] = [LoadedRun(running, (), ())]
    page = await _page(client, "/runs/r")
    assert "This run has no steps yet." in page
    assert "Running" in page


@pytest.mark.parametrize("name", ["normal", "loop", "high-cost"])
async def test_sample_runs_are_pages(client: TestClient, name: str) -> None:
    assert "<h1>" in await _page(client, f"/samples/{name}")


async def test_text_that_utf8_cannot_carry_breaks_no_page(client: TestClient, reading: MemoryReading) -> None:
    odd = refund_run("odd")
    reading.runs.append(replace(odd, run=replace(odd.run, title="a\ud800b", agent_name="c\udfffd")))
    assert "a?b" in await _page(client, "/runs/odd")
    assert "a?b" in await _page(client, "/runs")
    answer = await client.get("/api/agent-runs/odd/debug")
    assert (await answer.json())["debug"]["summary"]["title"] == "a\ufffdb"


async def test_no_link_of_any_page_is_dead(client: TestClient) -> None:
    seen = await crawl(client)
    assert {"/sessions", "/jobs", "/settings/data", "/costs?by=key", "/runs/run_child"} <= seen
    assert len(seen) > 40


@pytest.mark.parametrize("run_id", ["{run_id}", "a}b{", "{", "{a:b}", 'x {"a": 1}'])
async def test_a_run_whose_id_holds_braces_has_its_page_and_its_forms(
    client: TestClient, reading: MemoryReading, run_id: str
) -> None:
    reading.runs.append(refund_run(run_id))
    await _page(client, run_path(run_id))
    for form in ("/steps", "/steps/1", ".json", ".md"):
        answer = await client.get(URL(run_path(run_id) + form, encoded=True))
        assert answer.status == 200, form


async def test_a_sub_agents_sub_agent_has_a_lane_too(client: TestClient, reading: MemoryReading) -> None:
    reading.runs.append(LoadedRun(make_run("run_grandchild", parent_run_id="run_child"), (), ()))
    page = await (await client.get("/runs/run_7q2k9fh4")).text()
    lanes = re.findall(r'data-child="(\d)">.*href="([^"]+)"', page)
    assert lanes == [("1", "/runs/run_7q2k9fh4?agent=run_child"), ("2", "/runs/run_7q2k9fh4?agent=run_grandchild")]


@pytest.mark.parametrize("agent", ["run_child", "policy-researcher"])
async def test_a_lane_shows_its_sub_agents_steps_alone_without_a_script_too(
    client: TestClient, agent: str
) -> None:
    page = await (await client.get("/runs/run_7q2k9fh4", params={"agent": agent})).text()
    assert re.findall(r'class="row" role="row" id="step-(\d+)"', page) == ["0", "1", "2"]
    assert 'data-path="/runs/run_child"' in page
    assert 'data-offset="3000000"' in page
    assert re.findall(r'aria-current="true">(.*?)</a>', page) == ["policy-researcher"]
    links = re.findall(r'href="([^"]*)#step-\d+"', page)
    assert set(links) == {"/runs/run_7q2k9fh4"}, "what went wrong is told of the run's own steps"


async def test_each_of_two_sub_agents_of_one_name_has_an_address_by_it(
    client: TestClient, reading: MemoryReading
) -> None:
    child = next(each for each in reading.runs if each.run.run_id == "run_child")
    reading.runs.append(replace(child, run=replace(child.run, run_id="run_child_2")))
    asked = {"agent": "policy-researcher"}
    for lane, shown in ((None, "run_child"), ("1", "run_child"), ("2", "run_child_2")):
        params = {**asked, "lane": lane} if lane else asked
        page = await (await client.get("/runs/run_7q2k9fh4", params=params)).text()
        assert f'data-path="/runs/{shown}"' in page
    for lane in ("3", "0", "x", "²"):
        assert (await client.get("/runs/run_7q2k9fh4", params={**asked, "lane": lane})).status == 404


async def test_an_agent_that_is_no_part_of_the_run_is_not_found(client: TestClient) -> None:
    answers = [await client.get("/runs/run_7q2k9fh4", params={"agent": each}) for each in ("run_b", "nobody")]
    assert [answer.status for answer in answers] == [404, 404]


async def test_an_address_may_name_its_colours(client: TestClient) -> None:
    for asked, shown in (("dark", "dark"), ("light", "light"), ("x", "auto")):
        page = await (await client.get("/runs/run_7q2k9fh4", params={"theme": asked})).text()
        assert f'data-theme="{shown}"' in page
