"""Wherever batches are cut and restarts fall: the same placements, runs and steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.builders import (
    CLIENT_LEFT,
    RATE_LIMITED,
    SECOND_US,
    SILENCE_US,
    T0_US,
    CallBuilder,
    Rows,
    asked_ids,
    ids,
    tool,
)
from watchllm_proxy.records import Call, CallError, ClientId, ExchangeEnd
from watchllm_proxy.sessionize import Sessionizer

BAD_REQUEST = CallError("invalid_request_error", "No such model.")

CLIENT_IDS: dict[str, tuple[ClientId, ...]] = {
    "none": (),
    "run": ids(run="named"),
    "session": ids(session="s1"),
    "agent": ids(session="s1", agent="a1"),
    "child": ids(run="kid", parent_run="named"),
    "trace": ids(trace="ab" * 16),
    "conversation": ids(conversation="c1"),
}


TASK = "Find the weather in Bergen, please."
SAID = "It will be mild and dry in the north."


@dataclass(frozen=True)
class Move:
    """One call of a random history: what it follows (by position, modulo), what it says, how it ends."""

    follows: int | None
    user: str | None
    asks: int
    outcome: str
    client_ids: str
    gap_s: float
    brings_results: bool
    connection: int
    shared_id: bool
    project: str
    held_open_s: float = 0.0  # how long its stream stays open after its last word


MOVES = st.builds(
    Move,
    follows=st.none() | st.integers(0, 8),
    user=st.none() | st.sampled_from(["Hi", "Go on", "<context/>", TASK, TASK, f"Judge this: {SAID}"]),
    asks=st.integers(0, 2),
    outcome=st.sampled_from(["ok", "ok", "ok", "429", "400", "left", "again"]),
    client_ids=st.sampled_from([*["none"] * 4, *CLIENT_IDS]),
    gap_s=st.sampled_from([0.0, 0.5, 30.0, 599.0, 601.0, 1300.0, 40_000.0]),
    brings_results=st.booleans(),
    connection=st.integers(1, 2),
    shared_id=st.booleans(),
    project=st.sampled_from(["default", "default", "other"]),
    held_open_s=st.sampled_from([0.0, 0.0, 0.0, 45.0, 700.0]),
)


def history(moves: Sequence[Move], *, name: str = "call", start_us: int = T0_US) -> list[Call]:
    """In the order in which they end, as the log has them."""
    build = CallBuilder(start_us, name=name)
    calls: list[Call] = []
    now_us = start_us
    for move in moves:
        starts_at_us = now_us + int(move.gap_s * SECOND_US)
        now_us = starts_at_us + SECOND_US
        previous = calls[move.follows % len(calls)] if move.follows is not None and calls else None
        if move.outcome == "again" and previous is not None:
            client = f"127.0.0.1:{move.connection}"
            calls.append(build.again(previous, client=client, project=move.project, starts_at_us=starts_at_us))
            continue
        failure = {"429": RATE_LIMITED, "400": BAD_REQUEST, "left": CLIENT_LEFT}.get(move.outcome)
        answered = previous.answer if previous and previous.error is None else None
        output = SAID if move.follows == 1 else '{"error": "none left"}'
        results = dict.fromkeys(asked_ids(previous), output) if previous and answered else {}
        calls.append(
            build(
                after=previous,
                user=move.user,
                results=results if move.brings_results else {},
                answers=[
                    tool(f"t{n}", {"task": TASK}, id="call_0" if move.shared_id else None)
                    for n in range(move.asks)
                ]
                or (SAID if move.connection == 2 else "Done."),
                tools=["t0"] if move.connection == 2 else None,
                error=failure,
                status={"429": 429, "400": 400, "left": 200}.get(move.outcome),
                end=ExchangeEnd.CLIENT_ABORTED if move.outcome == "left" else ExchangeEnd.COMPLETE,
                client_ids=CLIENT_IDS[move.client_ids],
                starts_at_us=starts_at_us,
                took_s=1.0 + move.held_open_s,
                client=f"127.0.0.1:{move.connection}",
                project=move.project,
                cost=None if move.asks == 2 else "0.001",
                tags=(("n", str(move.asks)),),
            )
        )
    return sorted(calls, key=lambda call: call.ended_at_us)


def recorded(calls: Sequence[Call], cuts: frozenset[int], restarts: frozenset[int], max_steps: int = 0) -> Rows:
    """A drain and a tick after each cut; after each restart, a fresh machine from the stored rows. As many steps
    are held across a drain as `max_steps` says: of all other runs they come from the shelf."""
    rows = Rows()
    machine = Sessionizer(silence_us=SILENCE_US, max_steps=max_steps, shelf=rows)
    for position, call in enumerate(calls):
        machine.observe(call, call.ended_at_us)
        if position in cuts | restarts:
            machine.tick(call.ended_at_us)
            rows.store(machine.drain())
        if position in restarts:
            machine = rows.restarted(max_steps=max_steps)
    if calls:
        machine.tick(calls[-1].ended_at_us + 100 * SILENCE_US)
    rows.store(machine.drain())
    return rows


def assert_same(one: Rows, other: Rows) -> None:
    assert one.placements == other.placements
    assert one.steps == other.steps
    assert one.runs == other.runs
    assert one.anchors == other.anchors


POSITIONS = st.frozensets(st.integers(0, 11))


@settings(max_examples=200, deadline=None)
@given(st.lists(MOVES, max_size=12), POSITIONS, POSITIONS, st.sampled_from([0, 4, 1000]))
def test_batches_restarts_and_the_shelf_leave_no_trace(
    moves: list[Move], cuts: frozenset[int], restarts: frozenset[int], max_steps: int
) -> None:
    calls = history(moves)
    assert_same(recorded(calls, cuts, restarts, max_steps), recorded(calls, frozenset(), frozenset()))


@settings(max_examples=80, deadline=None)
@given(st.lists(MOVES, max_size=12))
def test_every_call_has_one_priced_step_and_indexes_are_dense(moves: list[Move]) -> None:
    calls = history(moves)
    rows = recorded(calls, frozenset(), frozenset())
    priced = []
    for run in rows.runs.values():
        steps = rows.steps_of(run)
        assert [step.step_index for step in steps] == list(range(run.total_steps))
        assert sum(step.cost_usd or 0 for step in steps if step.is_priced) == (run.total_cost_usd or 0)
        priced += [step.call_id for step in steps if step.is_priced]
    assert sorted(map(str, priced)) == sorted(str(call.call_id) for call in calls)


@settings(max_examples=60, deadline=None)
@given(st.lists(MOVES, min_size=1, max_size=6), st.lists(MOVES, min_size=1, max_size=6), st.data())
def test_independent_runs_do_not_feel_each_others_order(
    one: list[Move], two: list[Move], data: st.DataObject
) -> None:
    """Two projects' histories share nothing: whenever they happen, each has the rows it has alone."""
    first = [call for call in history(one, name="one") if call.project_id == "default"]
    start_us = T0_US + data.draw(st.integers(0, 5_000)) * SECOND_US
    second = [c for c in history(two, name="two", start_us=start_us) if c.project_id == "other"]
    mixed = recorded(sorted([*first, *second], key=lambda c: c.ended_at_us), frozenset(), frozenset())
    for calls in (first, second):
        alone = recorded(calls, frozenset(), frozenset())
        for key, run in alone.runs.items():
            assert mixed.steps[key] == alone.steps[key]
            assert mixed.runs[key] == run
        for call in calls:
            assert mixed.placements.get(call.call_id) == alone.placements.get(call.call_id)


