"""Each finding, and what looks like it and is none."""

from __future__ import annotations

import time
from collections.abc import Sequence
from decimal import Decimal

from tests.unit.builders import CLIENT_LEFT, RATE_LIMITED, Ask, CallBuilder, Play, error, results_for, tool
from watchllm_proxy.enrich.flags import Thresholds, find_flags
from watchllm_proxy.records import Call, ExchangeEnd, Flag, FlagKind, Step, StepType


def flags_of(*calls: Call, kind: FlagKind) -> list[Flag]:
    play = Play(*calls)
    run = play.run_of(calls[0])
    return [flag for flag in find_flags(run, play.steps_of(calls[0])) if flag.kind is kind]


def agent_run(asks: Sequence[Ask | Sequence[Ask]], outputs: Sequence[str] | None = None) -> list[Call]:
    """An agent that asks for one thing after the other and then answers."""
    call = CallBuilder()
    calls = [call(user="Do it", answers=asks[0])]
    for number, ask in enumerate([*asks[1:], "Done."]):
        texts = [(outputs[number] if outputs else "x")] * len(calls[-1].answer.tool_calls)  # type: ignore[union-attr]
        calls.append(call(after=calls[-1], results=results_for(calls[-1], *texts), answers=ask))
    return calls


def test_the_same_call_three_times_is_a_loop_however_its_arguments_are_written() -> None:
    asks = [tool("lookup", '{"a": 1, "b": 2}'), tool("lookup", '{"b":2,"a":1}'), tool("lookup", {"a": 1, "b": 2})]
    (flag,) = flags_of(*agent_run(asks), kind=FlagKind.LOOP_DETECTED)
    assert flag.message == "lookup was called 3 times with the same arguments, since step 2."
    assert flag.step_indexes == (2, 4, 6)
    assert flag.severity == "error"


def test_twice_is_no_loop_and_other_arguments_are_none_either() -> None:
    asks = [tool("lookup", {"page": n}) for n in (1, 1, 2, 3)]
    assert flags_of(*agent_run(asks), kind=FlagKind.LOOP_DETECTED) == []


def test_a_cycle_is_told_once_as_a_cycle() -> None:
    asks = [tool("search"), tool("open", {"id": 1})] * 3
    (flag,) = flags_of(*agent_run(asks), kind=FlagKind.LOOP_DETECTED)
    assert flag.message == "search → open went round 3 times with the same arguments, since step 2."
    assert len(flag.step_indexes) == 6


def test_a_cycle_of_four_and_a_loop_beside_it_are_told_apart() -> None:
    four = [tool(name) for name in "abcd"] * 3
    asks = [tool("ping"), *four, tool("ping"), tool("x"), tool("ping")]
    messages = [flag.message for flag in flags_of(*agent_run(asks), kind=FlagKind.LOOP_DETECTED)]
    assert messages == [
        "a → b → c → d went round 3 times with the same arguments, since step 4.",
        "ping was called 3 times with the same arguments, since step 2.",
    ]


def test_going_through_pages_is_repeated_use_and_no_loop() -> None:
    asks = [tool("read", {"page": n}) for n in range(5)]
    (flag,) = flags_of(*agent_run(asks), kind=FlagKind.REPEATED_TOOL)
    assert (flag.severity, len(flag.step_indexes)) == ("info", 5)
    assert flags_of(*agent_run(asks[:4]), kind=FlagKind.REPEATED_TOOL) == []


def costing(*costs: str) -> list[Call]:
    call = CallBuilder()
    calls = [call(user="Do", answers=tool("t", {"n": 0}), cost=costs[0])]
    for number, cost in enumerate(costs[1:], start=1):
        results = results_for(calls[-1], "x")
        calls.append(call(after=calls[-1], results=results, answers=tool("t", {"n": number}), cost=cost))
    return calls


def test_a_step_with_half_of_the_money_of_a_longer_run_is_dear() -> None:
    (flag,) = flags_of(*costing("0.02", "0.001", "0.001", "0.001"), kind=FlagKind.HIGH_COST_STEP)
    assert flag.message == "Step 1 cost $0.0200, 87% of the run."


def test_half_of_a_short_run_or_of_next_to_nothing_is_not_dear() -> None:
    assert flags_of(*costing("0.02", "0.001", "0.001"), kind=FlagKind.HIGH_COST_STEP) == []
    assert flags_of(*costing("0.009", "0.001", "0.001", "0.001"), kind=FlagKind.HIGH_COST_STEP) == []


def test_half_a_dollar_is_dear_in_any_run() -> None:
    (flag,) = flags_of(*costing("0.50"), kind=FlagKind.HIGH_COST_STEP)
    assert flag.step_indexes == (1,)


def test_a_tool_for_thinking_aloud_owes_no_output() -> None:
    assert flags_of(*agent_run([tool("think")], outputs=[""]), kind=FlagKind.EMPTY_TOOL_OUTPUT) == []
    assert len(flags_of(*agent_run([tool("search")], outputs=[""]), kind=FlagKind.EMPTY_TOOL_OUTPUT)) == 1


