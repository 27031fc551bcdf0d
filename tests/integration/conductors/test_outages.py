"""Whatever a store does for a while, the recorder waits and goes on by itself: each capture is stored once."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlsplit, urlunsplit

import asyncpg
import pytest

from tests.fixtures.engines import clickhouse_library, run_clickhouse
from tests.fixtures.fault_proxy import FaultProxy
from tests.integration.conductors.recording import Recording, Running, chat, until
from watchllm_proxy.health import StoresAway, checks
from watchllm_proxy.store.clickhouse import AsyncEventStore, ClickHouseServer
from watchllm_proxy.store.migrate import migrate_clickhouse
from watchllm_proxy.store.postgres import RunStore

BEFORE, DURING = 10, 30
RUNS = 4


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to a store, and how it is put right; `is_told`: it lasts, so the recorder says it waits."""

    hurt: Callable[[Scene], Awaitable[object]]
    mend: Callable[[Scene], Awaitable[object]]
    is_told: bool = True


@dataclass(frozen=True, slots=True)
class Scene:
    """A store behind a wire, and its owner, who does not go through it: `sql` runs a statement as the owner."""

    wire: FaultProxy
    sql: Callable[[str], Awaitable[object]]
    database: str


async def nothing(_: Scene) -> None:
    pass


async def refuse(scene: Scene) -> None:
    await asyncio.to_thread(scene.wire.refuse)


async def restore(scene: Scene) -> None:
    await asyncio.to_thread(scene.wire.restore)


async def restart(scene: Scene) -> None:
    for _ in range(5):
        await refuse(scene)
        await restore(scene)
        await asyncio.sleep(0.05)  # five short lives


async def slow(scene: Scene) -> None:
    scene.wire.delay_s = 0.1


async def fast(scene: Scene) -> None:
    scene.wire.delay_s = 0.0


def losing(request: bytes) -> Callable[[Scene], Awaitable[object]]:
    async def lose(scene: Scene) -> None:
        scene.wire.lose_answer_after(request)

    return lose


async def lost(scene: Scene) -> None:
    await until(lambda: scene.wire.answers_lost > 0, "an answer to be lost")


def saying(*statements: str) -> Callable[[Scene], Awaitable[object]]:
    async def say(scene: Scene) -> None:
        for statement in statements:
            await scene.sql(statement.replace("{database}", scene.database))

    return say


HANG_UP = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND usename <> user"
)
POSTGRES = {
    "down": Fault(refuse, restore),
    "restarting": Fault(restart, nothing, is_told=False),
    "slow": Fault(slow, fast, is_told=False),
    "answer lost after the commit": Fault(losing(b"COMMIT\0"), lost, is_told=False),
    "read-only": Fault(
        saying("ALTER DATABASE {database} SET default_transaction_read_only = on", HANG_UP),
        saying("ALTER DATABASE {database} RESET default_transaction_read_only", HANG_UP),
    ),
    "no connection to be had": Fault(
        saying("ALTER DATABASE {database} CONNECTION LIMIT 0", HANG_UP),
        saying("ALTER DATABASE {database} CONNECTION LIMIT -1"),
    ),
    "failing over": Fault(saying(HANG_UP, HANG_UP, HANG_UP), nothing, is_told=False),
    "without a table": Fault(
        saying("ALTER TABLE capture_offsets RENAME TO away"), saying("ALTER TABLE away RENAME TO capture_offsets")
    ),
    "without rights": Fault(
        saying("REVOKE INSERT ON run_links FROM watchllm_recorder"),
        saying("GRANT INSERT ON run_links TO watchllm_recorder"),
    ),
}
MANY_PARTS = "parts_to_throw_insert = {}, parts_to_delay_insert = {}"
CLICKHOUSE = {
    "down": Fault(refuse, restore),
    "restarting": Fault(restart, nothing, is_told=False),
    "slow": Fault(slow, fast, is_told=False),
    "cut off in an insert": Fault(losing(b"request_skeleton"), lost, is_told=False),
    "too many parts": Fault(
        saying(f"ALTER TABLE events MODIFY SETTING {MANY_PARTS.format(1, 1)}"),
        saying(f"ALTER TABLE events MODIFY SETTING {MANY_PARTS.format(3000, 1000)}"),
    ),
    "read-only": Fault(
        saying("ALTER TABLE events MODIFY SETTING table_readonly = 1"),
        saying("ALTER TABLE events MODIFY SETTING table_readonly = 0"),
    ),
    "disk full": Fault(
        saying("ALTER TABLE messages MODIFY SETTING min_free_disk_bytes_to_perform_insert = 1000000000000000000"),
        saying("ALTER TABLE messages MODIFY SETTING min_free_disk_bytes_to_perform_insert = 0"),
    ),
    "without a table": Fault(saying("RENAME TABLE events TO away"), saying("RENAME TABLE away TO events")),
}


