from __future__ import annotations

from dataclasses import replace

from tests.console_runs import call_id, make_run, refund_run
from tests.unit.insights.test_carried import SYSTEM, USER, Talk, message
from tests.unit.insights.test_carried import step as carried_step
from watchllm_proxy.console.loading import LoadedRun
from watchllm_proxy.console.pages.step import step_detail
from watchllm_proxy.insights.spending import spending
from watchllm_proxy.records import StepType


def test_a_tool_step_leads_to_who_asked_who_read_and_its_twins() -> None:
    assert _related(refund_run(), 6) == {"asked by": [5], "first read by": [7], "same call at": [4, 8]}


def test_the_first_reader_is_who_brought_the_result_and_of_none_there_is_none() -> None:
    refund = refund_run()
    steps = list(refund.steps)
    end_us = steps[6].started_at_us + (steps[6].duration_us or 0)
    steps[9] = replace(steps[9], started_at_us=end_us)  # another agent's request stands before it
    readers = _related(replace(refund, steps=steps), 6)["first read by"]
    assert readers == [9]
    steps[6] = replace(steps[6], tool_output_summary=None, duration_us=None)
    assert "first read by" not in _related(replace(refund, steps=steps), 6)


def _related(loaded: LoadedRun, index: int) -> dict[str, list[int]]:
    detail = step_detail(loaded, index, has_calls=True)
    assert detail is not None
    return {group["label"]: group["steps"] for group in detail["related"]}  # type: ignore[attr-defined,index]


def test_a_model_step_tells_why_its_call_is_in_the_run() -> None:
    detail = step_detail(refund_run(), 11, has_calls=True)
    assert detail is not None
    (why,) = detail["why"]  # type: ignore[misc]
    assert why["sentence"] == "The same request as an earlier, failed call"  # type: ignore[index]
    assert why["to_step"] == 9  # type: ignore[index]
    assert detail["call_id"] == call_id(6)


def test_a_samples_calls_cannot_be_asked_for() -> None:
    detail = step_detail(refund_run(), 11, has_calls=False)
    assert detail is not None
    assert detail["call_id"] is None


def test_a_refused_call_has_no_cost_to_tell() -> None:
    detail = step_detail(refund_run(), 9, has_calls=True)
    assert detail is not None
    assert "cost" not in dict(detail["facts"])  # type: ignore[call-overload]


def test_there_is_no_detail_of_a_step_that_is_not_there() -> None:
    assert step_detail(refund_run(), 999, has_calls=True) is None


def test_a_tools_output_tells_what_carrying_it_cost() -> None:
    talk = Talk()
    output = message("t", "tool", 4000, ("id-1", 4000))
    talk.ask(SYSTEM, USER, read=2000, cached=1600, answer="a")
    for number in range(3):
        talk.ask(SYSTEM, USER, output, *[message(str(n)) for n in range(number)], read=9000, cached=0)
    steps = [carried_step(0, StepType.DECISION, 1), carried_step(1, StepType.TOOL_CALL, 1, "id-1")]
    steps += [carried_step(number, StepType.DECISION, number) for number in (2, 3, 4)]
    loaded = LoadedRun(make_run(), (), steps, spending=spending(talk.calls, steps))
    detail = step_detail(loaded, 1, has_calls=True)
    assert detail is not None
    facts = dict(detail["facts"])  # type: ignore[call-overload]
    assert facts["carried"].endswith("in 2 later requests")
    lost = step_detail(loaded, 2, has_calls=True)
    assert lost is not None
    assert dict(lost["facts"])["cache lost"] == "1,600 tokens, $0.000120: nothing had changed"  # type: ignore[call-overload]
    without = step_detail(LoadedRun(make_run(), (), steps), 1, has_calls=True)
    assert without is not None
    assert "carried" not in dict(without["facts"])  # type: ignore[call-overload]
