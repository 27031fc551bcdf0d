"""`watchllm erase | retain | export | import` as a person types them, on real servers and without a recorder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.unit.store.batches import bounds, busy_calls
from watchllm_proxy.cli import app
from watchllm_proxy.store.clickhouse import ClickHouseServer
from watchllm_proxy.store.event_rows import event_inserts


@pytest.fixture(autouse=True)
def installation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, postgres_dsn: str, clickhouse_url: str) -> Path:
    monkeypatch.setenv("WATCHLLM_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("WATCHLLM_DATABASE_URL", postgres_dsn)
    monkeypatch.setenv("WATCHLLM_CLICKHOUSE_URL", clickhouse_url)
    return tmp_path


def run(*words: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(app, list(words), input=typed)


def test_a_run_is_erased_after_a_yes_and_the_counts_are_told(clickhouse_url: str) -> None:
    assert run("erase", "--run", "nothing-yet", "--yes").exit_code == 0  # makes the tables
    store = ClickHouseServer(clickhouse_url)
    for insert in event_inserts(busy_calls(20), bounds(), keep_raw_days=1):
        store.insert(*insert)
    refused = run("erase", "--run", "run-1", typed="n\n")
    assert (refused.exit_code, store.query("SELECT count() AS rows FROM events")) == (1, [{"rows": 20}])
    assert "run 'run-1' of project 'default' for good?" in refused.output
    done = run("erase", "--run", "run-1", "--yes", "--json")
    assert done.exit_code == 0, done.output
    erased = json.loads(done.stdout)["erased"]
    assert (erased["calls"], erased["messages"], erased["bodies"]) == (10, 10, 10)
    assert store.query("SELECT count() AS rows FROM events") == [{"rows": 10}]
    store.close()


def test_an_erasure_of_nothing_says_so() -> None:
    nothing = run("erase", "--user", "nobody", "--project", "mistyped", "--yes")
    assert (nothing.exit_code, "There was nothing of it." in nothing.stderr) == (0, True)


@pytest.mark.parametrize("words", [(), ("--run", "a", "--user", "b"), ("--run", ""), ("--project", "")])
def test_what_to_erase_must_be_said(words: tuple[str, ...]) -> None:
    assert run("erase", "--yes", *words).exit_code == 2


def test_retention_is_shown_and_changed_by_project() -> None:
    assert json.loads(run("retain", "--json").stdout) == {"default_days": 90, "projects": {}}
    assert run("retain", "--project", "nobody", "--days", "7").exit_code == 3
    assert run("retain", "--days", "7").exit_code == 0
    assert "project default: 7 days" in run("retain").stdout
    assert run("retain", "--days", "7", "--default").exit_code == 2
    assert run("retain", "--default", "--now").exit_code == 0
    assert json.loads(run("retain", "--json").stdout)["projects"] == {}


def test_an_export_is_a_new_file_of_ours_alone_and_can_be_imported(installation: Path) -> None:
    target = installation / "runs.ndjson"
    assert run("export", "--to", str(target)).exit_code == 0
    assert target.stat().st_mode & 0o777 == 0o600
    assert run("export", "--to", str(target)).exit_code == 2, "what is there is not overwritten"
    assert run("import", str(target)).exit_code == 0
    assert run("export", "--run", "nobody").exit_code == 3
    assert run("export").exit_code == 0, "a project may have no runs"
    assert run("export", "--project", "nobody").exit_code == 3, "no backup of a name that was mistyped"
    assert run("import", "--project", "nobody", str(target)).exit_code == 1
    target.write_bytes(target.read_bytes()[:-5])
    damaged = run("import", str(target))
    assert (damaged.exit_code, "cut short" in damaged.output) == (1, True)