def test_thresholds_are_values() -> None:
    play = Play(*(calls := costing("0.002")))
    cheap = Thresholds(high_cost_usd=Decimal("0.001"))
    assert FlagKind.HIGH_COST_STEP in {
        flag.kind for flag in find_flags(play.run_of(calls[0]), play.steps_of(calls[0]), cheap)
    }


def test_a_retry_that_read_nothing_from_the_cache_paid_again() -> None:
    call = CallBuilder()
    failed = call(user="Hi", error=error())
    paid = call.again(failed, tokens=(2000, 5), cached=0)
    (flag,) = flags_of(failed, paid, kind=FlagKind.CACHE_MISS_RETRY)
    assert "all 2000 input tokens" in flag.message
    assert flag.step_indexes == (2, 3)


def test_a_cached_a_short_or_an_unknown_prompt_accuses_nobody() -> None:
    for tokens, cached in (((2000, 5), 1920), ((500, 5), 0), ((2000, 5), None)):
        call = CallBuilder()
        failed = call(user="Hi", error=error())
        again = call.again(failed, tokens=tokens, cached=cached)
        assert flags_of(failed, again, kind=FlagKind.CACHE_MISS_RETRY) == []


def test_an_attempt_that_timed_out_and_was_made_again() -> None:
    call = CallBuilder()
    slow = call(user="Hi", error=error("upstream_timeout"), status=504, end=ExchangeEnd.UPSTREAM_TIMEOUT)
    again = call.again(slow)
    (flag,) = flags_of(slow, again, kind=FlagKind.TIMEOUT_RETRY)
    assert flag.step_indexes == (1, 2, 3)


def test_a_client_that_gave_up_and_asked_again_ran_into_its_own_limit() -> None:
    call = CallBuilder()
    left = call(user="Hi", error=CLIENT_LEFT, status=200, end=ExchangeEnd.CLIENT_ABORTED)
    assert len(flags_of(left, call.again(left), kind=FlagKind.TIMEOUT_RETRY)) == 1


def test_a_rate_limit_is_no_timeout() -> None:
    call = CallBuilder()
    limited = call(user="Hi", error=RATE_LIMITED, status=429)
    assert flags_of(limited, call.again(limited), kind=FlagKind.TIMEOUT_RETRY) == []


def test_another_tool_after_a_failing_one_is_a_fallback() -> None:
    asks = [tool("fast_search"), tool("slow_search")]
    calls = agent_run(asks, outputs=["Error: down", "found"])
    (flag,) = flags_of(*calls, kind=FlagKind.ERROR_FALLBACK)
    assert flag.message == "After fast_search failed at step 2, slow_search was used instead at step 4."


def test_trying_the_same_tool_again_is_no_fallback() -> None:
    asks = [tool("search", {"n": 1}), tool("open"), tool("search", {"n": 2})]
    calls = agent_run(asks, outputs=["Error: down", "x", "found"])
    assert flags_of(*calls, kind=FlagKind.ERROR_FALLBACK) == []


def test_another_model_after_an_error_is_a_fallback_and_a_dated_name_is_not() -> None:
    def step(index: int, type: StepType, model: str) -> Step:
        return Step(index, type, 0, 1, False, "", None, model=model, is_priced=True)

    call = CallBuilder()
    run = Play(one := call(user="Hi")).run_of(one)
    for model, expected in (("openai/gpt-4o-2024-08-06", 0), ("claude-sonnet-4", 1)):
        steps = [step(0, StepType.ERROR, "gpt-4o"), step(1, StepType.MODEL_RESPONSE, model)]
        found = [flag for flag in find_flags(run, steps) if flag.kind is FlagKind.ERROR_FALLBACK]
        assert len(found) == expected


def test_empty_outputs_are_told_and_missing_ones_are_not() -> None:
    for output, expected in (("", 1), (" [] ", 1), ("{}", 1), ("null", 1), ("0", 0), ("none left", 0)):
        calls = agent_run([tool("lookup")], outputs=[output])
        assert len(flags_of(*calls, kind=FlagKind.EMPTY_TOOL_OUTPUT)) == expected
    assert flags_of(CallBuilder()(user="Hi", answers=tool("lookup")), kind=FlagKind.EMPTY_TOOL_OUTPUT) == []


def test_a_clean_run_has_no_flags() -> None:
    calls = agent_run([tool("lookup"), tool("ship")])
    play = Play(*calls)
    assert find_flags(play.run_of(calls[0]), play.steps_of(calls[0])) == ()


def test_the_time_is_linear_in_the_steps() -> None:
    """20,000 tool calls that nearly cycle: a quadratic rule would take minutes."""
    run = Play(one := CallBuilder()(user="Hi")).run_of(one)
    steps = [
        Step(
            n,
            StepType.TOOL_CALL,
            0,
            1,
            True,
            "",
            None,
            tool="ab"[n % 2],
            tool_args=str(n // 4),
            tool_output_summary="x",
        )
        for n in range(20_000)
    ]
    began = time.process_time()
    find_flags(run, steps)
    assert time.process_time() - began < 20
