"""What holds for every command: where data and talk go, how it ends, and where it leads to."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from watchllm_proxy.cli import app

BASE = "http://127.0.0.1:8787"
NOBODYS_URL = "http://127.0.0.1:9"  # the discard port
PASSWORD = "correct horse battery\n"


@dataclass(frozen=True)
class Typed:
    """A command as it is typed, and the page that its output ends with."""

    words: str
    page: str
    stdin: str = ""
    stdout: str | None = None  # all of it; None: something


# In this order on one installation: each does something.
DONE = (
    Typed("projects create acme", "/settings/projects", stdout=""),
    Typed("projects rename acme Acme", "/settings/projects", stdout=""),
    Typed("projects list", "/settings/projects"),
    Typed("projects plan acme", "/pricing"),
    Typed("projects plan acme pro", "/pricing", stdout=""),
    Typed("projects limits acme --requests-per-minute 60", "/usage", stdout=""),
    Typed("projects flags acme", "/settings/flags"),
    Typed("keys create --name laptop", "/settings/keys"),
    Typed("keys list", "/settings/keys"),
    Typed("keys limits {key} --requests-per-minute 60", "/settings/keys", stdout=""),
    Typed("keys rotate {key}", "/settings/keys"),
    Typed("projects rotate default", "/settings/projects"),
    Typed("keys revoke {key}", "/settings/keys", stdout=""),
    Typed("projects revoke acme --yes", "/settings/projects", stdout=""),
    Typed("provider-keys set", "/settings/keys", stdin="sk-or-v1-secret-wxyz\n", stdout=""),
    Typed("provider-keys list", "/settings/keys"),
    Typed("provider-keys reseal", "/settings/keys", stdout=""),
    Typed("provider-keys remove", "/settings/keys", stdout=""),
    Typed("users create ann@example.com", "/login", stdin=PASSWORD, stdout=""),
    Typed("users list", "/login"),
    Typed("users password ann@example.com", "/login", stdin=PASSWORD, stdout=""),
    Typed("users remove ann@example.com", "/login", stdout=""),
    Typed("redaction show", "/settings/redaction"),
    Typed("redaction set secrets", "/settings/redaction", stdout=""),
    Typed("redaction add-rule staff EMP-[0-9]{{6}}", "/settings/redaction", stdout=""),
    Typed("redaction try", "/settings/redaction", stdin="EMP-123456"),
    Typed("redaction remove-rule staff", "/settings/redaction", stdout=""),
    Typed("prices set some-model input=1 output=2", "/settings/prices", stdout=""),
    Typed("prices list", "/settings/prices"),
    Typed("prices remove some-model", "/settings/prices", stdout=""),
    Typed("usage", "/usage"),
    Typed("retain", "/settings/data"),
    Typed("dead list", "/runs", stdout=""),
    Typed("dead retry --all --no-wait", "/runs", stdout=""),
    Typed("dead drop --all --yes", "/runs", stdout=""),
    Typed("replay {corpus}", "/runs", stdout=""),
)
ELSEWHERE = {
    "runs": "tests/unit/commands/test_reading.py", "show": "there", "tail": "there", "open": "there",
    "diff": "tests/unit/commands/test_comparing.py", "doctor": "tests/unit/commands/test_doctor.py",
    "erase": "test_keeping.py, on both stores", "export": "there", "import": "there",
    "dead show": "test_dead.py, of a record", "prices update": "test_pricing.py, from a source",
    "up": "prints the address it serves", "demo": "prints that of each run", "down": "nothing is served then",
    "proxy": "a part, run by a supervisor", "recorder": "a part", "console": "a part",
    "migrate": "before anything is served", "version": "prints one word",
}  # fmt: skip
"""Commands whose last line is seen by another test, or has none to show."""

UNKNOWN = (
    "projects rename nobody x", "projects revoke nobody --yes", "projects rotate nobody", "projects plan nobody",
    "projects limits nobody --requests-per-minute 1", "projects flags nobody", "keys list -p nobody",
    "keys create -p nobody", "keys rotate lgw_proj_nobody", "keys revoke lgw_proj_nobody",
    "keys limits lgw_proj_nobody --requests-per-minute 1",
    "users remove nobody", "users password nobody", "redaction show -p nobody", "redaction set off -p nobody",
    "redaction remove-rule nobody", "prices remove nobody", "prices set m input=1 -p nobody", "dead show ffffffff",
    "usage -p nobody", "retain --project nobody --days 3", "provider-keys remove -p nobody",
)  # fmt: skip


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Names and commands; typer brings a click of its own."""
    below = getattr(command, "commands", None)
    if below is None:
        yield " ".join(path), command
        return
    for name, each in below.items():
        yield from leaves(each, (*path, name))


