"""What console and command line ask, on real engines: every question, and nothing of another project."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from uuid import UUID, uuid4

import orjson
import pytest

from tests.unit.store.batches import bounds, busy_calls, call_id_of, full_call, placed
from tests.unit.store.runs import NOW_US, changes_of, explanation, flag, run, step
from watchllm_proxy.records import (
    Confidence,
    FlagKind,
    Link,
    LinkKind,
    Moved,
    Placement,
    RunChanges,
    RunStatus,
    Step,
    StepType,
)
from watchllm_proxy.store import whole_calls
from watchllm_proxy.store.clickhouse import AsyncEventStore, EventStore, Params
from watchllm_proxy.store.event_rows import event_inserts, move_params, move_sql
from watchllm_proxy.store.postgres import RunStore
from watchllm_proxy.store.reading import StoreReading
from watchllm_proxy.store.sessions import SessionQuery
from watchllm_proxy.store.shapes import RunQuery, RunSort, StoredMessage

SECOND_US = 1_000_000


def rebuild(skeleton: bytes, messages: Sequence[StoredMessage]) -> bytes:
    """Stands for decode.rebuild: skeleton and messages in one JSON text."""
    if skeleton == b"{}":
        raise ValueError("does not fit")
    return orjson.dumps([orjson.loads(skeleton), [(each.slot, orjson.loads(each.content)) for each in messages]])


@pytest.fixture
async def store(postgres_dsn: str) -> AsyncIterator[RunStore]:
    opened = await RunStore.open(postgres_dsn)
    yield opened
    await opened.close()


@pytest.fixture
def reading(store: RunStore, event_store: EventStore) -> StoreReading:
    return StoreReading(store.pool, AsyncEventStore(event_store), rebuild=rebuild)


@pytest.fixture
def runs_only(store: RunStore, postgres_dsn: str) -> StoreReading:
    """For questions about runs, which never go to ClickHouse."""
    return StoreReading(store.pool, None, rebuild=rebuild)  # type: ignore[arg-type]


FIVE = (
    run("a-1", started_at_us=NOW_US, ended_at_us=NOW_US + 9, total_steps=1, status=RunStatus.COMPLETED,
        total_cost_usd=Decimal("0.5"), title="Find 100% of_it"),
    run("a-2", started_at_us=NOW_US + SECOND_US, total_steps=5, total_cost_usd=None,
        session_id="other", error_count=2),
    run("b-1", started_at_us=NOW_US + 2 * SECOND_US, ended_at_us=NOW_US + 60 * SECOND_US, total_steps=3,
        status=RunStatus.FAILED, agent_name="Writer", total_cost_usd=Decimal("0.1"), parent_run_id="a-1"),
    run("b-2", started_at_us=NOW_US + 3 * SECOND_US, total_steps=2, agent_name=None, total_cost_usd=Decimal(0)),
    run("chat", started_at_us=NOW_US + 4 * SECOND_US, is_agent=False, total_steps=4, agent_name=None,
        error_count=1),
)  # fmt: skip


async def save_five(store: RunStore) -> None:
    foreign = [replace(each, project_id="other") for each in FIVE]
    flags = {("default", "b-1"): (flag(), flag(FlagKind.HIGH_COST_STEP)), ("other", "a-1"): (flag(),)}
    await store.commit_batch(bounds(1), RunChanges(runs=(*FIVE, *foreign)), flags, {})


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (RunQuery(), "b-2 b-1 a-2 a-1"),
        (RunQuery(with_chats=True), "chat b-2 b-1 a-2 a-1"),
        (RunQuery(status=RunStatus.FAILED), "b-1"),
        (RunQuery(agent="Writer"), "b-1"),
        (RunQuery(agent="writer"), ""),
        (RunQuery(flag=FlagKind.HIGH_COST_STEP), "b-1"),
        (RunQuery(flag=FlagKind.TIMEOUT_RETRY), ""),
        (RunQuery(with_errors=True), "a-2"),
        (RunQuery(with_errors=True, with_chats=True), "chat a-2"),
        (RunQuery(session="other"), "a-2"),
        (RunQuery(q="100% OF_"), "a-1"),
        (RunQuery(q="%"), "a-1"),
        (RunQuery(q="wRITer"), "b-1"),
        (RunQuery(q="b-"), "b-2 b-1"),
        (RunQuery(q="'; DROP TABLE agent_debug_logs; --"), ""),
        (RunQuery(q="nul\0 \ud800"), ""),
        (RunQuery(since_us=NOW_US + SECOND_US, until_us=NOW_US + 3 * SECOND_US), "b-1 a-2"),
        (RunQuery(sort=RunSort.OLDEST), "a-1 a-2 b-1 b-2"),
        (RunQuery(sort=RunSort.DEAREST), "a-1 b-1 b-2 a-2"),
        (RunQuery(sort=RunSort.CHEAPEST), "b-2 b-1 a-1 a-2"),
        (RunQuery(sort=RunSort.LONGEST), "b-1 a-1 b-2 a-2"),
        (RunQuery(sort=RunSort.SHORTEST), "a-1 b-1 a-2 b-2"),
        (RunQuery(sort=RunSort.MOST_STEPS), "a-2 b-1 b-2 a-1"),
        (RunQuery(sort=RunSort.FEWEST_STEPS), "a-1 b-2 b-1 a-2"),
    ],
    ids=repr,
)
async def test_a_list_of_runs_is_filtered_and_sorted(
    store: RunStore, runs_only: StoreReading, query: RunQuery, found: str
) -> None:
    await save_five(store)
    listed = await runs_only.list_runs("default", query)
    assert [row.run.run_id for row in listed.rows] == found.split()
    assert listed.total == len(found.split())
    assert {row.run.project_id for row in listed.rows} <= {"default"}


def test_every_order_of_the_list_is_known() -> None:
    from watchllm_proxy.store.reading import _KNOWN_FIRST, _ORDERS

    assert _ORDERS.keys() | _KNOWN_FIRST.keys() == set(RunSort)


@pytest.mark.parametrize("sort", [RunSort.CHEAPEST, RunSort.SHORTEST])
async def test_pages_of_what_is_known_first_hold_each_run_once(
    store: RunStore, runs_only: StoreReading, sort: RunSort
) -> None:
    """Over the border between what is known and what is not, wherever it lies on a page."""
    await save_five(store)
    whole = [row.run.run_id for row in (await runs_only.list_runs("default", RunQuery(sort=sort))).rows]
    assert len(set(whole)) == 4
    for limit in (1, 2, 3):
        pages = [
            await runs_only.list_runs("default", RunQuery(sort=sort, limit=limit, offset=offset))
            for offset in range(0, 4, limit)
        ]
        assert [row.run.run_id for page in pages for row in page.rows] == whole


async def test_pages_tell_the_total_beyond_their_end(store: RunStore, runs_only: StoreReading) -> None:
    await save_five(store)
    page = await runs_only.list_runs("default", RunQuery(limit=2, offset=1))
    assert ([row.run.run_id for row in page.rows], page.total) == (["b-1", "a-2"], 4)
    beyond = await runs_only.list_runs("default", RunQuery(limit=2, offset=100))
    assert (beyond.rows, beyond.total) == ((), 4)


async def test_a_run_comes_with_its_flags_steps_and_reasons(store: RunStore, runs_only: StoreReading) -> None:
    mine = run(ended_at_us=NOW_US + 1, status=RunStatus.COMPLETED)
    key = ("default", "run-1")
    steps = (step(0), step(1), step(10))
    await store.commit_batch(
        bounds(1),
        changes_of(mine, steps),
        {key: (flag(),)},
        {key: (explanation(1), explanation(1), explanation(0))},
    )
    found = await runs_only.get_run("default", "run-1")
    assert found is not None
    assert (found.run, found.flags) == (mine, (flag(),))
    assert tuple(await runs_only.get_steps("default", "run-1")) == steps
    told = await runs_only.get_explanations("default", "run-1")
    assert list(told) == [explanation(0), explanation(1), explanation(1)]


async def test_a_list_reads_the_beginnings_of_its_steps(store: RunStore, runs_only: StoreReading) -> None:
    long = "é" * 1000
    usd = Decimal("0.000123")
    told = {"summary": long, "decision": long, "tool_args": long, "tool_output_summary": long}
    figures = {"cost_usd": usd, "is_priced": True, "input_tokens": 5, "output_tokens": 7, "error_message": long}
    figures |= {"reported": "{}"}
    whole = replace(step(1), **told, **figures, error_type="timeout", tool="look", model="m", is_tool_error=True)
    await store.commit_batch(bounds(1), changes_of(run(), (step(0), whole)), {}, {})
    plain, line = await runs_only.get_step_lines("default", "run-1")
    left_out = {"call_id": None, "tool_call_id": None, "cache_read_input_tokens": None, "http_status": None}
    left_out |= dict.fromkeys(("occurrence", *Step.__slots__[Step.__slots__.index("finish_reason") :]))
    cut = dict.fromkeys([*told, "error_message"], long[:300])
    assert line == replace(whole, **left_out, **cut)
    assert plain == replace(step(0), **left_out)
    assert await runs_only.get_step_lines("other", "run-1") == []


async def test_a_run_has_another_version_whenever_its_steps_are_stored_anew(
    store: RunStore, runs_only: StoreReading
) -> None:
    versions = []
    for number, said in enumerate(("one", "one", "two"), start=1):
        changed = replace(step(0), summary=said)
        await store.commit_batch(bounds(number), changes_of(run(), (changed,)), {}, {})
        found = await runs_only.get_run("default", "run-1")
        again = await runs_only.get_run("default", "run-1")
        assert found is not None
        assert again is not None
        assert found.version == again.version
        versions.append(found.version)
    assert len({*versions}) == 3


@pytest.mark.parametrize(("project", "run_id"), [("other", "run-1"), ("default", "run-"), ("default", "nul\0")])
async def test_a_foreign_id_is_an_unknown_id(
    store: RunStore, runs_only: StoreReading, project: str, run_id: str
) -> None:
    await store.commit_batch(bounds(1), changes_of(run(), (step(0),)), {}, {})
    assert await runs_only.get_run(project, run_id) is None
    assert await runs_only.get_steps(project, run_id) == []
    assert await runs_only.get_explanations(project, run_id) == []
    assert await runs_only.get_links(project, run_id) == {}
    assert await runs_only.get_children(project, run_id) == []


async def test_links_say_why_each_call_is_there(store: RunStore, runs_only: StoreReading) -> None:
    first, second = uuid4(), uuid4()
    start = (Link(LinkKind.NEW_RUN, "", Confidence.CERTAIN),)
    evidence = (
        Link(LinkKind.ISSUED_ID, "call_1", Confidence.CERTAIN, first, 3),
        Link(LinkKind.CONVERSATION, "conv_1", Confidence.PROBABLE),
    )
    changes = RunChanges(
        runs=(run(),),
        placements=(
            Placement(first, "default", "run-1", "s", None, start),
            Placement(second, "default", "run-1", "s", None, evidence),
            Placement(uuid4(), "default", None, None, None, ()),
        ),
    )
    await store.commit_batch(bounds(1), changes, {}, {})
    assert await runs_only.get_links("default", "run-1") == {first: list(start), second: list(evidence)}


async def test_children_and_counts(store: RunStore, runs_only: StoreReading) -> None:
    await save_five(store)
    assert [row.run.run_id for row in await runs_only.get_children("default", "a-1")] == ["b-1"]
    counts = await runs_only.counts("default", with_chats=True)
    assert counts.by_status == {RunStatus.RUNNING: 3, RunStatus.COMPLETED: 1, RunStatus.FAILED: 1}
    assert counts.agents == (("librarian", 2), ("Writer", 1))
    agents_only = await runs_only.counts("default", with_chats=False)
    assert sum(agents_only.by_status.values()) == 4, "one of the five is a lone chat"
    assert (await runs_only.counts("third", with_chats=True)).by_status == {}


async def save_calls(event_store: EventStore, calls: list, number: int = 1) -> None:
    for insert in event_inserts(calls, bounds(number), keep_raw_days=1):
        event_store.insert(*insert)


async def test_a_call_comes_back_whole(store: RunStore, event_store: EventStore, reading: StoreReading) -> None:
    call, placement = full_call()
    await save_calls(event_store, [(call, placement)])
    await store.commit_batch(bounds(1), RunChanges(runs=(run(),), placements=(placement,)), {}, {})
    found = await reading.get_call("default", call.call_id)
    assert found is not None
    assert found.links == placement.links
    assert orjson.loads(found.request or b"") == [
        {"model": "gpt-4o-mini"},
        [["messages", {"content": "Be brief.", "role": "system"}],
         ["messages", {"content": "What is new? 0", "role": "user"}]],
    ]  # fmt: skip
    assert found.answer == b'{"content":"Nothing.","role":"assistant"}'
    assert found.row.usage == call.usage
    assert found.row.cost == call.cost
    assert (found.row.call_id, found.row.end, found.row.api) == (call.call_id, call.end, call.api)
    assert (found.finish_reasons, found.response_id) == (("stop",), "resp_1")
    assert found.response_metadata == call.response_metadata
    assert found.row.duration_us == call.ended_at_us - call.started_at_us


async def test_of_two_calls_what_both_begin_with_is_not_read(
    event_store: EventStore, reading: StoreReading
) -> None:
    await save_calls(event_store, [full_call(1), full_call(2)])
    read: list[bytes] = []

    def note(of: UUID, part: bytes) -> bytes:
        read.append(part)
        return part.replace(b"What is new", b"What else" if of == call_id_of(2) else b"What")

    now, before = await reading.get_grown_call("default", call_id_of(2), call_id_of(1), through=note)
    assert now is not None
    assert before is not None
    stubs, said = zip(*[orjson.loads(each.request or b"")[1] for each in (now, before)], strict=True)
    assert stubs[0] == stubs[1] != ["messages", {"content": "Be brief.", "role": "system"}]
    assert [each[1]["content"] for each in said] == ["What else? 2", "What? 1"]
    assert not [part for part in read if b"Be brief" in part]
    assert now.answer == b'{"content":"Nothing.","role":"assistant"}'
    assert await reading.get_grown_call("other", call_id_of(2), call_id_of(1)) == (None, None)
    alone, _ = await reading.get_grown_call("default", call_id_of(2), uuid4())
    assert alone is not None
    assert b"Be brief" in (alone.request or b"")


async def test_an_unknown_or_foreign_call_is_none(event_store: EventStore, reading: StoreReading) -> None:
    await save_calls(event_store, [full_call(), full_call(project="other")])
    assert await reading.get_call("default", call_id_of(0, "other")) is None
    assert await reading.get_call("default", uuid4()) is None


async def test_a_call_without_answer_or_with_lost_messages_says_so(
    event_store: EventStore, reading: StoreReading
) -> None:
    call, placement = full_call(1)
    unanswered = (replace(call, answer=None), placement)
    opaque = placed(replace(full_call(2)[0], messages=(), request_skeleton=b"", opaque_reason="not JSON"), None)
    unfit = placed(replace(full_call(3)[0], request_skeleton=b"{}"))
    await save_calls(event_store, [unanswered, opaque, unfit])
    first = await reading.get_call("default", call_id_of(1))
    assert first is not None
    assert (first.answer, first.request is None) == (None, False)
    second = await reading.get_call("default", call_id_of(2))
    assert second is not None
    assert (second.request, second.opaque_reason, second.row.run_id) == (None, "not JSON", None)
    third = await reading.get_call("default", call_id_of(3))
    assert third is not None
    assert third.request is None
    event_store.execute("TRUNCATE TABLE messages")
    again = await reading.get_call("default", call_id_of(1))
    assert again is not None
    assert again.request is None


async def test_tail_gets_each_call_once_in_the_order_of_storing(
    event_store: EventStore, reading: StoreReading
) -> None:
    """A long call begins before others that are stored first: it must not be passed over."""
    calls = busy_calls(6)
    long_call = replace(calls[0][0], ended_at_us=calls[0][0].started_at_us + 3_600_000_000)
    await save_calls(event_store, calls[1:4], 1)
    first = await reading.recent_calls("default", None, 10)
    await save_calls(event_store, [(long_call, calls[0][1]), *calls[4:]], 2)
    second = await reading.recent_calls("default", first[-1].call_id, 2)
    third = await reading.recent_calls("default", second[-1].call_id, 10)
    seen = [row.call_id for row in (*first, *second, *third)]
    assert seen == [call.call_id for call, _ in (*calls[1:4], *calls[4:], calls[0])]
    assert await reading.recent_calls("default", seen[-1], 10) == []
    assert await reading.recent_calls("other", None, 10) == []
    assert [row.call_id for row in await reading.recent_calls("default", None, 2)] == [
        calls[4][0].call_id,
        calls[5][0].call_id,
    ]


async def test_the_newest_calls_are_each_told_once_as_they_are_now(
    event_store: EventStore, reading: StoreReading
) -> None:
    """Calls that moved have several rows until the store merges them."""
    calls = busy_calls(30)
    await save_calls(event_store, calls, 1)
    before = await reading.recent_calls("default", None, 10)
    for name in ("first", "second", "last"):
        moved = [Moved(call.call_id, "default", name, "session", None) for call, _ in calls[20:]]
        for params in move_params(moved):
            event_store.execute(move_sql(), params)
    found = await reading.recent_calls("default", None, 10)
    assert [row.call_id for row in found] == [row.call_id for row in before]
    assert {row.run_id for row in found} == {"last"}
    assert len(await reading.recent_calls("default", None, 100)) == 30


async def test_many_calls_are_what_each_is_alone_however_many_are_read_at_once(
    store: RunStore, event_store: EventStore, reading: StoreReading, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some are not there, one is another project's, one has moved; days differ, messages are shared."""
    calls = [*busy_calls(11), full_call(20), placed(replace(full_call(21)[0], request_skeleton=b"{}"))]
    late = replace(calls[3][0], started_at_us=calls[3][0].started_at_us + 40 * 86_400_000_000)
    calls[3] = (replace(late, ended_at_us=late.started_at_us + 1), calls[3][1])
    await save_calls(event_store, [*calls, full_call(0, project="other")])
    moved = Moved(calls[5][0].call_id, "default", "elsewhere", "session", None)
    for params in move_params([moved]):
        event_store.execute(move_sql(), params)
    placements = tuple(placement for _, placement in calls if placement is not None)
    await store.commit_batch(bounds(1), RunChanges(runs=(run(),), placements=placements), {}, {})
    wanted = [uuid4(), *(call.call_id for call, _ in calls), call_id_of(0, "other"), uuid4()]
    alone = [await reading.get_call("default", each) for each in wanted]
    assert [each is None for each in alone] == [True, *[False] * len(calls), True, True]
    assert alone[-4] is not None
    assert alone[-4].links == calls[-2][1].links != ()
    for calls_at_once, bytes_at_once in ((64, 1 << 20), (3, 1 << 20), (64, 0)):
        monkeypatch.setattr("watchllm_proxy.store.reading.CALLS_AT_ONCE", calls_at_once)
        monkeypatch.setattr(whole_calls, "TEXT_BYTES_AT_ONCE", bytes_at_once)
        assert [each async for each in reading.get_calls("default", wanted)] == alone


