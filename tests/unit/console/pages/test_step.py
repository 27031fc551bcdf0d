from __future__ import annotations

from tests.console_runs import call_id, refund_run
from watchllm_proxy.console.pages.step import step_detail


def test_a_tool_step_leads_to_who_asked_who_read_and_its_twins() -> None:
    detail = step_detail(refund_run(), 6, has_calls=True)
    assert detail is not None
    related = {group["label"]: group["steps"] for group in detail["related"]}  # type: ignore[attr-defined,index]
    assert related == {"asked by": [5], "first read by": [7], "same call at": [4, 8]}


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
