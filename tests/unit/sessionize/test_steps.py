"""The rows that a call makes."""

from __future__ import annotations

from tests.unit.builders import RATE_LIMITED, CallBuilder, Play, error, ids, message, results_for, tool
from watchllm_proxy.records import Api, Step, StepType, ToolResult


def step_of(play_steps: tuple[Step, ...], type: StepType) -> Step:
    (step,) = [step for step in play_steps if step.type is type]
    return step


def test_an_agents_turn_reads_as_what_happened() -> None:
    call = CallBuilder()
    ask = call(user="Refund me in euro", answers=[tool("create_refund", {"id": 7}), tool("get_fx_rate")])
    done = call(after=ask, results=results_for(ask, "ok", "1.08"), answers="Refunded 20 €.")
    steps = Play(ask, done).steps_of(ask)
    assert [(step.type.value, step.summary) for step in steps] == [
        ("user_input", "Refund me in euro"),
        ("decision", "create_refund, get_fx_rate"),
        ("tool_call", 'create_refund({"id": 7})'),
        ("tool_call", "get_fx_rate({})"),
        ("model_response", "Refunded 20 €."),
    ]
    assert steps[1].decision == "create_refund, get_fx_rate"


def test_a_tools_time_is_inferred_from_the_gap_between_two_calls() -> None:
    call = CallBuilder()
    ask = call(user="Hi", answers=tool("a"))
    waiting = Play(ask).steps_of(ask)[-1]
    assert (waiting.duration_us, waiting.tool_output_summary, waiting.is_tool_error) == (None, None, None)
    done = call(after=ask, results=results_for(ask, "x" * 600), gap_s=3.5)
    filled = Play(ask, done).steps_of(ask)[2]
    assert (filled.duration_us, filled.is_duration_inferred) == (3_500_000, True)
    assert filled.tool_output_summary is not None
    assert len(filled.tool_output_summary) == 500
    assert filled.tool_output_summary.endswith("…")


def test_a_failing_tool_is_marked() -> None:
    call = CallBuilder()
    ask = call(user="Hi", answers=tool("a"))
    done = call(after=ask, results=results_for(ask, '{"error": {"param": "id"}}'))
    assert Play(ask, done).steps_of(ask)[2].is_tool_error is True


def test_each_call_carries_its_figures_on_exactly_one_step() -> None:
    call = CallBuilder()
    ask = call(user="Hi", answers=[tool("a"), tool("b")])
    priced = [step for step in Play(ask).steps_of(ask) if step.is_priced]
    assert [(step.type, step.input_tokens, step.output_tokens) for step in priced] == [
        (StepType.DECISION, 100, 20)
    ]


def test_a_result_whose_call_nobody_saw_gets_a_step_of_its_own_once() -> None:
    call = CallBuilder()
    first = call(results={"call_unseen": "found"}, answers=tool("a"))
    done = call(after=first, results=results_for(first, "x"))
    steps = Play(first, done).steps_of(first)
    assert [step.type.value for step in steps] == ["tool_result", "decision", "tool_call", "model_response"]
    assert (steps[0].tool_call_id, steps[0].tool_output_summary) == ("call_unseen", "found")


def test_results_without_ids_go_to_the_open_calls_in_order() -> None:
    call = CallBuilder()
    ask = call(user="Hi", answers=[tool("a", id="x"), tool("b", id="y")], client_ids=ids(run="r"))
    assert ask.answer is not None
    from dataclasses import replace

    nameless = tuple(replace(c, tool_call_id=None) for c in ask.answer.tool_calls)
    ask = replace(ask, answer=replace(ask.answer, tool_calls=nameless))
    done = call(
        user="Hi",
        history=[
            message("user", "Hi"),
            message("assistant", calls=nameless),
            message("tool", "1", results=[ToolResult(None, "1")]),
            message("tool", "2", results=[ToolResult(None, "2")]),
        ],
        client_ids=ids(run="r"),
    )
    outputs = [(s.tool, s.tool_output_summary) for s in Play(ask, done).steps_of(ask) if s.tool]
    assert outputs == [("a", "1"), ("b", "2")]


def test_an_id_that_comes_up_twice_in_a_run_keeps_each_calls_own_result() -> None:
    call = CallBuilder()
    one = call(user="Hi", answers=tool("a", {"n": 1}, id="call_0"))
    two = call(after=one, results={"call_0": "first"}, answers=tool("a", {"n": 2}, id="call_0"))
    done = call(after=two, results={"call_0": "second"})
    outputs = [s.tool_output_summary for s in Play(one, two, done).steps_of(one) if s.tool]
    assert outputs == ["first", "second"]


def test_tools_of_an_answer_that_broke_off_are_not_asked_for() -> None:
    call = CallBuilder()
    broken = call(user="Hi", error=error("upstream_broken"), status=200)
    assert Play(broken).outline(broken) == ["user_input", "error"]


def test_an_error_step_tells_the_upstreams_words() -> None:
    failed = CallBuilder()(user="Hi", error=RATE_LIMITED, status=429)
    step = step_of(Play(failed).steps_of(failed), StepType.ERROR)
    assert (step.summary, step.error_type, step.http_status) == ("Too many requests.", "rate_limit_error", 429)
    assert step.model == "gpt-test"


def test_embeddings_make_a_model_step_with_a_count() -> None:
    one = CallBuilder()(
        api=Api.EMBEDDINGS,
        answers="",
        history=[message("", "red", slot="input"), message("", "blue", slot="input")],
        client_ids=ids(run="r"),
    )
    play = Play(one)
    assert [(step.type.value, step.summary) for step in play.steps_of(one)] == [
        ("model_response", "Embedded 2 texts")
    ]
    assert play.run_of(one).title == "red"
