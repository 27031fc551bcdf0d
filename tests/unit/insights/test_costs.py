"""Where the money went: sums that are exact, and claims that are proven."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.builders import CallBuilder, Play, results_for, tool
from watchllm_proxy.insights import costs
from watchllm_proxy.insights.caching import CacheBreak
from watchllm_proxy.insights.carried import carried_costs
from watchllm_proxy.insights.spending import Spending
from watchllm_proxy.records import Step, StepType

KINDS = st.sampled_from([StepType.DECISION, StepType.MODEL_RESPONSE, StepType.ERROR])
USD = st.none() | st.decimals(min_value=0, max_value=10, places=9)


def priced(index: int, type: StepType, usd: Decimal | None) -> Step:
    return Step(index, type, 0, 1, False, "", None, cost_usd=usd, is_priced=True)


@given(st.lists(st.tuples(KINDS, USD)))
def test_the_breakdown_sums_exactly_to_the_total(calls: list[tuple[StepType, Decimal | None]]) -> None:
    steps = [priced(index, kind, usd) for index, (kind, usd) in enumerate(calls)]
    known = [usd for _, usd in calls if usd is not None]
    assert costs.breakdown(steps).total == sum(known, Decimal(0))
    assert costs.report(steps).total_cost_usd == (sum(known, Decimal(0)) if known else None)


def test_each_call_is_counted_by_what_came_of_it() -> None:
    steps = [
        priced(0, StepType.DECISION, Decimal("0.1")),
        priced(1, StepType.ERROR, Decimal("0.2")),
        priced(2, StepType.MODEL_RESPONSE, Decimal("0.4")),
    ]
    found = costs.breakdown(steps)
    assert (found.tool_calls_cost, found.retries_cost, found.model_responses_cost) == (
        Decimal("0.1"),
        Decimal("0.2"),
        Decimal("0.4"),
    )


def test_a_call_that_only_asked_for_what_was_asked_before_is_wasted() -> None:
    call = CallBuilder()
    one = call(user="Do", answers=tool("t", {"n": 1}), cost="0.1")
    two = call(after=one, results=results_for(one, "x"), answers=tool("t", {"n": 1}), cost="0.2")
    three = call(
        after=two, results=results_for(two, "x"), answers=[tool("t", {"n": 1}), tool("t", {"n": 2})], cost="0.4"
    )
    steps = Play(one, two, three).steps_of(one)
    assert costs.wasted_spend_usd(steps) == Decimal("0.2"), "the third asked for something new too"


@given(st.lists(st.tuples(KINDS, USD)))
def test_waste_is_a_part_of_the_total(calls: list[tuple[StepType, Decimal | None]]) -> None:
    found = costs.report([priced(index, kind, usd) for index, (kind, usd) in enumerate(calls)])
    assert 0 <= found.wasted_spend_usd <= found.breakdown.total
    assert found.potential_savings_usd == found.wasted_spend_usd


def test_what_a_wasted_call_lost_at_the_cache_is_not_counted_twice() -> None:
    call = CallBuilder()
    one = call(user="Do", answers=tool("t", {"n": 1}), cost="0.1")
    two = call(after=one, results=results_for(one, "x"), answers=tool("t", {"n": 1}), cost="0.2")
    three = call(after=two, results=results_for(two, "x"), answers="Done.", cost="0.4")
    breaks = tuple(
        CacheBreak(each.call_id, one.call_id, 2048, Decimal("0.05"), 1, None, None) for each in (two, three)
    )
    spent = Spending(carried_costs((), ()), None, breaks)
    found = costs.report(Play(one, two, three).steps_of(one), spent)
    assert (found.wasted_spend_usd, found.potential_savings_usd) == (Decimal("0.2"), Decimal("0.25"))


def test_the_cache_hit_rate_is_of_the_calls_that_tell_it() -> None:
    call = CallBuilder()
    one = call(user="Do", answers=tool("t"), tokens=(100, 1), cached=0)
    two = call(after=one, results=results_for(one, "x"), answers=tool("t"), tokens=(300, 1), cached=300)
    three = call(after=two, results=results_for(two, "x"), tokens=(1000, 1), cached=None)
    assert costs.cache_hit_rate(Play(one, two, three).steps_of(one)) == 0.75
    assert costs.cache_hit_rate(Play(three).steps_of(three)) is None


def test_shares_are_of_the_priced_cost_and_unknown_stays_unknown() -> None:
    step = priced(0, StepType.DECISION, Decimal("0.25"))
    assert costs.cost_percentage(step, Decimal(1)) == 25.0
    assert costs.cost_percentage(step, None) is None
    assert costs.cost_percentage(priced(0, StepType.DECISION, None), Decimal(1)) is None
    assert costs.cost_percentage(priced(0, StepType.DECISION, Decimal(0)), Decimal(0)) == 0.0


def test_a_large_share_of_next_to_nothing_is_not_expensive() -> None:
    assert costs.is_expensive(priced(0, StepType.DECISION, Decimal("0.5")), Decimal(1))
    assert not costs.is_expensive(priced(0, StepType.DECISION, Decimal("0.0001")), Decimal("0.0001"))
    assert not costs.is_expensive(priced(0, StepType.DECISION, Decimal("0.1")), Decimal(1))