def conversation_of(name: str, steps: Sequence[int], start_us: int) -> list[Call]:
    """A run of its own: no word and no id of it is another's. It asks for so many tools in each step."""
    build = CallBuilder(start_us, name=name)
    last: Call | None = None
    calls: list[Call] = []
    for number, tools in enumerate(steps):
        words = f"{name} says what only {name} says, for the {number}th time, in {name} words."
        results = {asked: f"{name} {number} {asked}" for asked in asked_ids(last)} if last else {}
        asks = [tool(f"{name}_tool", {"what": f"{name} wants to know {number} {n}"}) for n in range(tools)]
        last = build(
            after=last,
            user=None if results else f"{name} asks something {number}",
            results=results,
            answers=asks or words,
            client=f"{name}:1",
        )
        calls.append(last)
    return calls


STEPS = st.lists(st.integers(0, 2), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, min_size=2, max_size=3), st.data())
def test_any_interleaving_that_keeps_each_runs_own_order_places_all_calls_alike(
    runs: list[list[int]], data: st.DataObject
) -> None:
    """The times are the true ones; only the order differs in which the calls are seen."""
    each = [conversation_of(f"run{n}", steps, T0_US + n * 1_300_000) for n, steps in enumerate(runs)]
    in_time = sorted((call for calls in each for call in calls), key=lambda call: call.ended_at_us)
    turns = data.draw(st.permutations([n for n, calls in enumerate(each) for _ in calls]))
    waiting = [iter(calls) for calls in each]
    shuffled = [next(waiting[n]) for n in turns]
    expected = recorded(in_time, frozenset(), frozenset()).placements
    assert recorded(shuffled, frozenset(), frozenset()).placements == expected


@settings(max_examples=40, deadline=None)
@given(st.lists(MOVES, max_size=10))
def test_a_log_that_is_replayed_adds_nothing(moves: list[Move]) -> None:
    """The same rows by the same keys: upserts."""
    calls = history(moves)
    rows = recorded(calls, frozenset(), frozenset())
    assert_same(rows, recorded(calls, frozenset(), frozenset()))
    assert rows.placements.keys() == {call.call_id for call in calls}


def test_the_same_calls_make_the_same_ids() -> None:
    moves = [Move(None, "Hi", 1, "ok", "none", 1.0, False, 1, False, "default")] * 3
    calls = history(moves)
    assert_same(recorded(calls, frozenset(), frozenset()), recorded(calls, frozenset(), frozenset()))
    assert SECOND_US == 1_000_000
