"""The rewritings do what their names say: else a test on rewritten traffic would prove nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.traffic import rewriting
from tests.traffic.rewriting import REWRITINGS, Json, Messages, rewritten
from tests.traffic.score import lines_of

CORPUS = Path(__file__).parents[1] / "data" / "agents" / "openai.jsonl.gz"
LINE: Json = {"t_request": 1_700_000_000.25}


def call(id: str, city: str) -> Json:
    return {"id": id, "type": "function", "function": {"name": "weather", "arguments": json.dumps({"city": city})}}


def history() -> Messages:
    return [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Oslo or Rome?"},
        {"role": "assistant", "content": "I look.", "tool_calls": [call("a", "Oslo")]},
        {"role": "tool", "tool_call_id": "a", "content": "rain"},
        {"role": "assistant", "content": None, "tool_calls": [call("b", "Rome")]},
        {"role": "tool", "tool_call_id": "b", "content": "sun"},
        {"role": "assistant", "content": "Rome."},
        {"role": "user", "content": "Why?"},
    ]


def roles(messages: Messages) -> str:
    return " ".join(m["role"][0] for m in messages)


def test_steps_are_merged_into_one_message_before_their_results() -> None:
    merged = rewriting.steps_merged(history(), LINE)
    assert roles(merged) == "s u a t t a u"
    assert [c["id"] for c in merged[2]["tool_calls"]] == ["a", "b"]


def test_old_questions_move_to_the_front_and_the_new_one_stays_last() -> None:
    longer = [*history(), {"role": "assistant", "content": "Sun."}, {"role": "user", "content": "And?"}]
    assert roles(rewriting.questions_first(longer, LINE)) == "s u u a t a t a a u"


def test_a_cut_head_leaves_the_system_prompt_and_no_result_without_its_call() -> None:
    assert roles(rewriting.head_cut(history(), LINE)) == "s a t a t a u"
    assert roles(rewriting.head_cut(history()[:-1], LINE)) == "s u a t a t a"


def test_calls_that_are_told_leave_no_id() -> None:
    told = json.dumps(rewriting.calls_told_as_text(history(), LINE))
    assert "tool_call" not in told
    assert "Rome" in told


def test_earlier_turns_keep_only_what_was_said() -> None:
    assert roles(rewriting.earlier_turns_as_text(history(), LINE)) == "s u a a u"


def test_one_prompt_holds_it_all() -> None:
    assert roles(rewriting.all_in_one_prompt(history(), LINE)) == "s u"


@pytest.mark.parametrize("name", REWRITINGS)
def test_each_rewriting_changes_recorded_traffic_and_only_its_requests(name: str) -> None:
    lines = lines_of(CORPUS)
    changed = list(rewritten(lines, REWRITINGS[name]))
    assert any(a["request_body"] != b["request_body"] for a, b in zip(lines, changed, strict=True))
    assert all({**a, "request_body": 0} == {**b, "request_body": 0} for a, b in zip(lines, changed, strict=True))
