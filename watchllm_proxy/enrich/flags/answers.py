"""Answers at odds with what tools gave."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from watchllm_proxy.enrich.flags.thresholds import Thresholds
from watchllm_proxy.records import Flag, FlagKind, Run, Step, StepType

_SUCCESS = re.compile(
    r"\b(?:success(?:ful(?:ly)?)?|(?:has|have) (?:now )?been|is (?:now )?(?:done|completed?))\b", re.IGNORECASE
)
_ADMITTED = re.compile(
    r"n't\b|\b(?:errors?|fail(?:s|ed|ure|ing)?|unable|unfortunately|sorry|apologi[sz]e|issues?|problems?|cannot|not|"
    r"unsuccessful(?:ly)?|invalid|refused|denied|instead|however|but|could|try|again)\b",
    re.IGNORECASE,
)
"""Wide on purpose: whoever says any of this is not at odds with a failure."""


def contradictions(_: Run, steps: Sequence[Step], _limits: Thresholds) -> Iterator[Flag]:
    """What was proved when the call was seen, its messages at hand; and success that is told after a failure."""
    last: Step | None = None  # tool call since the user spoke or was answered
    for step in steps:
        if step.contradiction is not None:
            message = f"Step {step.step_index} is at odds with its tools. {step.contradiction}"
            yield Flag(FlagKind.CONTRADICTION, message, (step.step_index,))
        if step.type is StepType.TOOL_CALL:
            last = step
        elif last is not None and last.is_tool_error and _claims_success(step):
            message = (
                f"Step {step.step_index} tells of success: {last.tool or 'the tool'}, the last one called "
                f"before it, failed at step {last.step_index}."
            )
            yield Flag(FlagKind.CONTRADICTION, message, (last.step_index, step.step_index))
        if step.type in {StepType.USER_INPUT, StepType.MODEL_RESPONSE}:
            last = None


def _claims_success(step: Step) -> bool:
    is_answer = step.type is StepType.MODEL_RESPONSE
    return is_answer and bool(_SUCCESS.search(step.summary)) and not _ADMITTED.search(step.summary)