async def through(recording: Recording, scene: Scene, fault: Fault, store: str, **stores: object) -> None:
    """Calls before, during and after the fault, of runs that go on through it: each is there once."""
    number = 0

    async def write(count: int) -> None:
        nonlocal number
        for _ in range(count):
            await recording.write([chat(number, run=f"run-{number % RUNS}")])
            number += 1

    async with Running(recording.recorder(**stores)) as recorder:  # type: ignore[arg-type]
        await write(BEFORE)
        await until(lambda: recorder.stats.stored_calls == BEFORE, "the first calls")
        await fault.hurt(scene)
        await write(DURING)
        if fault.is_told:
            await until(lambda: recorder.stats.waiting_for == store, "the recorder to say that it waits")
        await fault.mend(scene)
        await until(lambda: recorder.stats.stored_calls == BEFORE + DURING, "the rest")
        await until(lambda: recorder.stats.waiting_for is None, "all to be well")
        await write(BEFORE)
        await until(lambda: recorder.stats.stored_calls == number, "what came after")

    books = await recording.assert_adds_up()
    assert (books.stored, books.in_log, books.set_aside) == (number, 0, 0)
    assert await recording.count("events FINAL") == number
    assert await recording.in_postgres("SELECT count(*) FROM agent_debug_logs") == RUNS
    assert await recording.in_postgres("SELECT sum(total_calls) FROM agent_debug_logs") == number
    assert await recording.in_postgres("SELECT count(*) FROM agent_debug_steps") == 2 * number


# --- Postgres ---------------------------------------------------------------------------------------


@pytest.fixture
def postgres_wire(postgres_dsn: str) -> Iterator[FaultProxy]:
    socket_dir = parse_qs(urlsplit(postgres_dsn).query)["host"][0]
    with FaultProxy(Path(socket_dir) / ".s.PGSQL.5432") as wire:
        yield wire


@pytest.fixture
async def postgres_scene(postgres_dsn: str, postgres_wire: FaultProxy) -> AsyncIterator[Scene]:
    owner = await asyncpg.connect(postgres_dsn.replace("watchllm_app@", "watchllm_owner@"))
    yield Scene(postgres_wire, owner.execute, urlsplit(postgres_dsn).path.strip("/"))
    await owner.close()


@pytest.mark.parametrize("empty_event_store", ["embedded"], indirect=True)
@pytest.mark.parametrize("fault", POSTGRES)
async def test_postgres(recording: Recording, postgres_scene: Scene, postgres_dsn: str, fault: str) -> None:
    runs = await RunStore.open(on_wire(postgres_dsn, postgres_scene.wire, query=""))
    try:
        await through(recording, postgres_scene, POSTGRES[fault], "postgres", runs=runs)
    finally:
        await runs.close()


# --- ClickHouse -------------------------------------------------------------------------------------


@pytest.fixture
def clickhouse_scene(clickhouse_url: str) -> Iterator[Scene]:
    parts = urlsplit(clickhouse_url)
    assert parts.hostname is not None
    owner = ClickHouseServer(clickhouse_url)

    async def sql(statement: str) -> None:
        await asyncio.to_thread(owner.execute, statement)

    with FaultProxy((parts.hostname, parts.port or 9000)) as wire:
        yield Scene(wire, sql, parts.path.strip("/"))
    owner.close()


