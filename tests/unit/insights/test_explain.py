"""What is said of a step, and that it rests on steps which exist."""

from __future__ import annotations

from tests.unit.builders import CallBuilder, Play, error, results_for, tool
from watchllm_proxy.enrich.flags import find_flags
from watchllm_proxy.insights.explain import explain
from watchllm_proxy.records import Call, CallError, Explanation


def explained(*calls: Call) -> dict[int, Explanation]:
    play = Play(*calls)
    run, steps = play.run_of(calls[0]), play.steps_of(calls[0])
    return {found.step_index: found for found in explain(run, steps, find_flags(run, steps))}


def test_a_run_without_trouble_needs_no_explanation() -> None:
    call = CallBuilder()
    ask = call(user="Hi", answers=tool("a"))
    assert explained(ask, call(after=ask, results=results_for(ask, "x"))) == {}


def test_a_failed_call_is_explained_in_the_upstreams_words() -> None:
    failed = CallBuilder()(user="Hi", error=CallError("invalid_request_error", "No such model."), status=404)
    (found,) = explained(failed).values()
    assert found.text == "The call failed with HTTP 404, invalid_request_error: No such model."
    assert (found.confidence, found.source, found.rules_matched) == (1.0, "deterministic", ("failed",))


def test_a_retry_names_the_attempt_it_repeats_and_its_end() -> None:
    call = CallBuilder()
    failed = call(user="Hi", error=error("overloaded"), status=529)
    found = explained(failed, call.again(failed))
    assert found[2].text == (
        "The client sent the same request again after step 1 (overloaded); the new attempt, step 3, succeeded."
    )


def test_a_loop_is_explained_from_its_first_repeat_on() -> None:
    call = CallBuilder()
    calls = [call(user="Hi", answers=tool("a"))]
    for _ in range(2):
        calls.append(call(after=calls[-1], results=results_for(calls[-1], "x"), answers=tool("a")))
    found = explained(*calls)
    assert sorted(found) == [4, 6]
    assert found[4].text == "a was asked for again with the arguments of step 2."


def test_several_rules_on_one_step_make_one_text_with_the_lowest_confidence() -> None:
    call = CallBuilder()
    calls = [call(user="Hi", answers=tool("a"))]
    for _ in range(2):
        calls.append(call(after=calls[-1], results=results_for(calls[-1], "Error: gone"), answers=tool("a")))
    found = explained(*calls)[4]
    assert found.rules_matched == ("tool_failed", "looped")
    assert found.confidence == 0.9


def test_an_expensive_step_says_what_the_money_went_into() -> None:
    call = CallBuilder()
    calls = [call(user="Hi", answers=tool("t", {"n": 0}), cost="0.3", tokens=(60_000, 20), cached=0)]
    for number in range(1, 4):
        results = results_for(calls[-1], "x")
        calls.append(call(after=calls[-1], results=results, answers=tool("t", {"n": number}), cost="0.01"))
    assert explained(*calls)[1].text == (
        "It cost $0.3000, 91% of the run: gpt-test read 60,000 tokens (0 of them from the cache) and wrote 20."
    )


def test_an_empty_output_says_what_came_of_it() -> None:
    call = CallBuilder()
    ask = call(user="Hi", answers=tool("lookup"))
    done = call(after=ask, results=results_for(ask, "[]"))
    assert explained(ask, done)[2].text == (
        "lookup gave an empty output. Without it the model went on at step 3: it answered."
    )


def test_an_answer_at_odds_with_its_tools_is_explained_by_what_they_gave() -> None:
    call = CallBuilder()
    asked = call(user="How many?", answers=tool("look_up", {}))
    output = '{"rooms": [{"free": true}, {"free": false}]}'
    told = call(after=asked, results=results_for(asked, output), answers="There are 2 free rooms.")
    found = explained(asked, told)[3]
    assert found.text.endswith('It says "2 free": the tool gave 2, and 1 of them are free.')
    assert (found.confidence, found.rules_matched) == (0.9, ("contradicted",))

    asked = call(user="Book it", answers=tool("book", {}))
    told = call(after=asked, results=results_for(asked, "Error: taken"), answers="It has been booked.")
    found = explained(asked, told)[3]
    assert "failed at step 2" in found.text
    assert (found.confidence, found.rules_matched) == (0.7, ("contradicted",))
