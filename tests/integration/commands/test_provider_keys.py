"""`watchllm provider-keys` on a real Postgres: sealed where they lie, shown to nobody, sealed anew."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import asyncpg
import pytest
from typer.testing import CliRunner, Result

from watchllm_proxy.cli import app
from watchllm_proxy.grants import Grants
from watchllm_proxy.sealing import Vault
from watchllm_proxy.store import keys
from watchllm_proxy.store.transactions import open_pool

OLD, NEW = "o" * 44, "n" * 44
PROVIDER_KEY = "sk-or-v1-secret-of-acme-wxyz"


@pytest.fixture
def installation(postgres_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in [name for name in os.environ if name.startswith("WATCHLLM_") and "TEST" not in name]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WATCHLLM_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("WATCHLLM_DATABASE_URL", postgres_dsn)
    monkeypatch.setenv("WATCHLLM_SECRET_KEY", OLD)
    return postgres_dsn


def watchllm(*words: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(app, ["provider-keys", *words], input=typed)


def grants(dsn: str) -> Grants:
    async def load() -> Grants:
        pool = await open_pool(dsn)
        try:
            _, found = await keys.load_grants(pool)
        finally:
            await pool.close()
        assert found is not None
        return found

    return asyncio.run(load())


def test_what_is_set_reaches_the_proxies_sealed_and_is_shown_to_nobody(installation: str) -> None:
    done = watchllm("set", typed=f"{PROVIDER_KEY}\n")
    assert done.exit_code == 0, done.stderr
    terms = grants(installation).projects["default"]
    assert Vault([OLD]).provider_key(terms) == PROVIDER_KEY.encode()
    listed = watchllm("list", "--json")
    (row,) = json.loads(listed.stdout)["provider_keys"]
    assert (row["project_id"], row["last_four"]) == ("default", "wxyz")
    said = done.output + done.stderr + listed.output + watchllm("list").output
    assert PROVIDER_KEY not in said + str(terms)

    async def stored() -> str:
        connection = await asyncpg.connect(installation)
        try:
            return str(await connection.fetch("SELECT * FROM provider_keys"))
        finally:
            await connection.close()

    assert PROVIDER_KEY not in asyncio.run(stored())


def test_a_secret_is_changed_without_losing_a_provider_key(
    installation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    watchllm("set", typed=PROVIDER_KEY)
    monkeypatch.setenv("WATCHLLM_SECRET_KEY", NEW)
    refused = watchllm("reseal")
    assert refused.exit_code == 1
    assert "default" in refused.stderr
    monkeypatch.setenv("WATCHLLM_SECRET_KEY", f"{NEW},{OLD}")
    assert "1 provider key" in watchllm("reseal").stderr
    assert "0 provider keys" in watchllm("reseal").stderr
    assert Vault([NEW]).provider_key(grants(installation).projects["default"]) == PROVIDER_KEY.encode()


def test_one_that_is_removed_is_gone(installation: str) -> None:
    watchllm("set", typed=PROVIDER_KEY)
    assert watchllm("remove").exit_code == 0
    assert grants(installation).projects["default"].sealed_provider_key is None
    assert watchllm("remove").exit_code == 3
    assert "None" in watchllm("list").stderr


@pytest.mark.usefixtures("installation")
@pytest.mark.parametrize("typed", ["", "\n", "two words", "ümlaut", "a\x00b"])
def test_what_cannot_be_a_provider_key_is_refused(typed: str) -> None:
    assert watchllm("set", typed=typed).exit_code == 2


def test_without_a_secret_nothing_is_set(installation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHLLM_SECRET_KEY")
    refused = watchllm("set", typed=PROVIDER_KEY)
    assert refused.exit_code == 2
    assert "openssl rand" in refused.stderr
    assert grants(installation).projects["default"].sealed_provider_key is None


@pytest.mark.usefixtures("installation")
def test_a_project_that_is_not_there_is_told() -> None:
    refused = watchllm("set", "-p", "nowhere", typed=PROVIDER_KEY)
    assert refused.exit_code == 3
    assert "projects create" in refused.stderr