@pytest.mark.parametrize("empty_event_store", ["server"], indirect=True)
@pytest.mark.parametrize("fault", CLICKHOUSE)
async def test_clickhouse(recording: Recording, clickhouse_scene: Scene, clickhouse_url: str, fault: str) -> None:
    events = AsyncEventStore(ClickHouseServer(on_wire(clickhouse_url, clickhouse_scene.wire)))
    try:
        await through(recording, clickhouse_scene, CLICKHOUSE[fault], "clickhouse", events=events)
    finally:
        await events.close()


@pytest.mark.parametrize("fault", ["killed and started again", "failing over"])
async def test_clickhouse_whose_process_ends(tmp_path: Path, postgres_dsn: str, fault: str) -> None:
    """Really killed, in the middle of what it does; then it is there again, or another one with the same data."""
    folder = tmp_path / "clickhouse"
    folder.mkdir()
    async with contextlib.AsyncExitStack() as closing:
        started = partial(run_clickhouse, clickhouse_library(), folder)
        url, server = closing.enter_context(started())
        wire = closing.enter_context(FaultProxy(address(url)))

        async def hurt(scene: Scene) -> None:
            await asyncio.to_thread(server.kill if fault == "killed and started again" else server.stop)

        async def mend(scene: Scene) -> None:
            if fault == "failing over":
                other, _ = closing.enter_context(started())
                scene.wire.lead_to(address(other))

        events = AsyncEventStore(ClickHouseServer(on_wire(url, wire)))
        closing.push_async_callback(events.close)
        runs = await RunStore.open(postgres_dsn)
        closing.push_async_callback(runs.close)
        await migrate_clickhouse(events, postgres_dsn)
        recording = Recording(tmp_path / "capture", runs, events, ClickHouseServer(on_wire(url, wire)))
        scene = Scene(wire, recording.in_postgres, "default")
        await through(recording, scene, Fault(hurt, mend), "clickhouse")
        for writer in recording.writers.values():
            await writer.close()
        recording.store.close()


def address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    return parts.hostname, parts.port or 9000


# --- the recorder itself ----------------------------------------------------------------------------


@pytest.mark.parametrize("empty_event_store", ["embedded"], indirect=True)
async def test_a_recorder_that_was_away_for_an_hour_catches_up_and_says_how_far_it_is(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two proxies wrote all the time: what they captured is stored in its order, as if it had been there."""
    monkeypatch.setattr("watchllm_proxy.recorder.BATCH_RECORDS", 100)
    calls, hour_us, now_us = 600, 3_600_000_000, time.time_ns() // 1000
    for number in range(calls):
        ended_at_us = now_us - hour_us + number * hour_us // calls
        await recording.write(
            [chat(number, run=f"run-{number % RUNS}", ended_at_us=ended_at_us)], f"w{number % 2}"
        )
    recorder, lags, told = recording.recorder(), list[float](), list[str]()
    await recorder.take_up(asyncio.Event())
    recorder.stats.is_starting = False
    while recorder.stats.stored_calls < calls:
        if await recorder.run_once():
            lags.append(recorder.stats.lag_s)
            told.append(str(checks(recorder.stats, StoresAway())["recorder"]))
    assert lags == sorted(lags, reverse=True)
    assert lags[0] > 3_500
    assert "s behind" in told[0]
    assert not await recorder.run_once()
    assert checks(recorder.stats, StoresAway())["recorder"] is None

    books = await recording.assert_adds_up()
    assert (books.stored, books.in_log, books.set_aside) == (calls, 0, 0)
    assert await recording.count("events FINAL") == calls
    assert await recording.in_postgres("SELECT count(*) FROM agent_debug_logs") == RUNS
    assert await recording.in_postgres("SELECT min(total_calls) FROM agent_debug_logs") == calls // RUNS
    steps = await recording.runs.pool.fetch("SELECT summary FROM agent_debug_steps ORDER BY run_id, step_index")
    asked = [step["summary"] for step in steps if step["summary"].startswith("Question")]
    assert asked == [f"Question {number}?" for run in range(RUNS) for number in range(run, calls, RUNS)]


def on_wire(url: str, wire: FaultProxy, **changed: str) -> str:
    parts = urlsplit(url)
    user = parts.netloc.rpartition("@")[0]
    return urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{wire.port}", **changed))
