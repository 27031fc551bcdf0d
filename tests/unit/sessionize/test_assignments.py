"""The lines that accuracy is measured by."""

from __future__ import annotations

from tests.unit.builders import CallBuilder, Play, ids, results_for, tool
from watchllm_proxy.records import Api
from watchllm_proxy.sessionize.assignments import assignment


def test_a_placement_becomes_a_line_with_its_evidence() -> None:
    call = CallBuilder()
    ask = call(user="Hi", answers=tool("a", id="call_9"), client_ids=ids(run="r", session="s", parent_run="p"))
    done = call(after=ask, results=results_for(ask, "x"))
    play = Play(ask, done)
    assert assignment(play.placement(done)) == {
        "session_id": "s",
        "run_id": "r",
        "parent_run_id": "p",
        "certain": True,
        "links": [{"kind": "issued_id", "value": "call_9", "confidence": "certain"}],
    }


def test_a_call_without_a_run_stands_alone() -> None:
    call = CallBuilder()
    models = call(api=Api.OTHER)
    line = assignment(Play().observe(models))
    assert line["session_id"] == line["run_id"] == str(models.call_id)
    assert line["certain"] is False
