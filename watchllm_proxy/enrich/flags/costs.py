"""Money: steps and runs that cost much, and prompts that no cache could serve."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from statistics import median

from watchllm_proxy.enrich.flags.reading import answered, prompt_parts, retries
from watchllm_proxy.enrich.flags.thresholds import Thresholds
from watchllm_proxy.records import Flag, FlagKind, Run, Step

SIGMAS_PER_MAD = Decimal("1.4826")
"""Of figures that scatter normally, the standard deviation is so many median deviations."""

CACHE_LIFE_S = 300
"""Most providers keep a prompt for about five minutes after it was read last."""


def high_cost_steps(
    run: Run, steps: Sequence[Step], limits: Thresholds, history: Sequence[Decimal] = ()
) -> Iterator[Flag]:
    """Shares are of the priced part of the run; of a short run, one step always has a large share.

    `history`: what the dearest steps of this agent's earlier runs cost.
    """
    usual, least = _usual(history, limits)
    priced = [step for step in steps if step.is_priced and step.cost_usd is not None]
    total = run.total_cost_usd
    for step in priced:
        cost = step.cost_usd
        if cost is None:
            continue
        share = cost / total if total else Decimal(0)
        is_large_share = (
            len(priced) >= limits.high_cost_min_priced_steps
            and share >= limits.high_cost_share
            and cost >= limits.high_cost_share_floor_usd
        )
        is_unusual = least is not None and cost > least
        if is_large_share or is_unusual or cost >= limits.high_cost_usd:
            message = f"Step {step.step_index} cost ${cost:.4f}, {share:.0%} of the run."
            if is_unusual and usual:
                message += (
                    f" That is {cost / usual:.1f} times what the dearest step of this agent's runs usually costs "
                    f"(${usual:.4f}, the median of {len(history)} runs)."
                )
            yield Flag(FlagKind.HIGH_COST_STEP, message, (step.step_index,))


def _usual(history: Sequence[Decimal], limits: Thresholds) -> tuple[Decimal, Decimal | None]:
    """The median, and from where on a step is unusual; None: too few runs to tell.

    A median and its deviations do not move for the few runs that were as dear as this one.
    """
    if len(history) < limits.high_cost_min_runs:
        return Decimal(0), None
    middle = median(history)
    spread = SIGMAS_PER_MAD * median([abs(each - middle) for each in history])
    beyond = max(middle * limits.high_cost_times, middle + limits.high_cost_mads * spread)
    return middle, max(beyond, limits.high_cost_history_floor_usd)


def cache_miss_retries(_: Run, steps: Sequence[Step], limits: Thresholds) -> Iterator[Flag]:
    """Where the upstream tells what came from its cache: None is not known, and accuses nobody."""
    for retry, _failed, attempt in retries(steps):
        if attempt.cache_read_input_tokens == 0 and (attempt.input_tokens or 0) >= limits.cacheable_tokens:
            message = (
                f"The retry at step {retry.step_index} paid for all {attempt.input_tokens} input tokens again: "
                "nothing came from the cache."
            )
            yield Flag(FlagKind.CACHE_MISS_RETRY, message, (retry.step_index, attempt.step_index))


def budget_exceeded(_: Run, steps: Sequence[Step], limits: Thresholds) -> Iterator[Flag]:
    """Told once, at the step that it came to."""
    budget, spent = limits.run_budget_usd, Decimal(0)
    if budget is None:
        return
    for step in steps:
        spent += (step.cost_usd or 0) if step.is_priced else 0
        if spent > budget:
            message = (
                f"With step {step.step_index} the run had cost ${spent:.4f}, and ${budget:.4f} is its budget."
            )
            yield Flag(FlagKind.BUDGET_EXCEEDED, message, (step.step_index,), "error")
            return


def prompt_mutations(_: Run, steps: Sequence[Step], _limits: Thresholds) -> Iterator[Flag]:
    """Of calls that offer the same tools: other tools with another prompt are another agent."""
    latest: dict[str, tuple[str, Step]] = {}
    changes: list[tuple[Step, Step]] = []
    for step in answered(steps):
        system, tools = prompt_parts(step)
        if system is None or tools is None:
            continue
        before = latest.get(tools)
        if before is not None and before[0] != system:
            changes.append((before[1], step))
        latest[tools] = (system, step)
    if not changes:
        return
    before_it, changed = changes[0]
    message = f"The system prompt of step {changed.step_index} is not that of step {before_it.step_index}."
    if len(changes) > 1:
        message = (
            f"The system prompt changed {len(changes)} times between calls, first at step {changed.step_index}: "
            "no cache serves what comes after the change."
        )
    found = (before_it.step_index, *(step.step_index for _, step in changes))
    yield Flag(FlagKind.PROMPT_MUTATION, message, found, "info")


def prompt_cache_breaks(_: Run, steps: Sequence[Step], limits: Thresholds) -> Iterator[Flag]:
    """A prompt grew, and less of it came from the cache than of the one that it grew from. `insights.caching`,
    which has the messages, tells which of them differs and what that cost."""
    latest: dict[tuple[str | None, str, str | None], Step] = {}
    for step in answered(steps):
        system, tools = prompt_parts(step)
        keys = [(step.model, "both", step.prompt_hash)]
        keys += [(step.model, "system", system)] if system is not None else []
        keys += [(step.model, "tools", tools)] if tools is not None else []
        before = max((latest[key] for key in keys if key in latest), key=_index, default=None)
        latest.update(dict.fromkeys(keys, step))
        if before is None or before.cache_read_input_tokens is None or step.cache_read_input_tokens is None:
            continue
        lost = before.cache_read_input_tokens - step.cache_read_input_tokens
        if lost >= limits.cacheable_tokens and (step.input_tokens or 0) >= (before.input_tokens or 0):
            message = (
                f"Step {step.step_index} read {lost:,} tokens less from the prompt cache than "
                f"step {before.step_index}: {_why_broken(before, step)}."
            )
            yield Flag(FlagKind.PROMPT_CACHE_BREAK, message, (before.step_index, step.step_index))


def _why_broken(before: Step, step: Step) -> str:
    (system, tools), (system_now, tools_now) = prompt_parts(before), prompt_parts(step)
    if tools != tools_now:
        return "other tools were offered"
    if system != system_now:
        return "the system prompt had changed"
    waited_s = (step.started_at_us - before.started_at_us) // 1_000_000
    if waited_s >= CACHE_LIFE_S:
        return f"{waited_s:,} s lay between them, and caches forget"
    return "an earlier message had changed, or the upstream let go of it"


def _index(step: Step) -> int:
    return step.step_index
