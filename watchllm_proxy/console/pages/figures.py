"""The six figures at the head of a run, each with a second line that says compared to what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from statistics import median

from watchllm_proxy.console import formats
from watchllm_proxy.console.labels import flag_label
from watchllm_proxy.console.loading import LoadedRun
from watchllm_proxy.records import Run, RunStatus, Step, StepType
from watchllm_proxy.store.shapes import Peer

MODEL_TYPES = frozenset({StepType.DECISION, StepType.MODEL_RESPONSE, StepType.ERROR})
"""One step of each call is of these: it carries the call's figures."""
_IN_LINE = (Decimal("0.8"), Decimal("1.25"))


@dataclass(frozen=True, slots=True)
class Figure:
    """`tone` and `note_tone`: "" | "bad" | "warn"."""

    label: str
    value: str
    note: str
    tone: str = ""
    note_tone: str = ""


def run_duration_us(run: Run, now_us: int) -> int:
    end_us = now_us if run.status is RunStatus.RUNNING else run.ended_at_us or run.last_activity_at_us
    return max(0, end_us - run.started_at_us)


def is_failed_step(step: Step) -> bool:
    return step.type is StepType.ERROR or step.is_tool_error is True or step.error_type is not None


@dataclass(frozen=True, slots=True)
class StepFigures:
    """What the figures say of the steps, which takes a look at each of them."""

    model_steps: int
    model_us: int
    tool_steps: int
    tool_us: int
    failed: Counter[str]  # by kind

    @classmethod
    def of(cls, steps: Sequence[Step]) -> StepFigures:
        model = [step for step in steps if step.type in MODEL_TYPES]
        tool = [step for step in steps if step.type is StepType.TOOL_CALL]
        return cls(
            model_steps=len(model),
            model_us=sum(step.duration_us or 0 for step in model),
            tool_steps=len(tool),
            tool_us=sum(step.duration_us or 0 for step in tool),
            failed=Counter(step.error_type or "tool" for step in steps if is_failed_step(step)),
        )


def six_figures(loaded: LoadedRun, of_steps: StepFigures, peers: Sequence[Peer], now_us: int) -> list[Figure]:
    """`peers` are other runs of the same agent, for the comparison of costs."""
    return [
        _duration(loaded.run, of_steps, now_us),
        _cost(loaded.run, peers),
        _tokens(loaded.run),
        _steps(loaded, of_steps),
        _errors(of_steps),
        _anomalies(loaded),
    ]


def _duration(run: Run, of_steps: StepFigures, now_us: int) -> Figure:
    total_us = run_duration_us(run, now_us)
    model, tools = (formats.percent(us, total_us) for us in (of_steps.model_us, of_steps.tool_us))
    note = f"model {model} · tools ≈{tools}"
    return Figure("Duration", formats.duration(total_us), note)


def _cost(run: Run, peers: Sequence[Peer]) -> Figure:
    value = formats.usd(run.total_cost_usd)
    if run.total_cost_usd is None:
        note = "no price is known for its calls" if run.total_calls else "no model calls"
        return Figure("Cost", value, note)
    if run.unpriced_calls:
        return Figure("Cost", value, f"{formats.count_of(run.unpriced_calls, 'call')} unpriced", note_tone="warn")
    costs = [peer.total_cost_usd for peer in peers if peer.total_cost_usd]
    if not costs:
        return Figure("Cost", value, "no other run to compare with")
    ratio = run.total_cost_usd / median(costs)
    if _IN_LINE[0] <= ratio <= _IN_LINE[1]:
        return Figure("Cost", value, f"in line with {formats.count_of(len(costs), 'other run')}")
    note_tone = "bad" if ratio > 2 else ""
    return Figure("Cost", value, f"{ratio:.1f}× this agent's median", note_tone=note_tone)


def _tokens(run: Run) -> Figure:
    value = f"{formats.compact(run.input_tokens)} → {formats.compact(run.output_tokens)}"
    share = formats.percent(run.cache_read_input_tokens, run.input_tokens)
    note = f"{share} read from the prompt cache" if run.input_tokens else "no tokens counted"
    return Figure("Tokens in → out", value, note)


def _steps(loaded: LoadedRun, of_steps: StepFigures) -> Figure:
    note = f"{of_steps.model_steps} model · {of_steps.tool_steps} tool"
    if loaded.children:
        note += f" · {formats.count_of(len(loaded.children), 'sub-agent')}"
    return Figure("Steps", f"{loaded.run.total_steps:,}", note)


def _errors(of_steps: StepFigures) -> Figure:
    kinds = of_steps.failed
    if not kinds:
        return Figure("Errors", "0", "none seen")
    note = " · ".join(f"{n} {kind}" for kind, n in kinds.most_common(3))
    return Figure("Errors", f"{sum(kinds.values()):,}", note, tone="bad")


def _anomalies(loaded: LoadedRun) -> Figure:
    if not loaded.flags:
        return Figure("Anomalies", "0", "none found by the rules")
    note = " · ".join(dict.fromkeys(flag_label(flag) for flag in loaded.flags))
    return Figure("Anomalies", f"{len(loaded.flags):,}", note, tone="warn")
