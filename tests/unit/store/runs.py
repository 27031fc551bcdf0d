"""Runs, steps and what hangs on them, with everything filled in."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from uuid import NAMESPACE_OID, uuid5

from watchllm_proxy.records import (
    Anchor,
    Explanation,
    Flag,
    FlagKind,
    Run,
    RunChanges,
    RunOutline,
    RunStatus,
    Step,
    StepType,
)

NOW_US = 1_780_000_000_123_456


def run(run_id: str = "run-1", project: str = "default", **changes: object) -> Run:
    whole = Run(
        project_id=project,
        run_id=run_id,
        session_id="session-1",
        parent_run_id=None,
        agent_name="librarian",
        agent_version="v2",
        user_id=None,
        title="Find the book",
        status=RunStatus.RUNNING,
        started_at_us=NOW_US,
        ended_at_us=None,
        last_activity_at_us=NOW_US + 1,
        is_agent=True,
        total_steps=3,
        total_calls=2,
        error_count=0,
        input_tokens=300,
        output_tokens=40,
        cache_read_input_tokens=0,
        total_cost_usd=Decimal("0.0012345678901234"),
        unpriced_calls=1,
        tags=(("team", "search"), ("team", "again")),
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def step(index: int, **changes: object) -> Step:
    whole = Step(
        step_index=index,
        type=StepType.DECISION,
        started_at_us=NOW_US + index,
        duration_us=None,
        is_duration_inferred=False,
        summary=f"step {index}",
        call_id=None,
        finish_reason="length",
        output_chars=120_000,
        prompt_hash="0a1b2c3d4e5f -",
        offered_tools='{"search":212}',
        contradiction="It says ten.",
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def outline(of: Run) -> RunOutline:
    return RunOutline(
        of.project_id, of.run_id, of.session_id, of.status, of.last_activity_at_us, is_explicit=of.is_explicit
    )


def anchor(
    value: str, *, step_index: int | None = 1, at_us: int = NOW_US, run_id: str = "run-1", seq: int = 0
) -> Anchor:
    call_id = uuid5(NAMESPACE_OID, "c")
    return Anchor("default", "issued_id", value, run_id, call_id, step_index, at_us, "session-1", seq)


def flag(kind: FlagKind = FlagKind.LOOP_DETECTED) -> Flag:
    return Flag(kind, "search was called 5 times", (1, 2), "warning")


def explanation(step_index: int) -> Explanation:
    return Explanation(step_index, "because", 0.75, "deterministic", ("rule-a", "rule-b"))


def changes_of(of: Run, steps: tuple[Step, ...] = (), anchors: tuple[Anchor, ...] = ()) -> RunChanges:
    return RunChanges(runs=(of,), steps=tuple((of.project_id, of.run_id, each) for each in steps), anchors=anchors)
