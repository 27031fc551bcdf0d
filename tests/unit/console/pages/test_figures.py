from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from tests.console_runs import T0, make_run, refund_run
from watchllm_proxy.console.loading import LoadedRun
from watchllm_proxy.console.pages.figures import Figure, StepFigures, run_duration_us, six_figures
from watchllm_proxy.records import RunStatus
from watchllm_proxy.store.shapes import Peer


def _figures(loaded: LoadedRun, *peers: Peer) -> dict[str, Figure]:
    of_steps = StepFigures.of(loaded.steps)
    return {figure.label: figure for figure in six_figures(loaded, of_steps, peers, now_us=T0 + 60_000_000)}


def _costing(usd: str | None, **changes: object) -> LoadedRun:
    amount = None if usd is None else Decimal(usd)
    return LoadedRun(make_run(total_cost_usd=amount, **changes), (), [])


def test_there_are_six_and_each_has_a_second_line() -> None:
    figures = six_figures(refund_run(), StepFigures.of(refund_run().steps), (), T0)
    assert len(figures) == 6
    assert all(figure.note for figure in figures)


def test_the_cost_is_compared_with_other_runs_of_the_agent() -> None:
    peers = [Peer(usd, None, RunStatus.COMPLETED, Decimal(usd)) for usd in ("0.010", "0.011", "0.030")]
    assert _figures(_costing("0.0275"), *peers)["Cost"].note == "2.5× this agent's median"
    assert _figures(_costing("0.0111"), *peers)["Cost"].note == "in line with 3 other runs"
    assert _figures(_costing("0.0111"))["Cost"].note == "no other run to compare with"


def test_an_unknown_cost_is_never_zero() -> None:
    cost = _figures(_costing(None, total_calls=2, unpriced_calls=2))["Cost"]
    assert cost.value == "unpriced"
    assert "$" not in cost.value + cost.note


def test_a_cost_that_misses_calls_says_how_many() -> None:
    assert _figures(_costing("0.02", unpriced_calls=1))["Cost"].note == "1 call unpriced"


def test_errors_are_told_by_kind() -> None:
    assert _figures(refund_run())["Errors"].note == "3 tool · 1 rate_limit_error"


def test_a_running_run_lasts_until_now() -> None:
    running = replace(make_run(), status=RunStatus.RUNNING, ended_at_us=None)
    assert run_duration_us(running, T0 + 5_000_000) == 5_000_000
    assert run_duration_us(make_run(), T0 + 5_000_000) == 20_000_000
