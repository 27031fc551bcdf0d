from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

import pytest

from tests.console_runs import call_id, make_call, make_run, refund_run
from tests.unit.insights.test_carried import SYSTEM, USER, Talk, message
from tests.unit.insights.test_carried import step as carried_step
from watchllm_proxy.console.answers import dumps
from watchllm_proxy.console.api.debug import call_document, debug_document
from watchllm_proxy.console.loading import LoadedRun
from watchllm_proxy.insights.spending import spending
from watchllm_proxy.records import StepType


def _steps(loaded: LoadedRun) -> list[dict]:
    return debug_document(loaded)["debug"]["steps"]  # type: ignore[index,no-any-return]


def _summary(loaded: LoadedRun) -> dict:
    return debug_document(loaded)["debug"]["summary"]  # type: ignore[index,no-any-return]


def test_where_the_money_went_adds_up_to_the_whole() -> None:
    cost = _summary(refund_run())["cost"]
    assert sum(cost["breakdown"].values()) == cost["total_cost_usd"]
    assert cost["wasted_spend_usd"] > 0
    assert cost["unpriced_calls"] == 1


def test_a_step_without_a_call_of_its_own_costs_nothing_and_an_unpriced_one_is_unknown() -> None:
    steps = _steps(refund_run())
    assert (steps[0]["api_cost_usd"], steps[0]["token_cost"], steps[0]["cost_percentage"]) == (0, 0, 0)
    assert (steps[9]["api_cost_usd"], steps[9]["token_cost"], steps[9]["cost_percentage"]) == (None, None, None)
    assert steps[1]["api_cost_usd"] == Decimal("0.000826")


def test_every_call_says_why_it_is_here() -> None:
    links = _summary(refund_run())["links"]
    assert {link["call_id"] for link in links} == {call_id(n) for n in range(1, 7)}
    assert links[0]["kind"] == "new_run"


def test_an_explanation_stands_at_its_step() -> None:
    step = _steps(refund_run())[6]
    assert step["why_explanation"].startswith("The same call failed")
    assert step["explain_rules_matched"] == ("loop.equal_arguments",)
    assert step["flags"] == ("loop_detected",)


def test_arguments_are_json_where_they_are_json() -> None:
    loaded = refund_run()
    assert b'"tool_args":{"order_id":"A-10432"}' in dumps(_steps(loaded)[2])
    cut = replace(loaded, steps=[replace(loaded.steps[2], tool_args='{"order_id":"A-1')])
    assert b'"tool_args":"{\\"order_id\\":\\"A-1"' in dumps(_steps(cut)[0])


def test_a_captured_request_keeps_its_large_numbers() -> None:
    assert b'"seed":12345678901234567890' in dumps(call_document(make_call(1)))


def test_direct_and_carried_costs_of_steps_add_up_and_a_broken_cache_names_its_step() -> None:
    talk = Talk()
    output = message("t", "tool", 4000, ("id-1", 4000))
    talk.ask(SYSTEM, USER, read=9000, wrote=10, cached=8192, usd="0.5", answer="a")
    talk.ask(SYSTEM, message("edited"), output, read=9000, wrote=5, cached=1024, usd="0.25")
    steps = [
        replace(carried_step(0, StepType.DECISION, 1), cost_usd=Decimal("0.5")),
        carried_step(1, StepType.TOOL_CALL, 1, "id-1"),
        replace(carried_step(2, StepType.MODEL_RESPONSE, 2), cost_usd=Decimal("0.25")),
    ]
    run = make_run(total_cost_usd=Decimal("0.75"))
    loaded = LoadedRun(run, (), steps, spending=spending(talk.calls, steps))
    found = json.loads(dumps(debug_document(loaded)), parse_float=Decimal)["debug"]
    cost = found["summary"]["cost"]
    whole = pytest.approx(Decimal("0.75"), abs=Decimal("1e-9"))
    assert cost["direct_cost_usd"] + cost["carried_cost_usd"] == whole
    assert sum(step["direct_cost_usd"] + step["carried_cost_usd"] for step in found["steps"]) == whole
    (broke,) = cost["cache_breaks"]
    assert (broke["step_index"], broke["tokens_lost"], broke["message_index"]) == (2, 7168, 1)
    assert cost["amount_saved_usd"] == (8192 + 1024) * Decimal("0.075e-6")
    assert cost["potential_savings_usd"] == 7168 * Decimal("0.075e-6")


def test_what_messages_cost_is_null_where_nobody_knows_them() -> None:
    loaded = LoadedRun(make_run(), (), [carried_step(0, StepType.DECISION, 1)])
    cost = _summary(loaded)["cost"]
    assert (cost["carried_cost_usd"], cost["amount_saved_usd"], cost["cache_breaks"]) == (None, None, [])
    assert _steps(loaded)[0]["carried_cost_usd"] is None
