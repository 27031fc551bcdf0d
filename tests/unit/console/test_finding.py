"""Which steps a text stands in: by what they say themselves, and by the bodies of their calls."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.console_runs import call_id, make_step, model_step, refund_run
from watchllm_proxy.console.answers import BadParameter
from watchllm_proxy.console.finding import search_query, steps_of_bodies, steps_that_say
from watchllm_proxy.records import StepType
from watchllm_proxy.store.found_texts import FoundText, spellings

STEPS = refund_run().steps


@pytest.mark.parametrize(
    ("wanted", "indexes"),
    [
        ("GET_order", {1, 2}),
        ("damaged_on_arrival", {4, 6, 8}),
        ("currency_mismatch", {4, 6, 8}),
        ("tokens per minute", {9}),
        ("nowhere", set()),
    ],
)
def test_a_step_says_its_name_arguments_output_and_error(wanted: str, indexes: set[int]) -> None:
    assert steps_that_say(STEPS, [wanted]) == indexes


def test_a_redacted_value_is_found_by_its_tag_too() -> None:
    assert steps_that_say(STEPS, ["nowhere", "A-10432"]) == {0, 2, 4, 6, 8}


def user(n: int, role: str = "user", **changes: object) -> FoundText:
    return FoundText(call_id(n), role, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "indexes"),
    [
        ([user(1)], {0}),  # what a user said, at the user's step
        ([user(1, "system")], {1}),
        ([user(2, "tool", tool_call_ids=("c0",))], {2}),  # a result, at the call of the tool that gave it
        ([user(2, "tool", tool_call_ids=("of another run",))], {3}),
        ([user(3, "user", tool_call_ids=("c0", "c1"))], {2, 4}),
        ([user(2, "assistant", is_answer=True)], {3}),
        ([user(2, "assistant", is_answer=True), user(3, "assistant")], {3}),  # it only comes again
        ([user(1, "assistant"), user(2, "assistant", is_answer=True)], {1, 3}),  # from before this run
        ([FoundText(UUID(int=99), "user")], set()),
    ],
)
def test_a_body_belongs_to_the_step_that_it_came_with(found: list[FoundText], indexes: set[int]) -> None:
    assert steps_of_bodies(STEPS, found) == indexes


def test_without_a_step_of_its_own_a_users_message_is_the_calls() -> None:
    steps = [make_step(0, StepType.USER_INPUT, 0, call_id=call_id(8)), model_step(1, StepType.DECISION, 1, 1, 9)]
    assert steps_of_bodies(steps, [user(9)]) == {1}


def test_a_text_is_looked_for_as_it_stands_in_json_too() -> None:
    assert spellings("plain") == ["plain"]
    assert spellings('a"b')[:3] == ['a"b', 'a\\"b', 'a\\\\\\"b']


@pytest.mark.parametrize("query", [{"q": "x" * 201}, {"q": "x", "limit": "3"}])
def test_a_wrong_question_names_its_parameter(query: dict[str, str]) -> None:
    with pytest.raises(BadParameter):
        search_query(query)
