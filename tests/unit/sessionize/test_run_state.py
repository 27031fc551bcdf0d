"""How a run stands, and its totals."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.unit.builders import CLIENT_LEFT, RATE_LIMITED, CallBuilder, Play, error, ids, results_for, tool
from watchllm_proxy.records import CallError, ExchangeEnd, RunStatus


def test_a_final_answer_completes_the_run_at_once() -> None:
    call = CallBuilder()
    ask = call(user="Hi", answers=tool("a"))
    play = Play(ask)
    assert (play.run_of(ask).status, play.run_of(ask).ended_at_us) == (RunStatus.RUNNING, None)
    play.observe(done := call(after=ask, results=results_for(ask, "x")))
    assert (play.run_of(ask).status, play.run_of(ask).ended_at_us) == (RunStatus.COMPLETED, done.ended_at_us)


def test_an_answer_while_another_tool_call_is_open_does_not_complete_the_run() -> None:
    call = CallBuilder()
    ask = call(user="Hi", answers=[tool("a"), tool("b")], client_ids=ids(run="r"))
    partial = call(after=ask, results={"call-call-1-0": "x"}, client_ids=ids(run="r"))
    assert Play(ask, partial).run_of(ask).status is RunStatus.RUNNING
    assert Play(ask, partial, tick_after_s=700).run_of(ask).status is RunStatus.ABANDONED


def test_handing_in_the_answer_by_an_output_tool_completes_the_run() -> None:
    call = CallBuilder()
    ask = call(user="Plan", answers=tool("final_result", {"days": 2}))
    turn = call(after=ask, results=results_for(ask, "Final result processed."), user="Shorter, please")
    play = Play(ask)
    assert play.run_of(ask).status is RunStatus.COMPLETED
    play.observe(turn)
    assert play.placement(turn).run_id != play.placement(ask).run_id
    assert play.steps_of(ask)[-1].tool_output_summary == "Final result processed."
    assert play.outline(turn) == ["user_input", "model_response"], "the result belongs to the turn before"


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 422])
def test_an_error_that_no_retry_cures_fails_the_run_at_once(status: int) -> None:
    call = CallBuilder()
    failed = call(user="Hi", error=CallError("invalid_request_error", "No."), status=status)
    assert Play(failed).run_of(failed).status is RunStatus.FAILED


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
def test_an_error_that_a_retry_may_cure_fails_the_run_after_a_minute(status: int) -> None:
    call = CallBuilder()
    failed = call(user="Hi", error=error(), status=status)
    assert Play(failed).run_of(failed).status is RunStatus.RUNNING
    assert Play(failed, tick_after_s=59).run_of(failed).status is RunStatus.RUNNING
    assert Play(failed, tick_after_s=60).run_of(failed).status is RunStatus.FAILED


def test_a_failure_after_hours_of_work_is_told_after_a_minute_too() -> None:
    call = CallBuilder()
    ask = call(user="Hi", answers=tool("a"))
    failed = call(after=ask, results=results_for(ask, "x"), error=RATE_LIMITED, status=429)
    assert Play(ask, failed, tick_after_s=61).run_of(ask).status is RunStatus.FAILED


def test_a_retry_takes_the_failure_back() -> None:
    call = CallBuilder()
    failed = call(user="Hi", error=error())
    play = Play(failed, tick_after_s=61)
    assert play.run_of(failed).status is RunStatus.FAILED
    play.observe(call.again(failed, starts_at_us=failed.ended_at_us + 90_000_000))
    assert play.run_of(failed).status is RunStatus.COMPLETED
    assert play.run_of(failed).error_count == 1


def test_a_client_that_leaves_cancels_the_run() -> None:
    call = CallBuilder()
    left = call(user="Hi", error=CLIENT_LEFT, status=200, end=ExchangeEnd.CLIENT_ABORTED)
    assert Play(left).run_of(left).status is RunStatus.RUNNING
    assert Play(left, tick_after_s=61).run_of(left).status is RunStatus.CANCELLED


def test_tools_asked_for_and_never_answered_abandon_the_run() -> None:
    call = CallBuilder()
    ask = call(user="Hi", answers=tool("a"))
    assert Play(ask, tick_after_s=599).run_of(ask).status is RunStatus.RUNNING
    assert Play(ask, tick_after_s=600).run_of(ask).status is RunStatus.ABANDONED


def test_results_that_come_with_another_run_judge_the_one_that_waited_for_them_anew() -> None:
    call = CallBuilder()
    ask = call(user="Hi", answers=tool("a"))
    early = call(after=ask, answers="Done without it.")
    elsewhere = call(after=ask, results=results_for(ask, "x"), client_ids=ids(run="other"))
    play = Play(ask, early, tick_after_s=700)
    assert play.run_of(ask).status is RunStatus.ABANDONED
    play.observe(elsewhere)
    assert play.run_of(ask).status is RunStatus.COMPLETED


def test_totals_are_exact_sums_of_the_priced_steps() -> None:
    call = CallBuilder()
    ask = call(user="Hi", answers=tool("a"), cost="0.1", tokens=(10, 5), cached=4)
    done = call(after=ask, results=results_for(ask, '{"error": "gone"}'), cost="0.2", tokens=(20, 7))
    run = Play(ask, done).run_of(ask)
    assert run.total_cost_usd == Decimal("0.3")
    assert (run.input_tokens, run.output_tokens, run.cache_read_input_tokens) == (30, 12, 4)
    assert (run.total_calls, run.total_steps, run.error_count, run.unpriced_calls) == (2, 4, 1, 0)


def test_unpriced_calls_are_counted_and_a_run_of_them_has_no_cost() -> None:
    call = CallBuilder()
    ask = call(user="Hi", answers=tool("a"), cost=None)
    assert (Play(ask).run_of(ask).total_cost_usd, Play(ask).run_of(ask).unpriced_calls) == (None, 1)
    done = call(after=ask, results=results_for(ask, "x"), cost="0.5")
    run = Play(ask, done).run_of(ask)
    assert (run.total_cost_usd, run.unpriced_calls) == (Decimal("0.5"), 1)


def test_a_call_that_failed_before_it_cost_anything_is_not_unpriced() -> None:
    call = CallBuilder()
    failed = call(user="Hi", error=error())
    assert Play(failed).run_of(failed).unpriced_calls == 0


def test_a_lone_chat_is_no_agent_and_a_retried_one_is_not_either() -> None:
    call = CallBuilder()
    failed = call(user="Hi", error=error())
    again = call.again(failed)
    assert not Play(failed, again).run_of(failed).is_agent


@pytest.mark.parametrize("change", [{"tools": ["a"]}, {"client_ids": ids(run="r")}, {"answers": tool("a")}])
def test_tools_or_a_run_id_make_an_agent(change: dict[str, object]) -> None:
    one = CallBuilder()(user="Hi", **change)  # type: ignore[arg-type]
    assert Play(one).run_of(one).is_agent


def test_several_calls_make_an_agent() -> None:
    call = CallBuilder()
    one = call(user="Hi", client_ids=ids(conversation="c"))
    two = call(client_ids=ids(conversation="c"), system=None)
    assert Play(one, two).run_of(one).is_agent


def test_tags_come_together_and_the_latest_value_wins() -> None:
    call = CallBuilder()
    one = call(user="Hi", tags=[("env", "dev"), ("team", "x")], client_ids=ids(run="r"))
    two = call(user="Hi", tags=[("env", "prod")], client_ids=ids(run="r"))
    assert Play(one, two).run_of(one).tags == (("env", "prod"), ("team", "x"))
