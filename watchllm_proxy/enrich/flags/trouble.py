"""Time-outs, errors and what came after them; answers cut off; steps that took long."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from watchllm_proxy.enrich.flags.reading import answered, is_other_model, is_timeout, retries
from watchllm_proxy.enrich.flags.thresholds import Thresholds
from watchllm_proxy.records import Flag, FlagKind, Run, Step, StepType

_CUT_BY_LENGTH = frozenset({"length", "max_tokens", "max_output_tokens", "model_context_window_exceeded"})
_CUT_BY_FILTER = frozenset({"content_filter"})


def timeout_retries(_: Run, steps: Sequence[Step], _limits: Thresholds) -> Iterator[Flag]:
    for retry, failed, attempt in retries(steps):
        if failed is not None and is_timeout(failed):
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
        if failed and before is not None and is_other_model(before.model, step.model):
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


def truncated_answers(_: Run, steps: Sequence[Step], _limits: Thresholds) -> Iterator[Flag]:
    for step in answered(steps):
        if step.finish_reason in _CUT_BY_LENGTH:
            tokens = "" if step.output_tokens is None else f" after {step.output_tokens:,} tokens"
            message = f"The answer at step {step.step_index} was cut off{tokens}: it ran into a limit of length."
            yield Flag(FlagKind.TRUNCATED_ANSWER, message, (step.step_index,))
        elif step.finish_reason in _CUT_BY_FILTER:
            message = f"The answer at step {step.step_index} was cut off by the upstream's content filter."
            yield Flag(FlagKind.TRUNCATED_ANSWER, message, (step.step_index,))


def slow_steps(_: Run, steps: Sequence[Step], limits: Thresholds) -> Iterator[Flag]:
    """Beside the other steps of the run that do the same, where there are enough of them: what always takes long
    is no news. One finding for each tool and model."""
    alike: dict[tuple[bool, str], list[tuple[int, Step]]] = {}
    for step in steps:
        is_tool = step.type is StepType.TOOL_CALL
        if step.duration_us is not None and (is_tool or step.is_priced):
            name = (step.tool if is_tool else step.model) or ("A tool" if is_tool else "The model")
            alike.setdefault((is_tool, name), []).append((step.duration_us, step))
    for (_is_tool, name), found in alike.items():
        least_us = limits.slow_step_s * 1_000_000
        if len(found) > limits.slow_step_min_peers:
            least_us = max(least_us, int(limits.slow_step_times * median([each for each, _ in found])))
        slow = [(duration_us, step) for duration_us, step in found if duration_us >= least_us]
        if slow:
            longest_us, longest = max(slow, key=lambda pair: pair[0])
            inferred = ", as far as the time between two calls tells" if longest.is_duration_inferred else ""
            others = f"; so long or nearly so {len(slow)} times" if len(slow) > 1 else ""
            message = f"{name} took {longest_us / 1e6:,.0f} s at step {longest.step_index}{inferred}{others}."
            yield Flag(FlagKind.SLOW_STEP, message, tuple(step.step_index for _, step in slow))
