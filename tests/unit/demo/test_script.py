"""The scripted conversations: chosen by what is in them, the same for every dialect."""

from __future__ import annotations

import pytest

from watchllm_proxy.demo import answers
from watchllm_proxy.demo.conversation import read_chat, read_messages, read_responses
from watchllm_proxy.demo.script import (
    DEMO_SCRIPT,
    OFF_SCRIPT,
    ORDER_ASSISTANT,
    SUPPORT_REFUND_AGENT,
    Scenario,
    choose_turn,
)

SYSTEM = "You are order-assistant, at Halden Audio."


def test_a_conversation_picks_its_scenario_and_its_turn() -> None:
    assert choose_turn(DEMO_SCRIPT, SYSTEM, 1) is ORDER_ASSISTANT.turns[1]


@pytest.mark.parametrize(("opening", "answers"), [("You are somebody else.", 0), (SYSTEM, 99)])
def test_what_the_script_lacks_is_answered_by_saying_so(opening: str, answers: int) -> None:
    assert choose_turn(DEMO_SCRIPT, opening, answers) is OFF_SCRIPT


def test_no_cue_is_found_in_the_text_of_another_scenario() -> None:
    for scenario in DEMO_SCRIPT:
        others = [other for other in DEMO_SCRIPT if other is not scenario]
        assert not any(scenario.cue in other.cue for other in others)


@pytest.mark.parametrize("scenario", DEMO_SCRIPT, ids=lambda scenario: scenario.name)
def test_every_scenario_ends_with_words_and_without_tools(scenario: Scenario) -> None:
    assert all(turn.uses for turn in scenario.turns[:-1])
    assert scenario.turns[-1].text
    assert not scenario.turns[-1].uses


def test_the_refund_is_asked_for_three_times_alike_and_then_once_more() -> None:
    asked = [use for turn in SUPPORT_REFUND_AGENT.turns for use in turn.uses if use.tool == "create_refund"]
    assert len(asked) == 4
    assert all(use == asked[0] for use in asked)


def test_the_dialects_count_the_same_answers_in_the_same_conversation() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    chat = read_chat(
        {
            "messages": [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": "Where?"},
                {"role": "assistant", "content": "Let me see.", "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c1", "content": "there"},
            ]
        }
    )
    messages = read_messages(
        {
            "system": [{"type": "text", "text": SYSTEM}],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Where?"}]},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "f", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "there"}]},
            ],
        }
    )
    items = [
        {"role": "user", "content": "Where?"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Let me see."}]},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
    ]
    output = {"type": "function_call_output", "call_id": "c1", "output": "there"}
    responses = read_responses({"instructions": SYSTEM, "input": [output]}, items)

    assert [chat.answers, messages.answers, responses.answers] == [1, 1, 1]
    for conversation in (chat, messages, responses):
        assert conversation.opening == f"{SYSTEM}\nWhere?"
        assert 0 < conversation.earlier_tokens < conversation.input_tokens


@pytest.mark.parametrize("text", ["", "one", " leading and trailing ", "lines\n\nof  text \n", '{"city": "Oslo"}'])
def test_a_text_streamed_in_pieces_is_the_same_text(text: str) -> None:
    assert "".join(answers.pieces(text)) == text
