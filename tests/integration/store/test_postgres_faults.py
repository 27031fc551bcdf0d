"""Bad days of a real Postgres: each is told apart, waited for, and over when it is over."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from tests.fixtures.fault_proxy import FaultProxy
from tests.unit.store.batches import bounds
from tests.unit.store.runs import changes_of, outline, run, step
from watchllm_proxy.errors import StoreUnavailable
from watchllm_proxy.store import transactions
from watchllm_proxy.store.embedded import EmbeddedPostgres
from watchllm_proxy.store.migrate import migrate_postgres
from watchllm_proxy.store.postgres import RunStore
from watchllm_proxy.store.postgres_errors import StoreConflict
from watchllm_proxy.store.transactions import BATCH, QUESTION, open_pool, transaction

WAIT_S = 60.0


@pytest.fixture
async def store(postgres_dsn: str) -> AsyncIterator[RunStore]:
    opened = await RunStore.open(postgres_dsn)
    yield opened
    await opened.close()


@pytest.fixture
async def owner(postgres_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(postgres_dsn.replace("//watchllm_app@", "//watchllm_owner@"))
    yield connection
    await connection.close()


async def stored(store: RunStore, number: int = 1) -> None:
    await store.commit_batch(bounds(number), changes_of(run(), (step(0),)), {}, {})


async def waiting_backend(owner: asyncpg.Connection) -> int:
    """The pid of the one connection that waits for a lock, as soon as there is one."""
    async with asyncio.timeout(WAIT_S):
        while True:
            pid = await owner.fetchval(
                "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            if pid is not None:
                return int(pid)
            await asyncio.sleep(0.01)


# --- conflicts: tried again at once -----------------------------------------------------------------


async def test_a_batch_that_is_the_victim_of_a_deadlock_is_stored_all_the_same(
    store: RunStore, owner: asyncpg.Connection
) -> None:
    a, b = run("run-a"), run("run-b")
    await store.commit_batch(bounds(1), replace(changes_of(a), runs=(a, b)), {}, {})
    await owner.execute("SET deadlock_timeout = '1min'")  # so that it is the other side that finds out
    async with owner.transaction():
        await owner.execute("UPDATE agent_debug_logs SET title = 'mine' WHERE run_id = 'run-b'")
        second = replace(changes_of(a), runs=(replace(a, title="new"), replace(b, title="new")))
        commit = asyncio.ensure_future(store.commit_batch(bounds(2), second, {}, {}))
        victim = await waiting_backend(owner)  # it has run-a, and waits for run-b
        await owner.execute("UPDATE agent_debug_logs SET title = 'mine' WHERE run_id = 'run-a'")
        assert not commit.done(), f"backend {victim} gave way, and the batch waits once more"
    await commit
    found = await store.load_runs([(each.project_id, each.run_id) for each in (a, b)])
    assert [each.title for each, _ in found] == ["new", "new"]


async def test_a_lock_that_is_not_to_be_had_in_time_is_a_conflict(
    store: RunStore, owner: asyncpg.Connection
) -> None:
    async with owner.transaction():
        await owner.execute("LOCK TABLE agent_debug_logs IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StoreConflict, match="55P03"):
            async with transaction(store.pool, replace(BATCH, lock_timeout_ms=20)) as connection:
                await connection.execute("DELETE FROM agent_debug_logs")


async def test_two_writers_of_one_row_at_the_strictest_isolation_are_a_conflict(
    store: RunStore, owner: asyncpg.Connection
) -> None:
    await stored(store)

    async def second() -> None:
        async with transaction(store.pool, replace(BATCH, isolation="repeatable_read")) as connection:
            await connection.fetch("SELECT * FROM agent_debug_logs")
            await owner.execute("UPDATE agent_debug_logs SET title = 'first'")
            await connection.execute("UPDATE agent_debug_logs SET title = 'second'")

    with pytest.raises(StoreConflict, match="40001"):
        await second()


# --- limits of time ---------------------------------------------------------------------------------


async def test_the_server_ends_a_statement_that_takes_too_long(store: RunStore) -> None:
    with pytest.raises(StoreUnavailable, match="57014"):
        async with transaction(store.pool, replace(QUESTION, statement_timeout_ms=20)) as connection:
            await connection.execute("SELECT pg_sleep(60)")
    await stored(store)


async def test_the_server_ends_a_transaction_that_hangs_with_its_locks(
    store: RunStore, owner: asyncpg.Connection
) -> None:

    async def hang() -> None:
        async with transaction(store.pool, replace(BATCH, idle_timeout_ms=20)) as connection:
            await connection.execute("LOCK TABLE agent_debug_logs IN ACCESS EXCLUSIVE MODE")
            async with asyncio.timeout(WAIT_S):
                await owner.execute("LOCK TABLE agent_debug_logs IN SHARE MODE; SELECT 1")  # waits until it is cut
            await connection.execute("SELECT 1")

    with pytest.raises(StoreUnavailable):
        await hang()
    await stored(store)


async def test_a_server_that_answers_nothing_is_away_after_the_last_resort(
    postgres: EmbeddedPostgres, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch, owner: asyncpg.Connection
) -> None:
    monkeypatch.setattr(transactions, "COMMAND_TIMEOUT_S", 0.2)
    pool = await open_pool(postgres_dsn)
    try:
        with pytest.raises(StoreUnavailable, match="does not answer in time"):
            async with transaction(pool, QUESTION) as connection:
                await connection.execute("SELECT pg_sleep(60)")
    finally:
        await pool.close()


async def test_who_gets_no_connection_of_the_pool_is_told_so_in_time(
    postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "ACQUIRE_TIMEOUT_S", 0.1)
    pool = await open_pool(postgres_dsn, max_size=1)
    try:
        async with transaction(pool, QUESTION):
            with pytest.raises(StoreUnavailable):
                async with transaction(pool, QUESTION):
                    pytest.fail("there is only one connection")
        async with transaction(pool, QUESTION) as connection:
            assert await connection.fetchval("SELECT 1") == 1
    finally:
        await pool.close()


# --- away for a while -------------------------------------------------------------------------------


async def test_a_connection_that_is_terminated_costs_one_try(store: RunStore, owner: asyncpg.Connection) -> None:
    async with owner.transaction():
        await owner.execute("LOCK TABLE capture_offsets IN ACCESS EXCLUSIVE MODE")
        commit = asyncio.ensure_future(stored(store))
        await owner.execute("SELECT pg_terminate_backend($1)", await waiting_backend(owner))
        with pytest.raises(StoreUnavailable):
            await commit
    await stored(store)


async def test_a_database_that_takes_no_writes_is_away_until_it_does(
    store: RunStore, owner: asyncpg.Connection, postgres_dsn: str
) -> None:
    """As a standby is after a fail-over."""
    name = await owner.fetchval("SELECT current_database()")
    await owner.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    reopened = await RunStore.open(postgres_dsn)
    try:
        with pytest.raises(StoreUnavailable, match="25006"):
            await stored(reopened)
        assert (await reopened.load_state(settled_for_us=0)).outlines == ()
    finally:
        await reopened.close()
    await stored(store)


async def test_a_database_that_is_full_of_connections_is_away(
    postgres_dsn: str, owner: asyncpg.Connection
) -> None:
    name = await owner.fetchval("SELECT current_database()")
    pool = await open_pool(postgres_dsn, min_size=0)
    try:
        await owner.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 0")
        with pytest.raises(StoreUnavailable, match="53300"):
            async with transaction(pool, QUESTION):
                pytest.fail("there is no room for it")
        await owner.execute(f"ALTER DATABASE {name} CONNECTION LIMIT -1")
        async with transaction(pool, QUESTION) as connection:
            assert await connection.fetchval("SELECT 1") == 1
    finally:
        await pool.close()


@pytest.mark.parametrize(
    ("there", "gone", "sqlstate"),
    [("watchllm_app@", "nobody_of_that_name@", "28000"), ("/test_", "/no_such_", "3D000")],
)
async def test_a_role_or_a_database_that_is_not_there_is_away(
    postgres_dsn: str, there: str, gone: str, sqlstate: str
) -> None:
    with pytest.raises(StoreUnavailable, match=sqlstate):
        await open_pool(postgres_dsn.replace(there, gone, 1))


async def test_a_role_that_was_given_nothing_is_told_what_to_do(
    postgres: EmbeddedPostgres, postgres_dsn: str, owner: asyncpg.Connection
) -> None:
    await owner.execute("CREATE ROLE stranger LOGIN")
    pool = await open_pool(postgres_dsn.replace("watchllm_app@", "stranger@", 1))
    try:
        with pytest.raises(StoreUnavailable, match="watchllm migrate"):
            async with transaction(pool, QUESTION):
                pytest.fail("it is no member of the role")
    finally:
        await pool.close()
        await owner.execute("DROP ROLE stranger")


async def test_an_answer_that_is_lost_after_the_commit_stores_nothing_twice(
    postgres: EmbeddedPostgres, postgres_dsn: str
) -> None:
    with FaultProxy(socket_of(postgres)) as wire:
        store = await RunStore.open(over(wire, postgres_dsn))
        try:
            wire.lose_answer_after(b"COMMIT")
            with pytest.raises(StoreUnavailable):
                await stored(store)
            assert wire.answers_lost == 1
            await stored(store)
            assert len((await store.load_state(settled_for_us=0)).outlines) == 1
        finally:
            await store.close()


def socket_of(postgres: EmbeddedPostgres) -> Path:
    return Path(postgres.dsn.split("host=")[1].replace("%2F", "/")) / ".s.PGSQL.5432"


def over(wire: FaultProxy, dsn: str) -> str:
    return f"{dsn.split('?', maxsplit=1)[0].replace('@/', f'@127.0.0.1:{wire.port}/')}?sslmode=disable"


# --- a server that crashes --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own_server() -> Iterator[EmbeddedPostgres]:
    """One that may be killed."""
    with tempfile.TemporaryDirectory(prefix="watchllm-test-") as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres")
        server.start()
        try:
            asyncio.run(migrate_postgres(server.owner_dsn))
            yield server
        finally:
            server.stop()


async def test_a_server_that_is_stopped_in_the_middle_and_started_again(own_server: EmbeddedPostgres) -> None:
    """`pg_ctl stop -m immediate`: no goodbye, no checkpoint; what was committed is there after it."""
    store = await RunStore.open(own_server.dsn)
    try:
        await stored(store)
        async with asyncio.timeout(WAIT_S):
            assert own_server.pid is not None
            os.kill(own_server.pid, signal.SIGQUIT)
            while own_server.pid is not None:
                await asyncio.sleep(0.01)
        with pytest.raises(StoreUnavailable):
            await stored(store, 2)
        with pytest.raises(StoreUnavailable):
            await store.ping()
        await asyncio.to_thread(own_server.start)
        assert (await store.load_state(settled_for_us=0)).outlines == (outline(run()),), (
            "by the same pool, which nobody had to repair"
        )
        await stored(store, 2)
    finally:
        await store.close()
