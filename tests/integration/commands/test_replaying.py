"""`watchllm replay --from`: who may, and what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from watchllm_proxy.cli import app
from watchllm_proxy.lifecycle import held, make_data_dir, make_run_dir
from watchllm_proxy.settings import load


@pytest.fixture
def _data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHLLM_DATA_DIR", str(tmp_path))


@pytest.mark.usefixtures("_data_dir")
def test_it_is_refused_while_a_recorder_runs() -> None:
    chosen = load()
    make_data_dir(chosen.data_dir)
    make_run_dir(chosen.run_dir)
    with held(chosen.run_dir / "recorder.lock", "the recorder of this data directory"):
        said = CliRunner().invoke(app, ["replay", "--from", "2026-01-31"])
    assert said.exit_code == 1
    assert "a recorder runs on this data directory" in said.stderr


@pytest.mark.usefixtures("_data_dir")
@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["corpus.jsonl", "--from", "7d"],
        ["--from", "yesterday"],
        ["--from", "2026-01-31", "--to", "2026-01-30"],
    ],
)
def test_what_makes_no_sense_is_wrong_usage(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, ["replay", *arguments]).exit_code == 2
