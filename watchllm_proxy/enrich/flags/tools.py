"""Tools: called again and again, answering with nothing, or with far too much."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import orjson

from watchllm_proxy.enrich.flags.reading import (
    Signature,
    answered,
    call_signature,
    is_empty_output,
    prompt_parts,
)
from watchllm_proxy.enrich.flags.thresholds import Thresholds
from watchllm_proxy.records import Flag, FlagKind, Run, RunStatus, Step, StepType

MAX_CYCLE = 4
CHARS_PER_TOKEN = 4
NAMED_TOOLS = 3


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


def empty_tool_outputs(_: Run, steps: Sequence[Step], _limits: Thresholds) -> Iterator[Flag]:
    for step in steps:
        if is_empty_output(step):
            message = f"{step.tool or 'A tool'} gave an empty output at step {step.step_index}."
            yield Flag(FlagKind.EMPTY_TOOL_OUTPUT, message, (step.step_index,))


def huge_tool_outputs(_: Run, steps: Sequence[Step], limits: Thresholds) -> Iterator[Flag]:
    """Of a reported tool the text that was told is all that is known."""
    for step in steps:
        told = step.output_chars
        size = len(step.tool_output_summary or "") if told is None else told
        if size >= limits.huge_output_chars:
            message = (
                f"{step.tool or 'A tool'} gave {size:,} characters at step {step.step_index}, "
                f"some {size // CHARS_PER_TOKEN:,} tokens: each later request that sends them pays for them."
            )
            yield Flag(FlagKind.HUGE_TOOL_OUTPUT, message, (step.step_index,))


def unused_tools(run: Run, steps: Sequence[Step], limits: Thresholds) -> Iterator[Flag]:
    """Their schemas come with every request. Told once the run is over: until then each may still be called."""
    if run.status is RunStatus.RUNNING:
        return
    called = {step.tool for step in steps if step.type is StepType.TOOL_CALL}
    offers: dict[str | None, Step] = {}
    requests: Counter[str | None] = Counter()
    for step in answered(steps):
        tools = prompt_parts(step)[1]
        requests[tools] += 1
        if step.offered_tools is not None:
            offers[tools] = step
    spare: dict[str, int] = {}
    carried = offered = 0
    for tools, step in offers.items():
        sizes: dict[str, int] = orjson.loads(step.offered_tools or "{}")
        unused = {name: tokens for name, tokens in sizes.items() if name not in called}
        carried += requests[tools] * sum(unused.values())
        offered = max(offered, len(sizes))
        spare |= unused
    is_much = (
        sum(spare.values()) >= limits.unused_tools_tokens and requests.total() >= limits.unused_tools_min_calls
    )
    if is_much and run.input_tokens and carried >= limits.unused_tools_share * run.input_tokens:
        names = sorted(spare, key=lambda name: -spare[name])
        more = f" and {len(names) - NAMED_TOOLS} more" if len(names) > NAMED_TOOLS else ""
        message = (
            f"{len(names)} of {offered} tools were never called ({', '.join(names[:NAMED_TOOLS])}{more}): "
            f"their schemas are some {carried:,} tokens, {carried / run.input_tokens:.0%} of all that was read."
        )
        yield Flag(FlagKind.UNUSED_TOOLS, message, tuple(step.step_index for step in offers.values()), "info")
