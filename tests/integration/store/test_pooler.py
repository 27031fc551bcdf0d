"""Behind a pooler in transaction mode, as Supabase has it: nothing of ours needs, or leaves, a session."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest

from tests.fixtures.pooler import needs_pgbouncer, pooled
from tests.unit.store.batches import bounds
from tests.unit.store.runs import changes_of, explanation, flag, run, step
from watchllm_proxy.store import keys, projects
from watchllm_proxy.store.migrate import migrate_postgres, migrations
from watchllm_proxy.store.postgres import RunStore
from watchllm_proxy.store.reading import StoreReading
from watchllm_proxy.store.shapes import RunQuery
from watchllm_proxy.store.transactions import QUESTION, open_pool, transaction

pytestmark = needs_pgbouncer


@pytest.fixture
def pooled_dsn(postgres_dsn: str) -> Iterator[str]:
    with pooled(postgres_dsn) as dsn:
        yield dsn


async def test_batches_and_questions_share_one_connection_and_nothing_else(pooled_dsn: str) -> None:
    """Eight batches and eight readers of two projects at once, through one server connection."""
    stores = [await RunStore.open(pooled_dsn) for _ in range(2)]
    try:
        await asyncio.gather(*(write(stores[n % 2], n) for n in range(8)))
        seen = await asyncio.gather(*(read(stores[n % 2].pool, ("default", "other")[n % 2]) for n in range(16)))
        assert seen == [8, 0] * 8
        assert len(await stores[0].offsets()) == 1
    finally:
        for store in stores:
            await store.close()


async def write(store: RunStore, number: int) -> None:
    each = run(f"run-{number}")
    key = (each.project_id, each.run_id)
    await store.begin_batch(bounds(number + 1))
    await store.commit_batch(
        bounds(number + 1), changes_of(each, (step(0),)), {key: (flag(),)}, {key: (explanation(0),)}
    )


async def read(pool: asyncpg.Pool, project: str) -> int:
    reading = StoreReading(pool, None, rebuild=lambda skeleton, messages: b"")  # type: ignore[arg-type]
    listed = await reading.list_runs(project, RunQuery())
    assert {row.run.project_id for row in listed.rows} <= {project}
    for row in listed.rows:
        assert len(await reading.get_steps(project, row.run.run_id)) == 1
        assert await reading.get_steps("nobody", row.run.run_id) == []
    return listed.total


async def test_nothing_is_left_on_the_connection_for_the_next_one(pooled_dsn: str) -> None:
    mine, next_one = await open_pool(pooled_dsn, max_size=1), await open_pool(pooled_dsn, max_size=1)
    try:
        async with transaction(mine, QUESTION, "default") as connection:
            pid = await connection.fetchval("SELECT pg_backend_pid()")
        async with next_one.acquire() as connection, connection.transaction():
            left = await connection.fetchrow(
                "SELECT pg_backend_pid(), current_user::text, current_setting('statement_timeout'), "
                "coalesce(current_setting('watchllm.project_id', true), '')"
            )
        assert tuple(left) == (pid, "watchllm_app", "0", "")
    finally:
        await mine.close()
        await next_one.close()


async def number_of_keys(pool: asyncpg.Pool) -> int:
    _, grants = await keys.load_grants(pool)
    assert grants is not None
    return len(grants.keys)


async def test_keys_and_projects_are_made_through_it(pooled_dsn: str) -> None:
    pool = await open_pool(pooled_dsn)
    try:
        assert await projects.create_project(pool, "acme", "Acme")
        made = await keys.create_key(pool, "acme", "laptop")
        assert await number_of_keys(pool) == 1
        assert await keys.revoke_key(pool, "acme", made.info.key_id)
        assert await number_of_keys(pool) == 0
    finally:
        await pool.close()


async def test_migrations_run_through_it_and_two_at_once_wait_for_each_other(empty_postgres_dsn: str) -> None:
    with pooled(empty_postgres_dsn) as dsn:
        applied = await asyncio.gather(migrate_postgres(dsn), migrate_postgres(dsn))
        assert sorted(map(len, applied)) == [0, len(migrations("postgres"))]
