"""Which runs have used which connection: it tells equals apart where each client keeps its own."""

from __future__ import annotations

from tests.unit.builders import T0_US, CallBuilder, Play, results_for, tool
from tests.unit.sessionize.test_families import TASK, asks, child_of
from watchllm_proxy.records import Anchor, Call
from watchllm_proxy.sessionize.anchors import AnchorKind
from watchllm_proxy.sessionize.connections import MAX_RUNS, Connections

HERE, THERE = "10.0.0.1:4001", "10.0.0.1:4002"


def used(run_id: str, address: str = HERE, *, project: str = "p", seq: int = 1) -> Anchor:
    call = CallBuilder(name=f"{project}{run_id}{address}")(user="Hello")
    mark = f"{address} {'0' * 16} {call.call_id} {'0' * 16}"
    return Anchor(project, AnchorKind.STATE, mark, run_id, call.call_id, 1, T0_US, run_id, seq)


def filled(*anchors: Anchor) -> Connections:
    connections = Connections(window=1_000)
    for anchor in anchors:
        connections.put(anchor)
    return connections


def users(connections: Connections) -> list[str]:
    return [use.run_id for use in connections.users("p", HERE)]


def test_runs_that_share_a_connection_are_told() -> None:
    connections = filled(used("one"), used("two"), used("two", THERE))
    assert users(connections) == ["one", "two"]
    assert {use.run_id for use in connections.sharing(("p", "two"))} == {"one", "two"}


def test_two_projects_on_one_connection_never_meet() -> None:
    connections = filled(used("one"), used("two", project="other"))
    assert users(connections) == ["one"]


def test_what_is_forgotten_leaves_nothing_behind() -> None:
    connections = filled(used("one"), used("two"), used("two", THERE))
    connections.forget(("p", "one"))
    assert users(connections) == ["two"]
    connections.keep_only(set())
    assert len(connections) == 0


def test_what_has_fallen_out_of_the_window_is_forgotten() -> None:
    connections = filled(used("one", seq=1), used("two", seq=2), used("one", seq=3))
    connections.keep_window(1_002)
    assert users(connections) == ["one"]


def test_of_a_connection_that_very_many_share_only_the_newest_are_kept() -> None:
    connections = filled(*(used(f"r{n}") for n in range(MAX_RUNS + 5)))
    assert len(connections.users("p", HERE)) == MAX_RUNS


def equal_parents(call: CallBuilder) -> tuple[Call, Call]:
    return asks(call, client=HERE), asks(call, client=THERE)


def test_an_equal_task_goes_to_the_run_on_the_connection_of_its_session() -> None:
    """In the order in which they began it would be the other way round."""
    call = CallBuilder()
    first, second = equal_parents(call)
    one, other = child_of(call, client=THERE), child_of(call, client=HERE)
    play = Play(first, second, one, other)
    assert play.placement(one).parent_run_id == play.placement(second).run_id
    assert play.placement(other).parent_run_id == play.placement(first).run_id


def test_a_connection_that_shows_later_where_a_run_belongs_moves_it() -> None:
    call = CallBuilder()
    first, second = equal_parents(call)
    kin = {
        "user": TASK,
        "system": "You are the weather agent.",
        "tools": ["get_weather"],
        "answers": tool("get_weather"),
    }
    one = call(**kin, client="10.0.0.1:5001")  # type: ignore[arg-type]
    other = call(**kin, client="10.0.0.1:5002")  # type: ignore[arg-type]
    play = Play(first, second, one, other)
    assert play.placement(one).parent_run_id == play.placement(first).run_id

    play.observe(call(after=one, results=results_for(one, "Rain"), client=THERE))
    assert play.placement(one).parent_run_id == play.placement(second).run_id
    assert play.placement(other).parent_run_id == play.placement(first).run_id


def test_a_pool_that_serves_several_sessions_tells_nothing() -> None:
    call = CallBuilder()
    before = call(user="Something else was asked before", client=HERE)
    first, second = equal_parents(call)
    one, other = child_of(call, client=THERE), child_of(call, client=HERE)
    again = asks(call, client=THERE)
    play = Play(before, first, again, second, one, other)
    assert play.placement(one).parent_run_id == play.placement(first).run_id


def test_a_tools_own_question_goes_to_the_run_on_its_connection() -> None:
    call = CallBuilder()
    first, second = equal_parents(call)
    helper = call(user=f"Query: {TASK}", system=None, tools=[], answers="Rain, mostly.", client=THERE)
    play = Play(first, second, helper)
    assert play.placement(helper).run_id == play.placement(second).run_id
