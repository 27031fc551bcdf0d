"""Findings that rest on more than a call's figures: why it stopped, what it began with, how long things took."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from hashlib import sha256

import pytest

from tests.unit.builders import CallBuilder, Play, error, message, results_for, tool
from watchllm_proxy.enrich.flags import Thresholds, find_flags
from watchllm_proxy.records import Call, Flag, FlagKind, Step, StepType

TOOLS = ("search", "open")


def played(calls: Sequence[Call], kind: FlagKind, limits: Thresholds | None = None) -> list[Flag]:
    """Found the same, live and after a restart that knows what is stored."""
    play = Play(*calls)
    run, steps = play.run_of(calls[0]), play.steps_of(calls[0])
    limits = limits or Thresholds()
    again = Play(*calls[:1])
    for call in calls[1:]:
        again = Play(sessionizer=again.rows.restarted(), rows=again.rows)
        again.observe(call)
    assert again.steps_of(calls[0]) == steps
    found = find_flags(run, steps, limits)
    assert find_flags(again.run_of(calls[0]), again.steps_of(calls[0]), limits) == found
    return [flag for flag in found if flag.kind is kind]


def chain(
    number: int, *, cached: Sequence[int] = (), outputs: Sequence[str] = (), waits_s: Sequence[float] = ()
) -> list[Call]:
    """So many calls of one agent, each but the last asking for another tool call."""
    call = CallBuilder()
    calls: list[Call] = []
    for at in range(number):
        answers = "Done." if at == number - 1 else tool("search", {"n": at})
        tokens = (20_000 + 1_000 * at, 20)
        read = cached[at] if cached else None
        if not calls:
            calls.append(call(user="Find it", answers=answers, tools=TOOLS, tokens=tokens, cached=read))
            continue
        results = results_for(calls[-1], outputs[at - 1] if outputs else "x")
        gap_s = waits_s[at - 1] if waits_s else 1.0
        calls.append(
            call(after=calls[-1], results=results, answers=answers, tokens=tokens, cached=read, gap_s=gap_s)
        )
    return calls


def with_system(call: Call, text: str) -> Call:
    return replace(call, messages=(message("system", text), *call.messages[1:]))


# --- answers cut off


@pytest.mark.parametrize("word", ["length", "max_tokens", "max_output_tokens"])
def test_an_answer_that_ran_into_a_limit_was_cut_off(word: str) -> None:
    (flag,) = played([replace(CallBuilder()(user="Tell"), finish_reasons=(word,))], FlagKind.TRUNCATED_ANSWER)
    assert flag.message == "The answer at step 1 was cut off after 20 tokens: it ran into a limit of length."
    assert flag.step_indexes == (1,)


def test_an_answer_that_a_filter_stopped_says_so() -> None:
    (flag,) = played(
        [replace(CallBuilder()(user="Tell"), finish_reasons=("content_filter",))], FlagKind.TRUNCATED_ANSWER
    )
    assert "content filter" in flag.message


def test_an_answer_that_came_to_its_end_and_a_failure_were_not_cut_off() -> None:
    call = CallBuilder()
    assert played([call(user="Tell")], FlagKind.TRUNCATED_ANSWER) == []
    assert (
        played([replace(call(user="T", error=error()), finish_reasons=("length",))], FlagKind.TRUNCATED_ANSWER)
        == []
    )


# --- outputs of tools


def test_a_tool_that_gave_very_much_is_told_with_its_size() -> None:
    (flag,) = played(chain(2, outputs=["x" * 40_000]), FlagKind.HUGE_TOOL_OUTPUT)
    assert flag.message.startswith("search gave 40,000 characters at step 2, some 10,000 tokens")
    assert flag.step_indexes == (2,)


def test_a_long_output_below_the_limit_and_one_that_is_not_stored_are_not_huge() -> None:
    assert played(chain(2, outputs=["x" * 39_999]), FlagKind.HUGE_TOOL_OUTPUT) == []
    asked, answered = chain(2, outputs=["[not stored]"])
    hidden = replace(answered, is_content_refused=True)
    assert Play(asked, hidden).steps_of(asked)[2].output_chars is None


def test_of_a_reported_tool_the_text_that_was_told_counts() -> None:
    run = Play(*(calls := chain(1))).run_of(calls[0])
    told = Step(0, StepType.TOOL_CALL, 0, 1, False, "", None, tool="read", tool_output_summary="x" * 50_000)
    assert [flag.kind for flag in find_flags(run, [told])] == [FlagKind.HUGE_TOOL_OUTPUT]


# --- prompts and caches


def test_a_system_prompt_that_changes_between_calls_is_told_once_with_every_step() -> None:
    first, second, third = chain(3)
    changed = [first, with_system(second, "It is 10:01."), with_system(third, "It is 10:02.")]
    (flag,) = played(changed, FlagKind.PROMPT_MUTATION)
    assert flag.message.startswith("The system prompt changed 2 times between calls, first at step 3:")
    assert (flag.step_indexes, flag.severity) == ((1, 3, 5), "info")


def test_another_system_prompt_with_other_tools_is_another_agent() -> None:
    first, second = chain(2)
    tools = message("", '["write"]', slot="tools")
    system = message("system", "You write.")
    other = replace(second, messages=(system, tools, *second.messages[2:]))
    assert played([first, other], FlagKind.PROMPT_MUTATION) == []
    assert played([first, second], FlagKind.PROMPT_MUTATION) == []


def test_what_is_added_in_the_systems_name_later_is_no_change_of_the_system_prompt() -> None:
    first, second = chain(2)
    reminded = replace(second, messages=(*second.messages, message("developer", "Be brief.")))
    assert played([first, reminded], FlagKind.PROMPT_MUTATION) == []


def test_a_cache_that_no_longer_serves_a_prompt_that_grew_is_broken() -> None:
    (flag,) = played(chain(3, cached=(0, 18_000, 2_000)), FlagKind.PROMPT_CACHE_BREAK)
    assert flag.message == (
        "Step 5 read 16,000 tokens less from the prompt cache than step 3: "
        "an earlier message had changed, or the upstream let go of it."
    )
    assert flag.step_indexes == (3, 5)


def test_a_broken_cache_tells_its_cause_where_the_steps_show_it() -> None:
    first, second, third = chain(3, cached=(0, 18_000, 0))
    (flag,) = played([first, second, with_system(third, "It is 10:02.")], FlagKind.PROMPT_CACHE_BREAK)
    assert flag.message.endswith("the system prompt had changed.")
    tools = message("", '["search", "open", "write"]', slot="tools")
    more = replace(third, messages=(third.messages[0], tools, *third.messages[2:]))
    (flag,) = played([first, second, more], FlagKind.PROMPT_CACHE_BREAK)
    assert flag.message.endswith("other tools were offered.")
    (flag,) = played(chain(3, cached=(0, 18_000, 0), waits_s=(1, 400)), FlagKind.PROMPT_CACHE_BREAK)
    assert "401 s lay between them" in flag.message


def test_a_cache_that_was_never_filled_is_not_known_or_serves_nearly_as_much_is_not_broken() -> None:
    for cached in ((0, 0, 0), (0, 18_000, 17_000), (0, 18_000, 19_000)):
        assert played(chain(3, cached=cached), FlagKind.PROMPT_CACHE_BREAK) == []
    unknown = chain(3, cached=(0, 18_000, 0))
    unknown[2] = replace(unknown[2], usage=replace(unknown[2].usage, cache_read_input_tokens=None))
    assert played(unknown, FlagKind.PROMPT_CACHE_BREAK) == []


# --- time and money


def test_a_tool_that_took_a_minute_is_slow_and_the_time_is_said_to_be_inferred() -> None:
    (flag,) = played(chain(3, waits_s=(90, 1)), FlagKind.SLOW_STEP)
    assert flag.message == "search took 90 s at step 2, as far as the time between two calls tells."
    assert flag.step_indexes == (2,)


def test_what_always_takes_long_is_no_news_and_what_stands_out_is() -> None:
    assert played(chain(7, waits_s=(90, 80, 90, 95, 85, 90)), FlagKind.SLOW_STEP) == []
    (flag,) = played(chain(7, waits_s=(90, 80, 90, 95, 85, 900)), FlagKind.SLOW_STEP)
    assert flag.step_indexes == (12,)


def test_a_model_that_took_a_minute_is_slow() -> None:
    (flag,) = played([CallBuilder()(user="Think", took_s=75)], FlagKind.SLOW_STEP)
    assert flag.message == "gpt-test took 75 s at step 1."


def test_a_run_beyond_its_budget_is_told_at_the_step_that_it_came_to() -> None:
    calls = chain(4)
    limits = Thresholds(run_budget_usd=Decimal("0.0025"))
    (flag,) = played(calls, FlagKind.BUDGET_EXCEEDED, limits)
    assert flag.message == "With step 5 the run had cost $0.0030, and $0.0025 is its budget."
    assert (flag.step_indexes, flag.severity) == ((5,), "error")
    assert played(calls, FlagKind.BUDGET_EXCEEDED) == []
    assert played(calls, FlagKind.BUDGET_EXCEEDED, Thresholds(run_budget_usd=Decimal("0.004"))) == []


# --- tools that nobody called


def offering(calls: Sequence[Call], tokens: int, names: Sequence[str] = ("search", "open", "close")) -> list[Call]:
    """The same calls, each sent with schemas of so many tokens each."""
    definitions = [{"name": name, "description": "x" * (4 * tokens)} for name in names]
    content = json.dumps(definitions).encode()
    schemas = replace(message("", "", slot="tools"), content=content, content_hash=sha256(content).digest())
    return [
        replace(
            call, messages=(*(m for m in call.messages if m.slot != "tools"), schemas), tool_names=tuple(names)
        )
        for call in calls
    ]


def test_schemas_that_are_a_quarter_of_what_was_read_and_never_called_are_told_once_the_run_is_over() -> None:
    calls = offering(chain(3), 4_000)
    (flag,) = played(calls, FlagKind.UNUSED_TOOLS)
    assert flag.severity == "info"
    assert flag.message == (
        "2 of 3 tools were never called (open, close): their schemas are some 24,048 tokens, "
        "38% of all that was read."
    )
    assert Play(*calls).steps_of(calls[0])[flag.step_indexes[0]].offered_tools is not None
    assert played(calls[:2], FlagKind.UNUSED_TOOLS) == []  # it goes on, and may still call them


def test_few_or_short_schemas_are_not_worth_a_word() -> None:
    assert played(offering(chain(3), 1_900), FlagKind.UNUSED_TOOLS) == []
    assert played(offering(chain(2), 4_000), FlagKind.UNUSED_TOOLS) == []
    assert played(offering(chain(3), 9_000, ["search"]), FlagKind.UNUSED_TOOLS) == []
    assert played(chain(3), FlagKind.UNUSED_TOOLS) == []


# --- answers at odds with what tools gave


def test_an_answer_that_tells_another_count_than_the_tool_is_a_contradiction() -> None:
    output = json.dumps({"rooms": [{"free": True}, {"free": True}, {"free": False}]})
    call = CallBuilder()
    asked = call(user="How many?", answers=tool("look_up", {}))
    told = call(after=asked, results=results_for(asked, output), answers="There are 3 free rooms.")
    (flag,) = played([asked, told], FlagKind.CONTRADICTION)
    assert flag.message == (
        'Step 3 is at odds with its tools. It says "3 free": the tool gave 3, and 2 of them are free.'
    )
    assert flag.step_indexes == (3,)


@pytest.mark.parametrize(
    ("output", "answer", "is_found"),
    [
        ("Error: no such seat", "Your seat has been booked.", True),
        ("Error: no such seat", "All done: booked successfully!", True),
        ("Error: no such seat", "The seat has not been booked.", False),
        ("Error: no such seat", "I'm sorry, that failed. Your money has been kept safe.", False),
        ("Error: no such seat", "Which seat would you like?", False),
        ("Booked.", "Your seat has been booked.", False),
    ],
)
def test_success_that_is_told_right_after_a_failure_is_a_contradiction(
    output: str, answer: str, is_found: bool
) -> None:
    call = CallBuilder()
    asked = call(user="Book it", answers=tool("book", {}))
    told = call(after=asked, results=results_for(asked, output), answers=answer)
    found = played([asked, told], FlagKind.CONTRADICTION)
    assert [flag.step_indexes for flag in found] == ([(2, 3)] if is_found else [])


def test_success_after_another_try_that_worked_is_none() -> None:
    call = CallBuilder()
    first = call(user="Book it", answers=tool("book", {"seat": 1}))
    second = call(after=first, results=results_for(first, "Error: taken"), answers=tool("book", {"seat": 2}))
    told = call(after=second, results=results_for(second, "ok"), answers="Your seat has been booked.")
    assert played([first, second, told], FlagKind.CONTRADICTION) == []


# --- steps beside what their agent's runs usually cost


def dear_beside(history: Sequence[str], usd: str, limits: Thresholds | None = None) -> list[Flag]:
    (call,) = chain(1)
    play = Play(call)
    run, steps = play.run_of(call), play.steps_of(call)
    cost = Decimal(usd)
    priced = [replace(step, cost_usd=cost if step.is_priced else None) for step in steps]
    earlier = [Decimal(each) for each in history]
    found = find_flags(replace(run, total_cost_usd=cost), priced, limits or Thresholds(), earlier)
    return [flag for flag in found if flag.kind is FlagKind.HIGH_COST_STEP]


def test_a_step_far_dearer_than_the_dearest_of_the_agents_earlier_runs_is_told_with_what_is_usual() -> None:
    (flag,) = dear_beside(["0.002"] * 9 + ["0.004"], "0.0061")
    assert flag.message == (
        "Step 1 cost $0.0061, 100% of the run. That is 3.0 times what the dearest step of this agent's runs "
        "usually costs ($0.0020, the median of 10 runs)."
    )


@pytest.mark.parametrize(
    ("history", "usd"),
    [
        (["0.002"] * 9, "0.4"),  # too few runs to tell
        (["0.002"] * 10, "0.006"),  # just three times as much
        (["0.00002"] * 10, "0.0009"),  # next to nothing
        (["0.002", "0.004", "0.006", "0.008", "0.010"] * 3, "0.023"),  # such runs differ by themselves
        ([], "0.4"),
    ],
)
def test_a_step_that_is_not_unusual_for_its_agent_is_not_told(history: Sequence[str], usd: str) -> None:
    assert dear_beside(history, usd) == []


def test_a_few_runs_that_were_as_dear_do_not_make_the_next_one_usual() -> None:
    assert dear_beside(["0.002"] * 20 + ["0.4"] * 9, "0.3") != []


def test_how_many_times_is_the_projects_choice() -> None:
    assert dear_beside(["0.002"] * 10, "0.0041", Thresholds(high_cost_times=Decimal(2))) != []
