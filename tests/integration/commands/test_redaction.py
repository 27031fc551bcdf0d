"""`watchllm redaction` on a real Postgres: what is set is shown, what cannot be used is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from watchllm_proxy.cli import app


@pytest.fixture(autouse=True)
def installation(postgres_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("WATCHLLM_") and "TEST" not in name]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WATCHLLM_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("WATCHLLM_DATABASE_URL", postgres_dsn)


def watchllm(*words: str, typed: str = "") -> Result:
    return CliRunner().invoke(app, ["redaction", *words], input=typed)


def shown() -> dict[str, object]:
    found: dict[str, object] = json.loads(watchllm("show", "--json").stdout)["redaction"]
    return found


def test_what_is_set_is_shown_and_default_takes_it_back() -> None:
    assert shown() == {"mode": None, "store_content": True, "rules": [], "default_mode": "all"}
    assert "credentials." in watchllm("set", "secrets", "--no-content").stderr
    assert (shown()["mode"], shown()["store_content"]) == ("secrets", False)
    assert "Figures are kept, and no text." in watchllm("show").stdout
    assert watchllm("set", "default", "--content").exit_code == 0
    assert (shown()["mode"], shown()["store_content"]) == (None, True)


def test_rules_are_added_set_anew_and_removed() -> None:
    assert watchllm("add-rule", "employee", "EMP-[0-9]+").exit_code == 0
    assert watchllm("add-rule", "employee", "EMP-[0-9]{6}").exit_code == 0
    assert shown()["rules"] == [{"name": "employee", "pattern": "EMP-[0-9]{6}"}]
    assert "EMP-[0-9]{6}" in watchllm("show").stdout
    assert watchllm("remove-rule", "employee").exit_code == 0
    assert shown()["rules"] == []
    assert "no rule 'employee'" in watchllm("remove-rule", "employee").stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("add-rule", "employee", "("), "cannot be used"),
        (("add-rule", "two words", "x"), "cannot be used"),
        (("set",), "say all, secrets, off or default"),
        (("set", "tender"), "tender"),
        (("set", "off", "-p", "nobody"), "nobody"),
        (("remove-rule", "x", "-p", "nobody"), "nobody"),
    ],
)
def test_what_cannot_be_is_refused_in_words(words: tuple[str, ...], said: str) -> None:
    refused = watchllm(*words)
    assert refused.exit_code != 0
    assert said in refused.stderr
    assert shown()["rules"] == []


def test_a_text_is_tried_as_the_project_has_it() -> None:
    watchllm("add-rule", "employee", "EMP-[0-9]+")
    tried = watchllm("try", typed="EMP-1 wrote to bob@example.com\n")
    assert tried.stdout.startswith("[custom.employee_")
    assert "[email_" in tried.stdout
    assert "1 employee value, 1 e-mail address redacted" in tried.stderr
    watchllm("set", "off")
    assert watchllm("try", typed="EMP-1\n").stdout == "EMP-1\n"