async def test_a_run_of_calls_is_read_in_few_questions(
    event_store: EventStore, reading: StoreReading, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = busy_calls(130)
    await save_calls(event_store, calls)
    asked: list[str] = []
    query = reading._events.query

    async def counted(sql: str, params: Params | None = None) -> Sequence[Mapping[str, object]]:
        asked.append(sql)
        return await query(sql, params)

    monkeypatch.setattr(reading._events, "query", counted)
    found = [each async for each in reading.get_calls("default", [call.call_id for call, _ in calls])]
    assert (len(found), None in found) == (130, False)
    assert len(asked) <= 3 * 3  # pages of 64, each by the days of its ids, by all days, and the messages


async def test_calls_that_were_stored_twice_are_counted_once(
    event_store: EventStore, reading: StoreReading
) -> None:
    """What a retry that was cut leaves, until the store merges it."""
    event_store.execute("SYSTEM STOP MERGES events")
    for number in (1, 2):
        calls = [(replace(call, raw_request=b"{", raw_response=None), where) for call, where in busy_calls(8)]
        await save_calls(event_store, calls, number)
    rows = event_store.query("SELECT count() AS rows FROM events")
    told = await reading.stored_calls("default")
    event_store.execute("SYSTEM START MERGES events")
    assert (rows[0]["rows"], told.calls) == (16, 8)


@pytest.mark.parametrize("days_off", [0, 40], ids=["begun when its id was made", "brought in much later"])
async def test_a_call_is_found_whatever_day_its_id_names(
    event_store: EventStore, reading: StoreReading, days_off: int
) -> None:
    (call, placement), *_ = busy_calls(1)
    made_at_ms = call.started_at_us // 1000 + days_off * 86_400_000
    named = replace(call, call_id=UUID(int=made_at_ms << 80 | 0x7 << 76 | 0b10 << 62 | 1))
    assert named.call_id.version == 7
    await save_calls(event_store, [(named, replace(placement, call_id=named.call_id))], 1)
    found = await reading.get_call("default", named.call_id)
    assert found is not None
    assert found.row.call_id == named.call_id


async def test_an_id_of_the_end_of_time_is_an_unknown_id(reading: StoreReading) -> None:
    assert await reading.get_call("default", UUID("ffffffff-ffff-7fff-bfff-ffffffffffff")) is None


async def test_raw_bodies_come_back_byte_for_byte(event_store: EventStore, reading: StoreReading) -> None:
    # Calls of today: the table drops what has expired.
    recently = time.time_ns() // 1000
    every_byte = replace(full_call(1)[0], raw_request=bytes(range(256)), raw_response=b"", started_at_us=recently)
    cut = replace(full_call(2)[0], raw_request=b"\0", raw_response=None, started_at_us=recently)
    none = replace(full_call(3)[0], raw_request=None, raw_response=None)
    await save_calls(event_store, [placed(every_byte), placed(cut), placed(none)])
    assert await reading.get_raw("default", call_id_of(1)) == (bytes(range(256)), b"")
    assert await reading.get_raw("default", call_id_of(2)) == (b"\0", None)
    assert await reading.get_raw("default", call_id_of(3)) is None
    assert await reading.get_raw("other", call_id_of(1)) is None


@pytest.mark.parametrize(
    ("offset", "limit", "rows", "total", "is_exact"),
    [(0, 2, 2, 3, False), (0, 4, 4, 4, True), (2, 2, 2, 4, True), (3, 1, 1, 4, True), (0, 3, 3, 4, False)],
)
async def test_a_list_counts_so_far_and_says_when_there_are_more(
    store: RunStore,
    runs_only: StoreReading,
    monkeypatch: pytest.MonkeyPatch,
    offset: int,
    limit: int,
    rows: int,
    total: int,
    is_exact: bool,
) -> None:
    """Of four runs two are counted: `total` is still beyond what is shown where there is more to show."""
    monkeypatch.setattr("watchllm_proxy.store.reading.MAX_COUNTED", 2)
    await save_five(store)
    page = await runs_only.list_runs("default", RunQuery(limit=limit, offset=offset))
    assert (len(page.rows), page.total, page.is_total_exact) == (rows, total, is_exact)
    assert (offset + rows < page.total) == (offset + rows < 4)
    monkeypatch.setattr("watchllm_proxy.store.reading.MAX_COUNTED", 4)
    monkeypatch.setattr("watchllm_proxy.store.reading.MAX_COUNTED_WITH_TEXT", 2)  # a text has a limit of its own
    assert await runs_only.list_runs("default", RunQuery(q="-", limit=limit, offset=offset)) == page
    assert (await runs_only.list_runs("default", RunQuery(limit=limit, offset=offset))).is_total_exact


async def test_a_session_is_all_its_runs_and_a_list_holds_those_of_several_turns(
    store: RunStore, runs_only: StoreReading
) -> None:
    """What was reported beside a captured run is not counted twice."""
    told = run(
        "a-1~reported", parent_run_id="a-1", reported="{}", total_cost_usd=Decimal(7), started_at_us=NOW_US + 1
    )
    await store.commit_batch(bounds(1), RunChanges(runs=(told,)), {}, {})
    await save_five(store)
    found = await runs_only.list_sessions("default", SessionQuery())
    assert [(row.session_id, row.turns, row.runs) for row in found.rows] == [("session-1", 3, 4)]
    session = found.rows[0]
    assert session == await runs_only.get_session("default", "session-1")
    assert (session.title, session.failed, session.total_steps) == ("Find 100% of_it", 1, 10)
    assert session.total_cost_usd == sum(
        each.total_cost_usd or 0 for each in FIVE if each.session_id == "session-1"
    )
    assert session.started_at_us == NOW_US
    both = await runs_only.list_sessions("default", SessionQuery(with_single=True, limit=1, offset=1))
    assert ([row.session_id for row in both.rows], both.total, both.is_total_exact) == (["other"], 2, True)
    assert await runs_only.get_session("default", "nul\0 \ud800") is None
    assert await runs_only.get_session("nobody", "session-1") is None


async def test_tokens_are_told_call_by_call_and_of_a_long_run_at_equal_distances(
    store: RunStore, runs_only: StoreReading
) -> None:
    short, long = run("a-1", total_steps=4), run("a-2", total_steps=6_000)
    tool = {"type": StepType.TOOL_CALL, "input_tokens": None, "output_tokens": None}
    steps = [("a-1", step(index, input_tokens=100 * index, output_tokens=1)) for index in range(3)]
    steps.append(("a-1", step(3, **tool)))
    for index in range(0, 6_000, 50):  # two in each of sixty pieces; a tool's step has none
        steps.append(("a-2", step(index, input_tokens=None, output_tokens=index)))
        steps.append(("a-2", step(index + 1, **tool)))
    changes = RunChanges(runs=(short, long), steps=tuple(("default", run_id, each) for run_id, each in steps))
    await store.commit_batch(bounds(1), changes, {}, {})
    found = await runs_only.get_tokens("default", [short, long, run("nobody")])
    assert found == {"a-1": [1, 101, 201], "a-2": list(range(0, 6_000, 100))}
    assert await runs_only.get_tokens("other", [short, long]) == {}
    assert await runs_only.get_tokens("default", []) == {}


async def test_costs_by_tool_are_those_of_the_calls_that_asked_for_it(
    store: RunStore, runs_only: StoreReading
) -> None:
    """One that asked for two tools counts half for either; what was sent twice is one tool of the call."""

    def priced(index: int, call: int, cost: str | None, **changes: object) -> Step:
        usd = None if cost is None else Decimal(cost)
        return step(
            index, call_id=call_id_of(call), type=StepType.DECISION, cost_usd=usd, is_priced=True, **changes
        )

    def tool(index: int, call: int, name: str) -> Step:
        return step(
            index, call_id=call_id_of(call), type=StepType.TOOL_CALL, tool=name, cost_usd=None, is_priced=False
        )

    steps = (
        priced(0, 1, "0.5", output_tokens=31), tool(1, 1, "search"), tool(2, 1, "search"), tool(3, 1, "read"),
        priced(4, 2, "0.25", output_tokens=10), tool(5, 2, "read"), priced(6, 3, None, error_type="overloaded"),
        priced(7, 4, "9", started_at_us=NOW_US - 3_600 * SECOND_US), tool(8, 4, "read"),
    )  # fmt: skip
    one = run("a-1", total_steps=len(steps))
    changes = RunChanges(runs=(one,), steps=tuple(("default", "a-1", each) for each in steps))
    await store.commit_batch(bounds(1), changes, {}, {})
    found = await runs_only.costs_by_tool("default", from_us=NOW_US - SECOND_US, to_us=NOW_US + 3_600 * SECOND_US)
    assert [(each.name, each.cost_usd, each.calls, each.unpriced_calls, each.failed_calls) for each in found] == [
        ("read", Decimal("0.5"), 2, 0, 0),
        ("search", Decimal("0.25"), 1, 0, 0),
        (None, Decimal(0), 1, 1, 1),
    ]
    assert [each.output_tokens for each in found] == [26, 16, None], "what was written, shared in the same way"
    assert await runs_only.costs_by_tool("other", from_us=0, to_us=NOW_US * 2) == []