ALL = dict(leaves(typer.main.get_command(app)))


@pytest.fixture
def places(postgres_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name in [name for name in os.environ if name.startswith("WATCHLLM_") and "TEST" not in name]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WATCHLLM_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("WATCHLLM_DATABASE_URL", postgres_dsn)
    monkeypatch.setenv("WATCHLLM_SECRET_KEY", "o" * 44)
    monkeypatch.setenv("FORCE_COLOR", "")  # an empty one forces nothing
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("")
    return {"corpus": str(corpus)}


def watchllm(words: str, places: Mapping[str, str], stdin: str = "") -> Result:
    return CliRunner().invoke(app, words.format(**places).split(), input=stdin)


def test_every_command_is_looked_at() -> None:
    typed = {name for name in ALL for each in DONE if (each.words + " ").startswith(name + " ")}
    assert typed | ELSEWHERE.keys() == ALL.keys()
    assert not typed & ELSEWHERE.keys()


def test_each_ends_with_the_page_to_look_at_as_talk_and_says_data_alone_on_stdout(places: dict[str, str]) -> None:
    for each in DONE:
        said = watchllm(each.words, places, each.stdin)
        assert said.exit_code == 0, (each.words, said.output)
        assert said.stderr.splitlines()[-1] == f"open {BASE}{each.page}", (each.words, said.stderr)
        assert "open http" not in said.stdout, each.words
        assert (said.stdout == each.stdout) if each.stdout is not None else said.stdout, (each.words, said.stdout)
        assert "\x1b" not in said.output, each.words
        if each.words.startswith("keys create"):
            places["key"] = said.stdout.strip()[:18]


def test_for_a_program_there_is_json_and_nothing_else(places: dict[str, str]) -> None:
    watchllm("projects create acme", places)
    for each in DONE:
        words = each.words.partition(" --")[0] if each.words.startswith("dead list") else each.words
        name = next(name for name in ALL if (each.words + " ").startswith(name + " "))
        if each.stdout is None and name not in {"keys create", "keys rotate", "redaction try"}:
            said = watchllm(f"{words} --json", places)
            assert said.exit_code == 0, (words, said.output)
            json.loads(said.stdout)
            assert "open http" not in said.stderr, words


@pytest.mark.parametrize("words", UNKNOWN)
def test_what_is_not_there_is_3_and_one_line(places: dict[str, str], words: str) -> None:
    said = watchllm(words, places, PASSWORD)
    assert (said.exit_code, said.stdout) == (3, ""), said.output
    assert said.stderr.splitlines()[-1].startswith("watchllm: ")
    assert "open http" not in said.stderr


@pytest.mark.parametrize("name", sorted(ALL))
def test_wrong_usage_is_2_and_help_is_one_line_away(name: str) -> None:
    said = CliRunner().invoke(app, [*name.split(), "--no-such-option"], prog_name="watchllm")
    assert (said.exit_code, said.stdout) == (2, "")
    assert f"Try 'watchllm {name} -h' for help." in said.stderr
    helped = CliRunner().invoke(app, [*name.split(), "-h"])
    assert helped.exit_code == 0
    assert "Usage: " in helped.stdout
    assert ALL[name].help


@pytest.mark.parametrize("words", ["runs", "show x", "tail", "open x", "diff x 1", "export --as md --run x"])
def test_a_server_that_is_not_there_is_1_and_says_what_to_do(places: dict[str, str], words: str) -> None:
    said = watchllm(f"{words} --url {NOBODYS_URL}", places)
    assert (said.exit_code, said.stdout) == (1, ""), said.output
    assert "watchllm up" in said.stderr
