"""The run store on a real server: what goes in comes out, all of a batch or nothing, whatever the values."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.unit.store.batches import bounds
from tests.unit.store.runs import NOW_US, anchor, changes_of, explanation, flag, outline, run, step
from watchllm_proxy.errors import StoreRejected, StoreUnavailable
from watchllm_proxy.outcomes import DeadLetterReason
from watchllm_proxy.records import (
    BatchBounds,
    Confidence,
    Link,
    LinkKind,
    LogPosition,
    Placement,
    RunChanges,
    RunStatus,
)
from watchllm_proxy.sessionize.text_index import INDEXED_KINDS
from watchllm_proxy.store.embedded import EmbeddedPostgres
from watchllm_proxy.store.postgres import KEPT_ANCHORS, KEPT_TEXTS, DeadLetter, PendingBatch, RunStore
from watchllm_proxy.store.transactions import open_pool

KEY = ("default", "run-1")


@pytest.fixture
async def store(postgres_dsn: str) -> AsyncIterator[RunStore]:
    opened = await RunStore.open(postgres_dsn)
    yield opened
    await opened.close()


async def test_the_application_is_neither_superuser_nor_owner(store: RunStore) -> None:
    row = await store.pool.fetchrow(
        "SELECT rolsuper, rolbypassrls, "
        "(SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tableowner = current_user) AS owned "
        "FROM pg_roles WHERE rolname = current_user"
    )
    assert tuple(row) == (False, False, 0)


async def test_state_comes_back_as_it_was_committed(store: RunStore) -> None:
    steps = (step(0), step(1, cost_usd=Decimal("0.0000001234567890123"), call_id=uuid4(), is_priced=True), step(2))
    anchors = (anchor("id-1", seq=1), anchor("id-2", step_index=None, seq=2))
    await store.commit_batch(bounds(1), changes_of(run(), steps, anchors), {KEY: (flag(),)}, {})
    assert await store.load_runs([KEY]) == [(run(), steps)]
    state = await store.load_state(settled_for_us=0)
    assert state.anchors == anchors
    assert all(type(each.call_id) is UUID for each in state.anchors)
    assert state.outlines == (outline(run()),)


async def test_a_later_batch_replaces_what_it_changes_and_nothing_else(store: RunStore) -> None:
    await store.commit_batch(bounds(1), changes_of(run(), (step(0), step(1))), {}, {KEY: (explanation(1),)})
    ended = replace(run(), status=RunStatus.COMPLETED, ended_at_us=NOW_US + 5)
    changed = step(1, summary="now with its result", duration_us=12)
    await store.commit_batch(bounds(2), changes_of(ended, (changed, step(2))), {}, {KEY: ()})
    assert await store.load_runs([KEY]) == [(ended, (step(0), changed, step(2)))]
    assert await store.pool.fetchval("SELECT count(*) FROM agent_debug_explanations") == 0


async def test_the_last_of_equal_keys_in_a_batch_counts(store: RunStore) -> None:
    changes = RunChanges(
        runs=(run(), replace(run(), title="second")),
        steps=((*KEY, step(0)), (*KEY, step(0, summary="second"))),
        anchors=(anchor("same", step_index=1), anchor("same", step_index=2)),
    )
    await store.commit_batch(bounds(1), changes, {}, {})
    ((stored, steps),) = await store.load_runs([KEY])
    assert (stored.title, steps[0].summary) == ("second", "second")
    state = await store.load_state(settled_for_us=0)
    assert [each.step_index for each in state.anchors] == [2]


async def test_offsets_move_with_the_rows_and_only_those_of_the_batch(store: RunStore) -> None:
    two = BatchBounds({}, {"w0": LogPosition(0, 10), "w1": LogPosition(3, 2**40)}, NOW_US)
    await store.commit_batch(two, RunChanges(), {}, {})
    await store.commit_batch(BatchBounds({}, {"w0": LogPosition(1, 0)}, NOW_US), RunChanges(), {}, {})
    assert await store.offsets() == {"w0": LogPosition(1, 0), "w1": LogPosition(3, 2**40)}


async def test_a_pending_batch_is_found_again_until_it_is_committed(store: RunStore, postgres_dsn: str) -> None:
    assert await store.pending() is None
    batch = BatchBounds({"w0": LogPosition(1, 2)}, {"w0": LogPosition(1, 3), "w1": LogPosition(0, 9)}, NOW_US)
    await store.begin_batch(bounds(7))
    await store.begin_batch(batch)
    pool = await open_pool(postgres_dsn)
    try:
        assert await RunStore(pool).pending() == batch
        assert await RunStore(pool, recorder="another").pending() is None
    finally:
        await pool.close()
    await store.commit_batch(batch, RunChanges(), {}, {})
    assert await store.pending() is None


async def test_each_start_counts_itself_and_a_cut_batch_leaves_how_far_it_reached(store: RunStore) -> None:
    far, near = (BatchBounds({}, {"w0": LogPosition(1, end)}, NOW_US) for end in (900, 400))
    await store.begin_batch(far)
    assert await store.take_up_pending() == PendingBatch(far, 1)
    await store.cut_batch(far, near)
    assert await store.take_up_pending() == PendingBatch(near, 2), "starts count on"
    await store.cut_batch(near, bounds(1))
    assert await store.tried() == {"w0": LogPosition(1, 900)}, "what reached further stays"
    assert await store.offsets() == {"w0": LogPosition(0, 0)}, "nothing is stored yet"
    await store.commit_batch(near, RunChanges(), {}, {})
    assert await store.tried() == {"w0": LogPosition(1, 900)}
    await store.commit_batch(far, RunChanges(), {}, {})
    assert await store.tried() == {}
    assert await store.take_up_pending() is None


async def test_time_that_passes_without_records_moves_no_offset_and_ends_no_batch(store: RunStore) -> None:
    await store.begin_batch(bounds(1))
    await store.commit_batch(None, changes_of(run()), {}, {})
    assert await store.offsets() == {}
    assert await store.pending() == bounds(1)
    assert [stored for stored, _ in await store.load_runs([KEY])] == [run()]


async def test_dead_letters_keep_their_bytes_and_are_counted_once(store: RunStore) -> None:
    dead = DeadLetter("w0", uuid4(), DeadLetterReason.REJECTED, "why\0", b"\0\xff bytes")
    for number in (1, 2):
        await store.commit_batch(bounds(number), RunChanges(), {}, {}, (dead,))
    (kept,) = await store.pool.fetch("SELECT reason, payload FROM dead_letters")
    assert (kept["reason"], kept["payload"]) == (DeadLetterReason.REJECTED, b"\0\xff bytes")


POISON_TEXTS = ["nul\0", "\ud800 lone", "\udcff", "\uffff", "\\u0000", "x" * 1_000_000, "\U0001f600"]


@pytest.mark.parametrize("poison", POISON_TEXTS, ids=lambda text: ascii(text[:12]))
async def test_no_text_can_fail_a_batch(store: RunStore, poison: str) -> None:
    poisoned = replace(
        run(), title=poison, agent_name=poison, user_id=poison, session_id=poison, parent_run_id=poison,
        tags=((poison, poison),),
    )  # fmt: skip
    bad_step = step(
        0, summary=poison, decision=poison, tool=poison, tool_args=poison, error_message=poison, model=poison
    )
    link = Link(LinkKind.ISSUED_ID, poison, Confidence.CERTAIN)
    changes = RunChanges(
        runs=(poisoned,),
        steps=((*KEY, bad_step),),
        placements=(Placement(uuid4(), *KEY, poison, None, (link,)),),
        anchors=(anchor(poison),),
    )
    flags = {KEY: (replace(flag(), message=poison),)}
    explanations = {KEY: (replace(explanation(0), text=poison, rules_matched=(poison,)),)}
    await store.commit_batch(bounds(1), changes, flags, explanations)
    assert len(await store.load_runs([KEY])) == 1
    state = await store.load_state(settled_for_us=0)
    assert len(state.outlines) == 1
    assert state.anchors[0].value == poison, "an anchor is compared with later values: it is kept exactly"


@pytest.mark.parametrize(
    "figure", [Decimal("NaN"), Decimal("Infinity"), Decimal("1e1000"), Decimal("1e-400"), Decimal(-1), None]
)
async def test_no_figure_can_fail_a_batch(store: RunStore, figure: Decimal | None) -> None:
    huge = 10**30
    poisoned = replace(
        run(), total_cost_usd=figure, input_tokens=huge, output_tokens=-huge, total_steps=huge, started_at_us=huge
    )
    bad_step = step(0, cost_usd=figure, input_tokens=huge, http_status=huge, duration_us=huge, started_at_us=-huge)
    await store.commit_batch(bounds(1), changes_of(poisoned, (bad_step,)), {}, {})
    assert await store.pool.fetchval("SELECT count(*) FROM agent_debug_steps") == 1


async def test_overlong_ids_are_shortened_alike_everywhere(store: RunStore) -> None:
    long_id = "r" * 50_000
    changes = changes_of(replace(run(), run_id=long_id), (step(0),), (replace(anchor("x"), run_id=long_id),))
    await store.commit_batch(bounds(1), changes, {("default", long_id): (flag(),)}, {})
    ((stored, steps),) = await store.load_runs([("default", long_id)])
    assert (stored.run_id, len(steps)) == (long_id, 1), "asked for by its whole id, it comes under that"
    state = await store.load_state(settled_for_us=0)
    assert state.anchors[0].run_id == state.outlines[0].run_id
    assert len(state.outlines[0].run_id) < 1000


async def test_a_run_older_than_the_horizon_is_loaded_only_by_its_id(store: RunStore) -> None:
    day_us = 86_400_000_000
    old = replace(run("old"), last_activity_at_us=NOW_US - 2 * day_us)
    await store.commit_batch(bounds(1, now_us=NOW_US - 2 * day_us), changes_of(old, (step(0),)), {}, {})
    await store.commit_batch(bounds(2, now_us=NOW_US), changes_of(run("new"), (step(0),)), {}, {})
    assert [each.run_id for each in (await store.load_state(settled_for_us=0)).outlines] == ["new"]
    again = await store.load_runs([("default", "old"), ("default", "never was"), ("other", "new")])
    assert again == [(old, (step(0),))]


async def test_of_finished_runs_that_nobody_named_only_fresh_ones_are_loaded(store: RunStore) -> None:
    """By the log's own time: the newest activity of all, whoever's it is."""
    hour_us = 3_600_000_000
    done = replace(run("done"), status=RunStatus.COMPLETED, last_activity_at_us=NOW_US - hour_us)
    named = replace(done, run_id="named", is_explicit=True)
    failed = replace(done, run_id="failed", status=RunStatus.FAILED)
    fresh = replace(done, run_id="fresh", last_activity_at_us=NOW_US - hour_us // 2 + 1)
    await store.commit_batch(bounds(1), RunChanges(runs=(done, named, failed, fresh, run("new"))), {}, {})
    state = await store.load_state(settled_for_us=hour_us // 2)
    assert sorted(each.run_id for each in state.outlines) == ["failed", "fresh", "named", "new"]


async def test_only_the_anchors_put_last_are_kept(store: RunStore) -> None:
    """Of texts fewer than of ids, though both are counted together."""
    newest = KEPT_ANCHORS + 2
    ids = tuple(anchor(f"id-{seq}", seq=seq) for seq in (1, 2, 3, newest))
    first_text = newest - KEPT_TEXTS
    texts = tuple(
        replace(anchor(f"text-{kind}-{seq}", seq=seq), kind=kind)
        for kind in INDEXED_KINDS
        for seq in (first_text, first_text + 1)
    )
    await store.commit_batch(bounds(1), changes_of(run(), (), (*ids, *texts)), {}, {})
    found = (await store.load_state(settled_for_us=0)).anchors
    assert [each.seq for each in found] == [3, *[first_text + 1] * len(INDEXED_KINDS), newest]
    kept = await store.pool.fetchval("SELECT count(*) FROM run_anchors")
    assert kept == len(found), "the others are deleted"


async def test_an_anchor_without_a_number_is_put_last(store: RunStore) -> None:
    anchors = (anchor("id-7", seq=7), replace(anchor("text-9", seq=9), kind="said"))
    await store.commit_batch(bounds(1), changes_of(run(), (), anchors), {}, {})
    await store.commit_batch(bounds(2), changes_of(run(), (), (anchor("late"),)), {}, {})
    assert [each.seq for each in (await store.load_state(settled_for_us=0)).anchors] == [7, 9, 10]


async def test_anchors_beyond_the_horizon_are_forgotten(store: RunStore) -> None:
    day_us = 86_400_000_000
    await store.commit_batch(bounds(1), changes_of(run(), (), (anchor("old", at_us=NOW_US - 2 * day_us),)), {}, {})
    await store.commit_batch(bounds(2, now_us=NOW_US), changes_of(run(), (), (anchor("new"),)), {}, {})
    assert [each.value for each in (await store.load_state(settled_for_us=0)).anchors] == ["new"]


async def test_a_connection_that_dies_within_the_transaction_leaves_nothing_of_the_batch(
    store: RunStore, postgres: EmbeddedPostgres, postgres_dsn: str
) -> None:
    """A lock on the last table of the commit holds it in the middle; then its connection is killed."""
    await store.begin_batch(bounds(1))
    owner = await asyncpg.connect(_as_owner(postgres, postgres_dsn))
    try:
        async with owner.transaction():
            await owner.execute("LOCK TABLE capture_offsets IN ACCESS EXCLUSIVE MODE")
            commit = asyncio.ensure_future(store.commit_batch(bounds(1), changes_of(run(), (step(0),)), {}, {}))
            pid = await _waiting_backend(owner)
            await owner.execute("SELECT pg_terminate_backend($1)", pid)
            with pytest.raises(StoreUnavailable):
                await commit
    finally:
        await owner.close()
    assert await store.load_runs([KEY]) == []
    assert await store.offsets() == {}
    assert await store.pending() == bounds(1)
    await store.commit_batch(bounds(1), changes_of(run(), (step(0),)), {}, {})
    assert [stored for stored, _ in await store.load_runs([KEY])] == [run()]


async def test_a_cancelled_commit_leaves_nothing_and_the_pool_goes_on(
    store: RunStore, postgres: EmbeddedPostgres, postgres_dsn: str
) -> None:
    owner = await asyncpg.connect(_as_owner(postgres, postgres_dsn))
    try:
        async with owner.transaction():
            await owner.execute("LOCK TABLE capture_offsets IN ACCESS EXCLUSIVE MODE")
            commit = asyncio.ensure_future(store.commit_batch(bounds(1), changes_of(run()), {}, {}))
            await _waiting_backend(owner)
            commit.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await commit
    finally:
        await owner.close()
    assert await store.load_runs([KEY]) == []


async def test_errors_are_told_apart_by_their_code(
    store: RunStore, postgres: EmbeddedPostgres, postgres_dsn: str
) -> None:
    """Data is rejected; a database that is read-only, locked or not migrated is waited for."""
    owner = await asyncpg.connect(_as_owner(postgres, postgres_dsn))
    try:
        await owner.execute("ALTER TABLE agent_debug_logs ADD CONSTRAINT small CHECK (total_steps < 100)")
        with pytest.raises(StoreRejected) as caught:
            await store.commit_batch(
                bounds(1), changes_of(replace(run(), total_steps=100, title="secret")), {}, {}
            )
        assert "secret" not in str(caught.value)
        await owner.execute("REVOKE INSERT ON agent_debug_logs FROM watchllm_recorder")
        with pytest.raises(StoreUnavailable):
            await store.commit_batch(bounds(1), changes_of(run()), {}, {})
        await owner.execute("DROP TABLE agent_debug_logs")
        with pytest.raises(StoreUnavailable):
            await store.commit_batch(bounds(1), changes_of(run()), {}, {})
    finally:
        await owner.close()


async def test_a_server_that_is_away_is_unavailable() -> None:
    with pytest.raises(StoreUnavailable):
        await open_pool("postgresql://x@/x?host=%2Fnowhere")


async def _waiting_backend(owner: asyncpg.Connection) -> int:
    """The pid of the one connection that waits for a lock, as soon as there is one."""
    for _ in range(1000):
        pid = await owner.fetchval(
            "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        if pid is not None:
            return int(pid)
        await asyncio.sleep(0.01)
    raise AssertionError("the commit never came to the locked table")


def _as_owner(postgres: EmbeddedPostgres, dsn: str) -> str:
    return dsn.replace("//watchllm_app@", "//watchllm_owner@")
