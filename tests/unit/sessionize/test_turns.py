"""What is new in a request, and what only repeats the past."""

from __future__ import annotations

import pytest

from tests.unit.builders import CallBuilder, Play, ids, message, results_for, tool
from watchllm_proxy.records import ToolResult
from watchllm_proxy.sessionize import turns


def texts(*history: object) -> list[str]:
    return [found.text for found in turns.user_inputs(CallBuilder()(history=history))]  # type: ignore[arg-type]


def test_only_what_comes_after_the_last_answer_is_new() -> None:
    past = [message("system", "Be kind"), message("user", "One"), message("assistant", "1")]
    assert texts(*past, message("user", "Two"), message("user", "Three")) == ["Two", "Three"]
    assert texts(*past[:2]) == ["One"]
    assert texts(*past) == []


def test_tool_results_are_not_the_users_words() -> None:
    result = message("user", "found", results=[ToolResult("toolu_1", "found")])
    assert texts(message("user", "One"), message("assistant", "1"), result) == []


def test_the_same_history_sent_again_is_the_same_occurrence() -> None:
    call = CallBuilder()
    ask = call(user="yes", answers=tool("a"))
    done = call(after=ask, results=results_for(ask, "x"))
    assert turns.user_inputs(ask) == turns.user_inputs(call.again(ask))
    assert turns.user_inputs(done) == ()
    later = call(after=done, user="yes")
    assert turns.user_inputs(later)[0].occurrence != turns.user_inputs(ask)[0].occurrence


def test_the_same_words_twice_in_a_row_are_two_messages() -> None:
    call = CallBuilder()(history=[message("user", "go"), message("user", "go")])
    assert len({found.occurrence for found in turns.user_inputs(call)}) == 2


def test_a_pointer_to_an_earlier_answer_is_a_past() -> None:
    call = CallBuilder()
    assert not turns.has_past(call(user="Hi"))
    assert turns.has_past(call(user="Hi", client_ids=ids(previous_response="resp_1")))


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("Observation:\nOslo: 18 degrees", ""),
        ("Observation:\ndone\nNew task:\nNow Lisbon", "Now Lisbon"),
        ("New task:\nPlan it", "Plan it"),
        ("Make an observation", "Make an observation"),
    ],
)
def test_an_observation_of_a_text_protocol_is_not_the_users(text: str, spoken: str) -> None:
    assert turns.spoken(message("user", text)) == spoken


def test_an_observation_fills_the_open_tool_calls_and_a_new_task_starts_the_next_run() -> None:
    call = CallBuilder()
    ask = call(user="New task:\nPlan it", answers=[tool("weather", id="call_1a"), tool("events")])
    seen = [*ask.messages, message("assistant", "Calling tools: call_1a")]
    final = call(
        history=[*seen, message("user", "Observation:\n18 degrees; a market")],
        answers=tool("final_answer", {"answer": "Go!"}, id="call_2b"),
        client_ids=ids(conversation="c"),
    )
    turn = call(
        history=[
            *final.messages,
            message("assistant", "Calling tools"),
            message("user", "Observation:\nGo!\nNew task:\nLisbon"),
        ],
        client_ids=ids(conversation="c"),
    )
    from dataclasses import replace

    final, turn = replace(final, mentioned_ids=("call_1a",)), replace(turn, mentioned_ids=("call_2b",))
    play = Play(ask, final, turn)
    outputs = [step.tool_output_summary for step in play.steps_of(ask) if step.tool]
    assert outputs == ["18 degrees; a market", "18 degrees; a market", "Go!"]
    assert play.run_of(ask).title == "Plan it"
    assert play.run_of(ask).status == "completed"
    assert play.run_of(turn).title == "Lisbon"
    assert play.outline(turn) == ["user_input", "model_response"]
