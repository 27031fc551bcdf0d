"""The sample runs show what they are named for, and never change."""

from __future__ import annotations

import pytest

from watchllm_proxy.enrich.flags import find_flags
from watchllm_proxy.insights import costs, fixtures
from watchllm_proxy.insights.explain import explain
from watchllm_proxy.records import FlagKind, RunStatus


@pytest.mark.parametrize("name", fixtures.NAMES)
def test_a_sample_is_a_finished_priced_run_with_dense_steps(name: str) -> None:
    run, steps, flags, explanations = fixtures.fixture(name)
    assert run.status is RunStatus.COMPLETED
    assert (run.run_id, run.is_agent, run.unpriced_calls) == (f"sample-{name}", True, 0)
    assert [step.step_index for step in steps] == list(range(run.total_steps))
    assert costs.breakdown(steps).total == run.total_cost_usd
    assert flags == find_flags(run, steps)
    assert explanations == explain(run, steps, flags)


def test_the_normal_one_has_nothing_to_complain_about() -> None:
    _, _, flags, explanations = fixtures.fixture("normal")
    assert (flags, explanations) == ((), ())


def test_the_loop_loops_and_its_repeats_are_wasted() -> None:
    _, steps, flags, explanations = fixtures.fixture("loop")
    assert flags[0].kind is FlagKind.LOOP_DETECTED
    assert {"looped", "retried", "failed", "empty_output"} <= {r for e in explanations for r in e.rules_matched}
    assert costs.wasted_spend_usd(steps) > 0


def test_the_dear_one_names_its_dear_step() -> None:
    _, steps, flags, explanations = fixtures.fixture("high-cost")
    (flag,) = [flag for flag in flags if flag.kind is FlagKind.HIGH_COST_STEP]
    assert steps[flag.step_indexes[0]].cost_usd == max(step.cost_usd or 0 for step in steps)
    assert flag.step_indexes[0] in {explanation.step_index for explanation in explanations}


def test_another_name_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        fixtures.fixture("other")
