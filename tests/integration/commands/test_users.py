"""`watchllm users` on a real Postgres: passwords come unseen and are kept as hashes."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import asyncpg
import pytest
from typer.testing import CliRunner, Result

from watchllm_proxy import passwords
from watchllm_proxy.cli import app

PASSWORD = "correct horse battery"


@pytest.fixture
def installation(postgres_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in [name for name in os.environ if name.startswith("WATCHLLM_") and "TEST" not in name]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WATCHLLM_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("WATCHLLM_DATABASE_URL", postgres_dsn)
    return postgres_dsn


def watchllm(*words: str, typed: str = f"{PASSWORD}\n") -> Result:
    return CliRunner().invoke(app, ["users", *words], input=typed)


def listed() -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(watchllm("list", "--json").stdout)["users"]
    return found


def hash_of(dsn: str, name: str) -> str:
    async def ask() -> str:
        connection = await asyncpg.connect(dsn)
        try:
            return str(await connection.fetchval("SELECT password_hash FROM people WHERE user_name = $1", name))
        finally:
            await connection.close()

    return asyncio.run(ask())


def test_somebody_is_let_in_by_a_password_that_is_kept_as_a_hash(installation: str) -> None:
    made = watchllm("create", "ann@example.com", "--scope", "read")
    assert made.exit_code == 0, made.stderr
    assert PASSWORD not in made.output + made.stderr
    assert passwords.is_right(hash_of(installation, "ann@example.com"), PASSWORD)
    (row,) = listed()
    assert (row["user_name"], row["project_id"], row["scopes"]) == ("ann@example.com", "default", ["read"])
    assert "ann@example.com" in watchllm("list").stdout


def test_a_password_is_changed_and_somebody_is_let_in_no_more(installation: str) -> None:
    watchllm("create", "ann")
    before = hash_of(installation, "ann")
    assert watchllm("password", "ann", typed="another fine password\n").exit_code == 0
    assert hash_of(installation, "ann") != before
    assert watchllm("remove", "ann").exit_code == 0
    assert listed() == []
    assert "Nobody" in watchllm("list").stderr


@pytest.mark.usefixtures("installation")
@pytest.mark.parametrize(
    ("words", "typed", "exit_code", "said"),
    [
        (("create", "ann"), "", 2, "stdin"),
        (("create", "ann"), "short\n", 2, "12 to 1000"),
        (("create", "an n"), f"{PASSWORD}\n", 2, "letters"),
        (("create", "ann", "-p", "nowhere"), f"{PASSWORD}\n", 3, "projects create"),
        (("password", "nobody"), f"{PASSWORD}\n", 3, "users list"),
        (("remove", "nobody"), "", 3, "users list"),
    ],
)
def test_what_cannot_be_done_is_told(words: tuple[str, ...], typed: str, exit_code: int, said: str) -> None:
    result = watchllm(*words, typed=typed)
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert said in result.stderr


@pytest.mark.usefixtures("installation")
def test_a_name_is_of_the_whole_installation() -> None:
    assert watchllm("create", "ann").exit_code == 0
    again = watchllm("create", "ann")
    assert again.exit_code == 1
    assert "already" in again.stderr
