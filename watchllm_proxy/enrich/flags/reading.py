"""What several rules read out of steps; also for insights."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from watchllm_proxy.records import ExchangeEnd, Step, StepType

Signature = tuple[str, str]
"""A tool and its arguments in canonical form: the same call, however its JSON was written."""

_TIMEOUT_STATUS = frozenset({408, 504, 524})
_TIMEOUT_ENDS = frozenset({ExchangeEnd.UPSTREAM_TIMEOUT, ExchangeEnd.UPSTREAM_STALLED, ExchangeEnd.CLIENT_ABORTED})
_SILENT_TOOLS = frozenset({"think", "thinking", "sequentialthinking"})
"""A place for the model to think aloud: they answer with nothing by design. In tau-bench's runs two thirds of all
empty outputs are theirs."""

_EMPTY_OUTPUTS = frozenset({"", "[]", "{}", "null", "None", '""', "()"})


def call_signature(step: Step) -> Signature:
    arguments = step.tool_args or ""
    try:
        arguments = json.dumps(json.loads(arguments), sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError):
        arguments = arguments.strip()
    return step.tool or "", arguments


def is_empty_output(step: Step) -> bool:
    """The tool answered, and said nothing. No answer yet is another matter, as is a tool that owes none."""
    output = step.tool_output_summary
    return output is not None and output.strip() in _EMPTY_OUTPUTS and step.tool not in _SILENT_TOOLS


def retries(steps: Sequence[Step]) -> Iterator[tuple[Step, Step | None, Step]]:
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


def is_timeout(step: Step) -> bool:
    """A client that left and sent the same again ran into its own limit."""
    word = (step.error_type or "").lower()
    return step.http_status in _TIMEOUT_STATUS or word in _TIMEOUT_ENDS or "timeout" in word


def is_other_model(one: str | None, other: str | None) -> bool:
    """Answers name a model more precisely than requests: gpt-4o is answered by gpt-4o-2024-08-06."""
    if one is None or other is None:
        return False
    short, long = sorted((one.rsplit("/", 1)[-1], other.rsplit("/", 1)[-1]), key=len)
    return not long.startswith(short)


def answered(steps: Sequence[Step]) -> Iterator[Step]:
    """Steps of calls that got an answer, each once."""
    return (step for step in steps if step.is_priced and step.type is not StepType.ERROR)


def prompt_parts(step: Step) -> tuple[str | None, str | None]:
    """Hashes of its system prompt and of the tools that it was offered; None: it had none, or nobody knows."""
    system, _, tools = (step.prompt_hash or "").partition(" ")
    return (system if system not in {"", "-"} else None), (tools if tools not in {"", "-"} else None)
