"""`watchllm projects flags` against a real Postgres."""

from __future__ import annotations

import json
import re

import pytest
from typer.testing import CliRunner, Result

from watchllm_proxy.cli import app
from watchllm_proxy.enrich.flags.thresholds import CHOICES


@pytest.fixture(autouse=True)
def _database(postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHLLM_DATABASE_URL", postgres_dsn)


def flags(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["projects", "flags", *arguments], env={"COLUMNS": "200", "NO_COLOR": "1"})


def test_thresholds_are_shown_changed_by_name_and_taken_back() -> None:
    shown = flags("default").stdout
    assert [name for name in CHOICES if not re.search(rf"^{name} ", shown, flags=re.MULTILINE)] == []
    done = flags("default", "loop_times=5", "run_budget_usd=0.25")
    assert done.exit_code == 0, done.stderr
    assert re.search(r"^loop_times +5 +3 ", done.stdout, flags=re.MULTILINE)
    assert json.loads(flags("default", "--json").stdout) == {"loop_times": 5, "run_budget_usd": 0.25}
    assert json.loads(flags("default", "loop_times=default", "--json").stdout) == {"run_budget_usd": 0.25}


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["nobody"], 3, "there is no project 'nobody'"),
        (["nobody", "loop_times=4"], 3, "there is no project"),
        (["default", "loops=4"], 2, "there is no 'loops'; there are loop_times"),
        (["default", "loop_times"], 2, "loop_times is a whole number from 2 to 1,000"),
        (["default", "loop_times=4.5"], 2, "or default"),
        (["default", "high_cost_share=nan"], 2, "high_cost_share is a number from 0.01 to 1"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_changed(arguments: list[str], status: int, said: str) -> None:
    refused = flags(*arguments)
    assert (refused.exit_code, refused.stdout) == (status, "")
    assert said in refused.stderr
    assert json.loads(flags("default", "--json").stdout) == {}
