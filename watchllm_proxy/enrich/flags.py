"""What is worth a look in a run, by rule: each finding is a sentence for a person and the steps it rests on.

    kind                 severity  found when
    loop_detected        error     the same tool with the same arguments 3 times, alone or in a cycle of 2-4 calls
    repeated_tool        info      the same tool with 5 different arguments
    high_cost_step       warning   a step costs half of a run of some length, or half a dollar
    cache_miss_retry     warning   a retry paid for its whole prompt: nothing of it came from the cache
    timeout_retry        warning   an attempt ran into a time limit and was made again
    error_fallback       info      after an error another model answered, or another tool was used for good
    empty_tool_output    warning   a tool gave nothing

`prompt_mutation` is not found here: a step does not tell its system prompt. Whoever has the messages (the
diff of two requests) can tell it.

Every rule reads the steps once: the time is linear in their number.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from watchllm_proxy.records import ExchangeEnd, Flag, FlagKind, Run, Step, StepType

MAX_CYCLE = 4


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From where on something is worth a look."""

    loop_times: int = 3
    repeated_tool_times: int = 5
    high_cost_share: Decimal = Decimal("0.5")
    high_cost_min_priced_steps: int = 4
    high_cost_share_floor_usd: Decimal = Decimal("0.01")
    high_cost_usd: Decimal = Decimal("0.50")
    cacheable_tokens: int = 1024  # providers cache no shorter prompt


DEFAULT_THRESHOLDS = Thresholds()

Finder = Callable[[Run, Sequence[Step], Thresholds], Iterator[Flag]]


def find_flags(run: Run, steps: Sequence[Step], thresholds: Thresholds = DEFAULT_THRESHOLDS) -> tuple[Flag, ...]:
    """All findings, in the order of `FINDERS`. `steps` are the run's, in order of their index."""
    return tuple(flag for finder in FINDERS for flag in finder(run, steps, thresholds))


# --- tools, again and again


def loops(_: Run, steps: Sequence[Step], limits: Thresholds) -> Iterator[Flag]:
    """Identical calls: a cycle of them (A, B, A, B, …) is told once as a cycle, others one by one."""
    calls = [step for step in steps if step.type is StepType.TOOL_CALL]
    signatures = [call_signature(step) for step in calls]
    cycled: set[int] = set()
    for start, length, times in _cycles(signatures, limits.loop_times):
        found = tuple(step.step_index for step in calls[start : start + length * times])
        cycled.update(found)
        order = " → ".join(name for name, _ in signatures[start : start + length])
        message = f"{order} went round {times} times with the same arguments, since step {found[0]}."
        yield Flag(FlagKind.LOOP_DETECTED, message, found, "error")

    same: dict[Signature, list[int]] = {}
    for step, signature in zip(calls, signatures, strict=True):
        if step.step_index not in cycled:
            same.setdefault(signature, []).append(step.step_index)
    for (name, _arguments), indexes in same.items():
        if len(indexes) >= limits.loop_times:
            message = f"{name} was called {len(indexes)} times with the same arguments, since step {indexes[0]}."
            yield Flag(FlagKind.LOOP_DETECTED, message, tuple(indexes), "error")


def _cycles(signatures: Sequence[Signature], min_times: int) -> Iterator[tuple[int, int, int]]:
    """(start, length, times) of cycles of 2 to MAX_CYCLE different calls that go round often enough."""
    start = 0
    while start < len(signatures):
        length, times = max(
            ((length, _rounds(signatures, start, length)) for length in range(2, MAX_CYCLE + 1)),
            key=lambda cycle: cycle[0] * cycle[1] if cycle[1] >= min_times else 0,
        )
        if times >= min_times:
            yield start, length, times
            start += length * times
        else:
            start += 1


def _rounds(signatures: Sequence[Signature], start: int, length: int) -> int:
    """How often the `length` calls from `start` on come one after the other. A single call is no cycle."""
    if start + 2 * length > len(signatures) or len(set(signatures[start : start + length])) < 2:
        return 0
    at = start + length
    while at < len(signatures) and signatures[at] == signatures[at - length]:
        at += 1
    return (at - start) // length


def repeated_tools(_: Run, steps: Sequence[Step], limits: Thresholds) -> Iterator[Flag]:
    by_tool: dict[str, dict[Signature, int]] = {}
    for step in steps:
        if step.type is StepType.TOOL_CALL:
            signature = call_signature(step)
            by_tool.setdefault(signature[0], {}).setdefault(signature, step.step_index)
    for name, first_uses in by_tool.items():
        if len(first_uses) >= limits.repeated_tool_times:
            message = f"{name} was called with {len(first_uses)} different arguments: one call for all may do."
            yield Flag(FlagKind.REPEATED_TOOL, message, tuple(first_uses.values()), "info")


# --- money


def high_cost_steps(run: Run, steps: Sequence[Step], limits: Thresholds) -> Iterator[Flag]:
    """Shares are of the priced part of the run; of a short run, one step always has a large share."""
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
        if is_large_share or cost >= limits.high_cost_usd:
            message = f"Step {step.step_index} cost ${cost:.4f}, {share:.0%} of the run."
            yield Flag(FlagKind.HIGH_COST_STEP, message, (step.step_index,))


