"""`watchllm keys` and `projects` on a real Postgres: a key is seen once, and nobody's key is somebody else's."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from pathlib import Path

import asyncpg
import pytest
from typer.testing import CliRunner, Result

from watchllm_proxy.cli import app


@pytest.fixture
def installation(postgres_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in [name for name in os.environ if name.startswith("WATCHLLM_") and "TEST" not in name]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WATCHLLM_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("WATCHLLM_DATABASE_URL", postgres_dsn)
    return postgres_dsn


def watchllm(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def new_key(*words: str) -> str:
    made = watchllm("keys", "create", *words)
    assert made.exit_code == 0, made.stderr
    (key,) = made.stdout.split()
    return key


def listed(project: str = "default") -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(watchllm("keys", "list", "-p", project, "--json").stdout)["keys"]
    return found


@pytest.mark.usefixtures("installation")
def test_stdout_is_the_key_and_nothing_else() -> None:
    made = watchllm("keys", "create", "--name", "laptop")
    key = made.stdout.strip()
    assert key.startswith("lgw_proj_")
    assert len(key) - len("lgw_proj_") == 43, "256 bits"
    assert key not in made.stderr
    assert "cannot be shown again" in made.stderr


def test_a_key_is_kept_as_the_hash_of_all_of_it(installation: str) -> None:
    key = new_key()

    async def rows() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(installation)
        try:
            return list(await connection.fetch("SELECT * FROM api_keys"))
        finally:
            await connection.close()

    (row,) = asyncio.run(rows())
    assert row["key_hash"] == hashlib.sha256(key.encode()).digest()
    assert key not in str(dict(row))


@pytest.mark.usefixtures("installation")
def test_a_list_shows_how_a_key_begins_and_whether_it_is_in_force() -> None:
    key = new_key("--name", "laptop")
    table = watchllm("keys", "list")
    assert key[:15] in table.stdout
    assert "in force" in table.stdout
    assert key not in table.stdout
    (info,) = listed()
    assert (info["name"], info["revoked_at"]) == ("laptop", None)
    assert str(info["created_at"]).endswith("Z")


@pytest.mark.usefixtures("installation")
@pytest.mark.parametrize("how", ["the key", "its id", "the beginning of its id"])
def test_a_key_is_revoked_by(how: str) -> None:
    key, other = new_key("-n", "ended"), new_key("-n", "kept")
    assert key != other
    key_id = next(str(info["key_id"]) for info in listed() if info["name"] == "ended")
    ended = watchllm("keys", "revoke", {"the key": key, "its id": key_id}.get(how, key_id[:13]))
    assert ended.exit_code == 0, ended.stderr
    assert {info["name"]: info["revoked_at"] is None for info in listed()} == {"ended": False, "kept": True}


@pytest.mark.usefixtures("installation")
def test_a_key_of_another_project_is_not_there() -> None:
    assert watchllm("projects", "create", "acme", "--name", "Acme Inc").exit_code == 0
    key = new_key("-p", "acme")
    assert watchllm("keys", "revoke", key).exit_code == 3
    assert listed() == []
    assert [info["revoked_at"] for info in listed("acme")] == [None]


@pytest.mark.usefixtures("installation")
def test_projects_are_listed_with_their_keys_in_force() -> None:
    watchllm("projects", "create", "acme", "--name", "Acme Inc")
    watchllm("keys", "revoke", new_key("-p", "acme"), "-p", "acme")
    new_key("-p", "acme")
    found = json.loads(watchllm("projects", "list", "--json").stdout)["projects"]
    assert [(each["project_id"], each["name"], each["keys_in_force"]) for each in found] == [
        ("default", "Default", 0),
        ("acme", "Acme Inc", 1),
    ]
    assert "Acme Inc" in watchllm("projects", "list").stdout


@pytest.mark.usefixtures("installation")
@pytest.mark.parametrize(
    ("words", "exit_code", "said"),
    [
        (("projects", "create", "default"), 1, "already"),
        (("projects", "create", "No Such Name"), 2, "a-z"),
        (("projects", "create", "../etc"), 2, "a-z"),
        (("projects", "create", "x" * 64), 2, "1 to 63"),
        (("keys", "create", "-p", "nowhere"), 3, "projects create"),
        (("keys", "list", "-p", "nowhere"), 3, "projects create"),
        (("keys", "revoke", "-p", "nowhere", "12345678"), 3, "projects create"),
        (("keys", "revoke", "12345678"), 3, "keys list"),
        (("keys", "revoke", "1"), 2, "at least 8"),
        (("keys", "rotate", "12345678"), 3, "keys list"),
        (("keys", "rotate", "12345678", "--grace", "soon"), 2, "15m"),
        (("projects", "revoke", "nowhere", "-y"), 3, "projects create"),
        (("projects", "rotate", "nowhere"), 3, "projects create"),
        (("keys", "list"), 0, "keys create"),
    ],
)
def test_what_cannot_be_done_is_told_with_what_to_do(words: tuple[str, ...], exit_code: int, said: str) -> None:
    result = watchllm(*words)
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert said in result.stderr


def test_without_a_server_the_embedded_one_is_used_and_stopped_again(
    installation: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("WATCHLLM_DATABASE_URL")
    new_key("-n", "first")
    assert not (tmp_path / "postgres" / "data" / "postmaster.pid").exists()
    assert [info["name"] for info in listed()] == ["first"]


@pytest.mark.usefixtures("installation")
def test_a_new_key_sends_and_reports_and_reads_nothing_unless_it_is_said() -> None:
    new_key("-n", "usual")
    new_key("-n", "reader", "-s", "read", "--scope", "admin")
    assert {info["name"]: info["scopes"] for info in listed()} == {
        "usual": ["ingest", "proxy"],
        "reader": ["admin", "read"],
    }
    assert watchllm("keys", "create", "--scope", "fly").exit_code == 2


@pytest.mark.usefixtures("installation")
def test_a_key_is_replaced_by_one_that_may_the_same_and_ends_later() -> None:
    old = new_key("-n", "agent", "-s", "proxy")
    rotated = watchllm("keys", "rotate", old, "--grace", "1h")
    assert rotated.exit_code == 0, rotated.stderr
    assert rotated.stdout.strip() != old
    before, after = listed()
    assert (after["name"], after["scopes"], after["expires_at"]) == ("agent", ["proxy"], None)
    assert (before["replaced_by"], before["revoked_at"]) == (after["key_id"], None)
    assert before["expires_at"] is not None
    assert "ends in" in watchllm("keys", "list").stdout
    again = watchllm("keys", "rotate", old)
    assert (again.exit_code, again.stdout) == (1, "")
    assert "already" in again.stderr


@pytest.mark.usefixtures("installation")
def test_all_keys_of_a_project_are_replaced_or_ended_at_once() -> None:
    watchllm("projects", "create", "acme")
    new_key("-n", "elsewhere")
    olds = {new_key("-p", "acme", "-n", name) for name in ("one", "two")}
    rotated = watchllm("projects", "rotate", "acme", "--grace", "0s", "--json")
    news = {each["key"] for each in json.loads(rotated.stdout)["keys"]}
    assert (len(news), news & olds) == (2, set())
    assert json.loads(watchllm("projects", "list", "--json").stdout)["projects"][1]["keys_in_force"] == 2
    assert "2 keys" in watchllm("projects", "revoke", "acme", "--yes").stderr
    found = json.loads(watchllm("projects", "list", "--json").stdout)["projects"]
    assert [each["keys_in_force"] for each in found] == [1, 0]
    assert watchllm("projects", "revoke", "acme").exit_code == 1, "nobody said yes"
