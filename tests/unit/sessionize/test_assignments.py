"""The lines that accuracy is measured by."""

from __future__ import annotations

from tests.unit.builders import CallBuilder, Play, ids, results_for, tool
from watchllm_proxy.records import Api
from watchllm_proxy.sessionize.assignments import assignment, certain_sessions


def test_a_placement_becomes_a_line_with_its_evidence() -> None:
    call = CallBuilder()
    ask = call(user="Hi", answers=tool("a", id="call_9"), client_ids=ids(run="r", session="s", parent_run="p"))
    done = call(after=ask, results=results_for(ask, "x"))
    play = Play(ask, done)
    assert assignment(play.placement(done), frozenset({"s"})) == {
        "session_id": "s",
        "run_id": "r",
        "parent_run_id": "p",
        "certain": True,
        "links": [{"kind": "issued_id", "value": "call_9", "confidence": "certain"}],
    }


def test_a_call_without_a_run_stands_alone() -> None:
    call = CallBuilder()
    models = call(api=Api.OTHER)
    line = assignment(Play().observe(models), frozenset())
    assert line["session_id"] == line["run_id"] == str(models.call_id)
    assert line["certain"] is False


def test_nothing_is_certain_in_a_session_that_a_guess_holds_together() -> None:
    call = CallBuilder()
    ask = call(user="Find the weather in Oslo.", answers=tool("ask_agent", {"task": "Weather in Oslo, please"}))
    child = call(user="Weather in Oslo, please", tools=["get_weather"], answers=tool("get_weather"))
    play = Play(ask, child)
    assert play.placement(child).session_id == play.placement(ask).session_id
    certain = certain_sessions(play.rows.placements.values())
    assert not assignment(play.placement(ask), certain)["certain"]