def cache_miss_retries(_: Run, steps: Sequence[Step], limits: Thresholds) -> Iterator[Flag]:
    """Where the upstream tells what came from its cache: None is not known, and accuses nobody."""
    for retry, _failed, attempt in _retries(steps):
        if attempt.cache_read_input_tokens == 0 and (attempt.input_tokens or 0) >= limits.cacheable_tokens:
            message = (
                f"The retry at step {retry.step_index} paid for all {attempt.input_tokens} input tokens again: "
                "nothing came from the cache."
            )
            yield Flag(FlagKind.CACHE_MISS_RETRY, message, (retry.step_index, attempt.step_index))


# --- errors, and what came after


def timeout_retries(_: Run, steps: Sequence[Step], _limits: Thresholds) -> Iterator[Flag]:
    for retry, failed, attempt in _retries(steps):
        if failed is not None and _is_timeout(failed):
            message = (
                f"Step {failed.step_index} ran into a time limit and was tried again at step {retry.step_index}."
            )
            found = (failed.step_index, retry.step_index, attempt.step_index)
            yield Flag(FlagKind.TIMEOUT_RETRY, message, found)


def error_fallbacks(_: Run, steps: Sequence[Step], _limits: Thresholds) -> Iterator[Flag]:
    yield from _model_fallbacks(steps)
    yield from _tool_fallbacks(steps)


def _model_fallbacks(steps: Sequence[Step]) -> Iterator[Flag]:
    before: Step | None = None
    for step in steps:
        if not step.is_priced:
            continue
        failed = before is not None and before.type is StepType.ERROR and step.type is not StepType.ERROR
        if failed and before is not None and _is_other_model(before.model, step.model):
            message = (
                f"{before.model} failed at step {before.step_index}; {step.model} answered instead "
                f"at step {step.step_index}."
            )
            yield Flag(FlagKind.ERROR_FALLBACK, message, (before.step_index, step.step_index), "info")
        before = step


def _tool_fallbacks(steps: Sequence[Step]) -> Iterator[Flag]:
    """A tool failed, the next answer asked for another one, and the first was never asked for again."""
    last_use = {step.tool: step.step_index for step in steps if step.type is StepType.TOOL_CALL}
    failed: Step | None = None
    for step in steps:
        if step.type is not StepType.TOOL_CALL:
            continue
        if failed is not None and step.call_id != failed.call_id:
            if step.tool != failed.tool and step.is_tool_error is False:
                message = (
                    f"After {failed.tool} failed at step {failed.step_index}, {step.tool} was used instead "
                    f"at step {step.step_index}."
                )
                yield Flag(FlagKind.ERROR_FALLBACK, message, (failed.step_index, step.step_index), "info")
            failed = None
        if step.is_tool_error and last_use[step.tool] == step.step_index:
            failed = step


def empty_tool_outputs(_: Run, steps: Sequence[Step], _limits: Thresholds) -> Iterator[Flag]:
    for step in steps:
        if is_empty_output(step):
            message = f"{step.tool or 'A tool'} gave an empty output at step {step.step_index}."
            yield Flag(FlagKind.EMPTY_TOOL_OUTPUT, message, (step.step_index,))


# --- reading steps; also for insights

Signature = tuple[str, str]
"""A tool and its arguments in canonical form: the same call, however its JSON was written."""

_TIMEOUT_STATUS = frozenset({408, 504, 524})
_TIMEOUT_ENDS = frozenset({ExchangeEnd.UPSTREAM_TIMEOUT, ExchangeEnd.UPSTREAM_STALLED, ExchangeEnd.CLIENT_ABORTED})
_EMPTY_OUTPUTS = frozenset({"", "[]", "{}", "null", "None", '""', "()"})


def call_signature(step: Step) -> Signature:
    arguments = step.tool_args or ""
    try:
        arguments = json.dumps(json.loads(arguments), sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError):
        arguments = arguments.strip()
    return step.tool or "", arguments


def is_empty_output(step: Step) -> bool:
    """The tool answered, and said nothing. No answer yet is another matter."""
    return step.tool_output_summary is not None and step.tool_output_summary.strip() in _EMPTY_OUTPUTS


def _retries(steps: Sequence[Step]) -> Iterator[tuple[Step, Step | None, Step]]:
    """(the marker, the failed attempt before it, the attempt that it marks)"""
    failed: Step | None = None
    marker: Step | None = None
    for step in steps:
        if step.type is StepType.RETRY:
            marker = step
        elif step.is_priced:
            if marker is not None and marker.call_id == step.call_id:
                yield marker, failed, step
            marker = None
            failed = step if step.type is StepType.ERROR else None


def _is_timeout(step: Step) -> bool:
    """A client that left and sent the same again ran into its own limit."""
    word = (step.error_type or "").lower()
    return step.http_status in _TIMEOUT_STATUS or word in _TIMEOUT_ENDS or "timeout" in word


def _is_other_model(one: str | None, other: str | None) -> bool:
    """Answers name a model more precisely than requests: gpt-4o is answered by gpt-4o-2024-08-06."""
    if one is None or other is None:
        return False
    short, long = sorted((one.rsplit("/", 1)[-1], other.rsplit("/", 1)[-1]), key=len)
    return not long.startswith(short)


FINDERS: tuple[Finder, ...] = (
    loops,
    repeated_tools,
    high_cost_steps,
    cache_miss_retries,
    timeout_retries,
    error_fallbacks,
    empty_tool_outputs,
)
