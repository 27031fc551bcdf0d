from __future__ import annotations

from dataclasses import replace

from tests.console_runs import make_run, make_step, refund_run
from watchllm_proxy.console.loading import LoadedRun
from watchllm_proxy.console.pages.verdict import MAX_CLAIMS, verdict_of
from watchllm_proxy.records import Flag, FlagKind, RunStatus, StepType


def _with(flags: tuple[Flag, ...], status: RunStatus = RunStatus.COMPLETED) -> LoadedRun:
    return LoadedRun(make_run(status=status), flags, [make_step(0, StepType.USER_INPUT, 0, summary="hello")])


def test_a_run_without_anything_odd_has_no_verdict() -> None:
    assert verdict_of(_with(())) is None


def test_what_is_only_dear_is_worth_a_look_not_a_failure() -> None:
    verdict = verdict_of(_with((Flag(FlagKind.HIGH_COST_STEP, "Step 6 cost $0.15.", (6,)),)))
    assert verdict is not None
    assert (verdict.heading, verdict.is_bad) == ("Worth a look", False)


def test_flags_that_say_the_same_of_different_steps_are_one_claim() -> None:
    flags = tuple(Flag(FlagKind.EMPTY_TOOL_OUTPUT, f"grep gave nothing at step {n}.", (n,)) for n in (2, 6, 8))
    verdict = verdict_of(_with(flags))
    assert verdict is not None
    assert [(claim.text, claim.step_indexes) for claim in verdict.claims] == [
        ("grep gave nothing at step 2.", (6, 8))
    ]


def test_a_hint_is_not_a_claim() -> None:
    assert verdict_of(_with((Flag(FlagKind.CACHE_MISS_RETRY, "x", (1,), "info"),))) is None


def test_a_failed_run_without_flags_tells_its_last_error() -> None:
    verdict = verdict_of(replace(refund_run(), flags=()))
    assert verdict is not None
    assert verdict.claims[0].text.startswith("Step 9 failed: Limit 200000 tokens")


def test_a_run_that_fell_silent_says_so() -> None:
    verdict = verdict_of(_with((), RunStatus.ABANDONED))
    assert verdict is not None
    assert "never came" in verdict.claims[0].text
    assert verdict.claims[0].step_indexes == (0,)
    waiting = replace(refund_run(), flags=(), run=make_run(status=RunStatus.ABANDONED))
    waiting = replace(waiting, steps=[replace(step, tool_output_summary=None) for step in waiting.steps])
    verdict = verdict_of(waiting)
    assert verdict is not None
    assert verdict.claims[-1].step_indexes == (2, 4, 6, 8)


def test_a_sentence_that_leads_to_no_step_is_not_said() -> None:
    assert verdict_of(_with((Flag(FlagKind.BUDGET_EXCEEDED, "It cost too much.", ()),))) is None


def test_claims_are_few_and_the_rest_is_counted() -> None:
    kinds = list(FlagKind)[: MAX_CLAIMS + 2]
    verdict = verdict_of(_with(tuple(Flag(kind, kind.value, (0,)) for kind in kinds)))
    assert verdict is not None
    assert (len(verdict.claims), verdict.more) == (MAX_CLAIMS, 2)


def test_a_run_that_recovered_from_an_error_did_not_go_wrong() -> None:
    recovered = replace(refund_run(), flags=(), run=make_run(status=RunStatus.COMPLETED))
    verdict = verdict_of(recovered)
    assert verdict is not None
    assert (verdict.heading, verdict.claims[0].step_indexes) == ("Worth a look", ())
