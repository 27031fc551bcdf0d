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


def _loop(*outputs: str, failed: int | None = None) -> LoadedRun:
    calls = [
        make_step(n, StepType.TOOL_CALL, n, tool="refund", tool_output_summary=output)
        for n, output in enumerate(outputs)
    ]
    failing = [
        replace(step, is_tool_error=True) if failed is None or n < failed else step for n, step in enumerate(calls)
    ]
    flag = Flag(FlagKind.LOOP_DETECTED, "refund was called, since step 0.", tuple(range(len(calls))), "error")
    return LoadedRun(make_run(), (flag,), failing)


def _told(loaded: LoadedRun) -> tuple[str, str]:
    verdict = verdict_of(loaded)
    assert verdict is not None
    return verdict.claims[0].answer, verdict.claims[0].argument


def test_a_loop_tells_what_it_ran_against() -> None:
    error = (
        '{"error": {"param": "currency", "message": "The order is in \\"EUR\\".", "metadata": {"message": "x"}}}'
    )
    assert _told(_loop(error, error)) == ('The order is in "EUR".', "currency")
    assert _told(_loop(error[:75], error[:75])) == ('The order is in "EUR".', "currency")
    assert _told(_loop("No  such\nfile", "No such file")) == ("No such file", "")
    assert _told(_loop("x" * 161)) == (f"{'x' * 160}…", "")
    assert _told(_loop(r'{"message": "half \ud800"}')) == (r"half \ud800", "")
    assert _told(_loop(r'{"message": "no \escape"}')) == (r"no \escape", "")


def test_a_loop_whose_calls_were_told_different_things_or_not_all_failed_quotes_none() -> None:
    assert _told(_loop("no money", "no time")) == ("", "")
    assert _told(_loop("no money", "no money", failed=1)) == ("", "")


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
