"""Where a run's money went, summing exactly to its total, and what of it bought nothing.

Everything is a sum over the priced steps (one per call) and exact: `Decimal` throughout. Calls whose price
is not known are left out here and counted in `Run.unpriced_calls`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from watchllm_proxy.enrich.flags import call_signature
from watchllm_proxy.insights.spending import Spending
from watchllm_proxy.records import Step, StepType

EXPENSIVE_SHARE = Decimal("0.2")
"""From this share of the run's cost on, a step counts as expensive, ..."""

EXPENSIVE_FLOOR_USD = Decimal("0.001")
"""... where it costs at least this much: 80 % of next to nothing is next to nothing."""

_ABOUT_TOOLS = frozenset({StepType.DECISION, StepType.TOOL_CALL, StepType.TOOL_RESULT})
_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Each call is counted once, by what came of it."""

    tool_calls_cost: Decimal  # calls that asked for tools; of reported runs also what the tools cost
    model_responses_cost: Decimal  # calls that answered
    retries_cost: Decimal  # failed attempts that were billed all the same: what trying again has cost extra

    @property
    def total(self) -> Decimal:
        return self.tool_calls_cost + self.model_responses_cost + self.retries_cost


@dataclass(frozen=True, slots=True)
class CostReport:
    breakdown: Breakdown
    total_cost_usd: Decimal | None  # None: no call could be priced
    wasted_spend_usd: Decimal
    amount_saved_usd: Decimal | None  # by the prompt cache; None: not known
    potential_savings_usd: Decimal  # what was wasted, and what changed messages made the prompt cache lose
    cache_hit_rate: float | None  # None: no upstream told its cached tokens


def breakdown(steps: Sequence[Step]) -> Breakdown:
    tools = responses = retries = _ZERO
    for step, cost in _priced(steps):
        if step.type is StepType.ERROR:
            retries += cost
        elif step.type in _ABOUT_TOOLS:
            tools += cost
        else:
            responses += cost
    return Breakdown(tools, responses, retries)


def report(steps: Sequence[Step], spending: Spending | None = None) -> CostReport:
    """`spending`: of the same run, where its messages are known."""
    parts = breakdown(steps)
    is_priced = any(True for _ in _priced(steps))
    wasted = dict(_wasted(steps))
    wasted_usd = sum(wasted.values(), _ZERO)
    return CostReport(
        breakdown=parts,
        total_cost_usd=parts.total if is_priced else None,
        wasted_spend_usd=wasted_usd,
        amount_saved_usd=spending.saved_by_cache_usd if spending is not None else None,
        potential_savings_usd=wasted_usd + (_ZERO if spending is None else spending.lost_by_breaks_usd(wasted)),
        cache_hit_rate=cache_hit_rate(steps),
    )


def wasted_spend_usd(steps: Sequence[Step]) -> Decimal:
    """Money for nothing: billed attempts that failed, and calls that only asked for what had been asked before.

    A retry that succeeded is not waste, its failed attempt is. A decision counts as repeated when every
    tool call of it had been made with the same arguments earlier in the run.
    """
    return sum((cost for _, cost in _wasted(steps)), _ZERO)


def _wasted(steps: Sequence[Step]) -> Iterator[tuple[UUID | int, Decimal]]:
    """Of each call that bought nothing, what it cost."""
    seen: set[tuple[str, str]] = set()
    repeats: set[UUID | int] = set()
    for call, asked in _decisions(steps):
        signatures = {call_signature(step) for step in asked}
        if signatures <= seen:
            repeats.add(call)
        seen |= signatures
    for step, cost in _priced(steps):
        if step.type is StepType.ERROR or _call_of(step) in repeats:
            yield _call_of(step), cost


def cache_hit_rate(steps: Sequence[Step]) -> float | None:
    """Cached input tokens by all input tokens, of the calls whose upstream tells both."""
    told = [s for s in steps if s.is_priced and s.input_tokens and s.cache_read_input_tokens is not None]
    if not told:
        return None
    return sum(s.cache_read_input_tokens or 0 for s in told) / sum(s.input_tokens or 0 for s in told)


def cost_percentage(step: Step, total_cost_usd: Decimal | None) -> float | None:
    """Of the run's priced cost, 0 to 100. None: the step carries no cost."""
    if step.cost_usd is None or total_cost_usd is None:
        return None
    return float(100 * step.cost_usd / total_cost_usd) if total_cost_usd else 0.0


def is_expensive(step: Step, total_cost_usd: Decimal | None) -> bool:
    if step.cost_usd is None or not total_cost_usd:
        return False
    return step.cost_usd >= EXPENSIVE_FLOOR_USD and step.cost_usd / total_cost_usd >= EXPENSIVE_SHARE


def _priced(steps: Sequence[Step]) -> Iterator[tuple[Step, Decimal]]:
    return ((step, step.cost_usd) for step in steps if step.is_priced and step.cost_usd is not None)


def _decisions(steps: Sequence[Step]) -> Iterator[tuple[UUID | int, list[Step]]]:
    """The tool calls of each answer, in order. Those of one answer stand together."""
    asked: dict[UUID | int, list[Step]] = {}
    for step in steps:
        if step.type is StepType.TOOL_CALL:
            asked.setdefault(_call_of(step), []).append(step)
    return iter(asked.items())


def _call_of(step: Step) -> UUID | int:
    """Which call it is of. A step that was reported has none, and stands for itself."""
    return step.step_index if step.call_id is None else step.call_id
