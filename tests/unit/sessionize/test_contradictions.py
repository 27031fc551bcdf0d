"""Answers laid beside what tools gave: only what can be proved is said."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.unit.builders import CallBuilder, message, results_for, tool
from watchllm_proxy.records import Call
from watchllm_proxy.sessionize.contradictions import contradiction

STATES = "An order's status is 'open', 'shipped', 'delivered' or 'void'."
SIZES = {"sizes": {"s": {"available": True}, "m": {"available": False}, "l": {"available": True}}}
ORDERS = [{"order_id": "#A1", "status": "shipped"}, {"order_id": "#A2", "status": "open"}]


def answer(text: str, output: object, system: str = "Help.") -> Call:
    """An answer to a request that brings what a tool gave."""
    call = CallBuilder()
    asked = call(user="Look it up", answers=tool("look_up", {}))
    told = call(after=asked, results=results_for(asked, json.dumps(output)), answers=text)
    return replace(told, messages=(message("system", system), *told.messages))


def test_a_count_that_the_list_does_not_have_is_told_with_the_right_one() -> None:
    assert contradiction(answer("We have 3 available sizes.", SIZES)) == (
        'It says "3 available": the tool gave 3, and 2 of them are available.'
    )


@pytest.mark.parametrize(
    "text",
    [
        "We have 2 available sizes.",
        "We have 3 sizes.",  # of which it says nothing
        "It costs $3 available today.",
        "We have 3.5 available sizes.",
        "Size 40-3 available",
        "",
    ],
)
def test_a_count_that_is_right_or_of_something_else_proves_nothing(text: str) -> None:
    assert contradiction(answer(text, SIZES)) is None


def test_a_count_that_one_of_several_lists_has_is_right() -> None:
    both = {"ours": [{"available": True}] * 3, "theirs": [{"available": True}, {"available": False}]}
    assert contradiction(answer("There are 3 available.", both)) is None
    assert contradiction(answer("There are 5 available.", both)) is not None


@pytest.mark.parametrize(
    "output",
    [[{"available": True}], [{"available": True}, {"name": "x"}], [{"available": 1}, {"available": 2}], "3", 7],
)
def test_what_is_no_list_of_objects_that_all_say_yes_or_no_is_not_counted(output: object) -> None:
    assert contradiction(answer("There are 3 available.", output)) is None


def test_the_state_of_another_thing_is_told_with_the_right_one() -> None:
    said = contradiction(answer("Your open orders (#A1 and #A2) can be changed.", ORDERS))
    assert said == 'It says "open orders (#A1 and #A2)": the tools gave shipped as the status of #A1.'
    assert contradiction(answer("I found #A2 (shipped).", ORDERS)) is not None


def test_a_state_that_only_the_prompt_knows_is_one_of_its_list() -> None:
    text = "Your delivered orders (#A1, #A2) can be sent back."
    assert contradiction(answer(text, ORDERS, STATES)) is not None
    assert contradiction(answer(text, ORDERS, "Once delivered, an order that was shipped is done.")) is None


@pytest.mark.parametrize(
    "text",
    [
        "Your shipped order (#A1) is on its way.",
        "The order ID (#A1) is right.",  # a word, and no state
        "Order #A1 is on its way; order #A9 (void) is not ours.",
        "Once open, orders (such as #A1) can be changed.",
    ],
)
def test_a_state_that_is_right_or_of_nothing_known_proves_nothing(text: str) -> None:
    assert contradiction(answer(text, ORDERS, STATES)) is None


def test_the_newest_state_counts() -> None:
    call = CallBuilder()
    first = call(user="Cancel #A1", answers=tool("look_up", {}))
    second = call(after=first, results=results_for(first, json.dumps(ORDERS)), answers=tool("cancel", {}))
    void = json.dumps({"order_id": "#A1", "status": "open"})
    told = call(after=second, results=results_for(second, void), answers="Order #A1 (open) is yours.")
    assert contradiction(told) is None


def test_without_tools_or_without_an_answer_there_is_nothing_to_lay_beside() -> None:
    assert contradiction(CallBuilder()(user="How many?", answers="There are 3 available.")) is None


@pytest.mark.parametrize(
    "text",
    [
        "total (" + "1" * 100_000,
        "x" * 100_000,
        "x" * 50_000 + " (" + "x1" * 50_000,
        "a (#1, " * 20_000,
        "a (" + "#1, " * 20_000,
        "1" + "* " * 50_000 + "(a",
        "'" + "a'" * 50_000,
        "#1" * 50_000 + " (a)",
    ],
    ids=lambda text: text[:10],
)
def test_whatever_an_answer_is_made_of_it_is_read_once(text: str) -> None:
    """By rules that look at a word from each of its letters, or try each way to part a number, some take hours."""
    assert contradiction(answer(f"11 available. {text}", ORDERS, system=text)) is None


def test_a_table_of_numbers_is_laid_beside_a_long_list_once() -> None:
    listed = [{"id": number, **{f"is_x{key}": True for key in range(5)}} for number in range(1000)]

    assert contradiction(answer("12 rows\n" * 20_000, listed)) is None


def test_a_number_of_theirs_does_not_look_like_one_of_our_steps() -> None:
    orders = [{"order_id": "#12", "status": "shipped"}, {"order_id": "#13", "status": "open"}]
    said = contradiction(answer("Order #12 (open) is yours.", orders))
    assert said == 'It says "12 (open)": the tools gave shipped as the status of 12.'
