"""Project keys: shown once, kept as a hash, ended for good."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping
from uuid import uuid4

import asyncpg
import pytest

from watchllm_proxy.errors import StoreRejected
from watchllm_proxy.grants import KeyGrant, Scope
from watchllm_proxy.store import keys, projects
from watchllm_proxy.store.transactions import open_pool


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    opened = await open_pool(postgres_dsn)
    yield opened
    await opened.close()


async def in_force(pool: asyncpg.Pool) -> Mapping[bytes, KeyGrant]:
    _, grants = await keys.load_grants(pool)
    assert grants is not None
    return grants.keys


async def test_a_new_key_is_in_force_by_its_hash_and_nowhere_in_the_clear(pool: asyncpg.Pool) -> None:
    made = await keys.create_key(pool, "default", "laptop")
    assert made.key.startswith("lgw_proj_")
    assert made.key not in repr(made)
    granted = KeyGrant("default", str(made.info.key_id), frozenset({Scope.PROXY, Scope.INGEST}))
    assert await in_force(pool) == {hashlib.sha256(made.key.encode()).digest(): granted}
    stored = str([tuple(row) for row in await pool.fetch("SELECT * FROM api_keys")])
    assert made.key[len(made.info.key_prefix) :] not in stored
    assert await keys.list_keys(pool, "default") == (made.info,)


async def test_a_revoked_key_is_out_of_force_and_stays_listed(pool: asyncpg.Pool) -> None:
    kept, ended = [await keys.create_key(pool, "default", name) for name in ("kept", "ended")]
    assert await keys.revoke_key(pool, "default", ended.info.key_id)
    assert list(await in_force(pool)) == [hashlib.sha256(kept.key.encode()).digest()]
    first = {info.name: info.revoked_at_us for info in await keys.list_keys(pool, "default")}
    assert first["kept"] is None
    assert first["ended"] is not None
    assert await keys.revoke_key(pool, "default", ended.info.key_id)
    assert {info.name: info.revoked_at_us for info in await keys.list_keys(pool, "default")} == first


async def test_a_key_of_another_project_cannot_be_revoked_or_seen(pool: asyncpg.Pool) -> None:
    made = await keys.create_key(pool, "default", "mine")
    assert not await keys.revoke_key(pool, "other", made.info.key_id)
    assert not await keys.revoke_key(pool, "default", uuid4())
    assert await keys.list_keys(pool, "other") == ()
    assert len(await in_force(pool)) == 1


async def test_a_key_needs_a_project(pool: asyncpg.Pool) -> None:
    with pytest.raises(StoreRejected):
        await keys.create_key(pool, "nowhere", "x")


async def test_keys_do_not_repeat(pool: asyncpg.Pool) -> None:
    made = [await keys.create_key(pool, "default", str(number)) for number in range(20)]
    assert len({each.key for each in made}) == len({each.info.key_id for each in made}) == 20


async def test_grants_are_read_again_only_when_a_key_or_a_project_changed(pool: asyncpg.Pool) -> None:
    made = await keys.create_key(pool, "default", "mine")
    mark, grants = await keys.load_grants(pool)
    assert grants is not None
    assert set(grants.projects) == {"default"}
    assert await keys.load_grants(pool, mark) == (mark, None)
    changes = [
        keys.create_key(pool, "default", "another"),
        keys.revoke_key(pool, "default", made.info.key_id),
        projects.create_project(pool, "acme", "Acme"),
        pool.execute("BEGIN; SET LOCAL ROLE watchllm_recorder; UPDATE projects SET name = 'x'; COMMIT"),
    ]
    for change in changes:
        await change
        seen, (mark, grants) = mark, await keys.load_grants(pool, mark)
        assert mark != seen
        assert grants is not None
