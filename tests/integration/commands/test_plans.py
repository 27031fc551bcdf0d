"""`watchllm projects plan|limits`, `keys limits` and `usage` against a real Postgres."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace

import pytest
from typer.testing import CliRunner, Result

from watchllm_proxy.cli import app
from watchllm_proxy.store import project_settings
from watchllm_proxy.store.transactions import open_pool


@pytest.fixture(autouse=True)
def _database(postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHLLM_DATABASE_URL", postgres_dsn)


def watchllm(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "200", "NO_COLOR": "1"})


def test_a_plan_is_given_and_shown_beside_the_others() -> None:
    assert re.search(r"^self_hosted \*", watchllm("projects", "plan", "default").stdout, flags=re.MULTILINE)
    done = watchllm("projects", "plan", "default", "free")
    assert done.exit_code == 0, done.stderr
    assert "has the plan free" in done.stderr
    shown = watchllm("projects", "plan", "default").stdout
    assert re.search(r"^free \* +\$0 +1,000 +7 d +events$", shown, flags=re.MULTILINE)
    assert re.search(r"^enterprise +\$499 +unlimited +365 d", shown, flags=re.MULTILINE)


def test_a_plan_that_is_asked_for_is_listed_and_answered_by_giving_one(postgres_dsn: str) -> None:
    async def ask() -> None:
        pool = await open_pool(postgres_dsn)
        await project_settings.change(pool, "default", lambda now: replace(now, plan="free", wanted_plan="pro"))
        await pool.close()

    asyncio.run(ask())
    assert re.search(r"^default +0 +free, asks for pro ", watchllm("projects", "list").stdout, flags=re.MULTILINE)
    watchllm("projects", "plan", "default", "starter")
    (listed,) = json.loads(watchllm("projects", "list", "--json").stdout)["projects"]
    assert (listed["plan"], listed["wanted_plan"]) == ("starter", None)


def test_a_project_is_called_something_else() -> None:
    assert watchllm("projects", "rename", "default", "The shop").exit_code == 0
    assert "The shop" in watchllm("projects", "list").stdout
    assert watchllm("projects", "rename", "nobody", "x").exit_code == 3
    assert watchllm("projects", "rename", "default", " ").exit_code == 2


def test_a_plan_or_project_that_is_not_there_is_told() -> None:
    assert watchllm("projects", "plan", "default", "golden").exit_code == 2
    assert watchllm("projects", "plan", "nobody", "free").exit_code == 3
    assert watchllm("projects", "limits", "nobody").exit_code == 3
    assert watchllm("usage", "--project", "nobody").exit_code == 3


def test_limits_of_a_project_are_set_one_by_one_and_taken_back() -> None:
    first = watchllm("projects", "limits", "default", "--requests-per-minute", "60", "--over-quota", "pass")
    assert "requests are passed; 60 requests a minute, no cap on money" in first.stderr
    second = watchllm("projects", "limits", "default", "--monthly-cap-usd", "12.50")
    assert "requests are passed; 60 requests a minute, $12.5000 a month" in second.stderr
    third = watchllm("projects", "limits", "default", "--requests-per-minute", "none")
    assert "any number of requests a minute, $12.5000 a month" in third.stderr


@pytest.mark.parametrize(
    "wrong",
    [
        ["--requests-per-minute", "0"],
        ["--requests-per-minute", "many"],
        ["--monthly-cap-usd", "-1"],
        ["--monthly-cap-usd", "NaN"],
        ["--over-quota", "ignore"],
    ],
    ids=" ".join,
)
def test_what_is_no_limit_is_told(wrong: list[str]) -> None:
    assert watchllm("projects", "limits", "default", *wrong).exit_code == 2


def test_limits_of_a_key_are_set_by_the_beginning_of_its_id() -> None:
    assert watchllm("keys", "create").exit_code == 0
    key_id = json.loads(watchllm("keys", "list", "--json").stdout)["keys"][0]["key_id"]
    done = watchllm("keys", "limits", key_id[:8], "--requests-per-minute", "7")
    assert done.exit_code == 0, done.stderr
    assert "7 requests a minute, no cap on money" in done.stderr
    assert watchllm("keys", "limits", "00000000").exit_code == 3


def test_usage_of_a_month_without_requests_is_nothing() -> None:
    assert watchllm("projects", "plan", "default", "free").exit_code == 0
    done = watchllm("usage", "--month", "2026-11")
    assert "0 requests of 1,000 (0 %) in 2026-11." in done.stderr
    assert json.loads(watchllm("usage", "--month", "2026-11", "--json").stdout) == {
        "month": "2026-11",
        "requests": 0,
        "quota": 1000,
        "days": [],
    }
    assert watchllm("usage", "--month", "November").exit_code == 2
