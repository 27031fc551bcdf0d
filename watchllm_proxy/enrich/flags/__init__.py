"""What is worth a look in a run, by rule: each finding is a sentence for a person and the steps it rests on.

    kind                 severity  found when
    loop_detected        error     the same tool with the same arguments 3 times, alone or in a cycle of 2-4 calls
    repeated_tool        info      the same tool with 5 different arguments
    high_cost_step       warning   a step costs half of a run of some length, or half a dollar, or 3 times what the
                                   dearest step of this agent's runs usually costs
    budget_exceeded      error     a run costs more than the project says that it may
    cache_miss_retry     warning   a retry paid for its whole prompt: nothing of it came from the cache
    prompt_cache_break   warning   a prompt grew, and 1,024 tokens less of it came from the cache
    prompt_mutation      info      the system prompt changed between calls that offer the same tools
    timeout_retry        warning   an attempt ran into a time limit and was made again
    error_fallback       info      after an error another model answered, or another tool was used for good
    truncated_answer     warning   the model stopped at a limit of length, or a filter stopped it
    slow_step            warning   a minute or longer, and 5 times what is usual in the run for the same
    empty_tool_output    warning   a tool gave nothing
    huge_tool_output     warning   a tool gave 40,000 characters
    contradiction        warning   an answer tells another count or state than the tools, or of success
    unused_tools         info      a quarter of all that a run read, schemas of 4,000 tokens, was never called

Every rule reads the steps once, so the time is linear in their number; only the median of `slow_step` sorts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from functools import partial

from watchllm_proxy.enrich.flags import answers, costs, tools, trouble
from watchllm_proxy.enrich.flags.reading import Signature, call_signature, is_empty_output
from watchllm_proxy.enrich.flags.thresholds import DEFAULT_THRESHOLDS, Thresholds, chosen
from watchllm_proxy.records import Flag, Run, Step

__all__ = [
    "DEFAULT_THRESHOLDS",
    "Signature",
    "Thresholds",
    "call_signature",
    "chosen",
    "find_flags",
    "is_empty_output",
]

Finder = Callable[[Run, Sequence[Step], Thresholds], Iterator[Flag]]


def find_flags(
    run: Run,
    steps: Sequence[Step],
    thresholds: Thresholds = DEFAULT_THRESHOLDS,
    history: Sequence[Decimal] = (),
) -> tuple[Flag, ...]:
    """All findings, what agents do before what that costs. `steps` are the run's, in order of their index.

    `history`: what the dearest steps of the agent's earlier runs cost; empty: nobody knows.
    """
    beside_history = partial(costs.high_cost_steps, history=history)
    finders: tuple[Finder, ...] = (*FIRST_FINDERS, beside_history, *FINDERS)
    return tuple(flag for finder in finders for flag in finder(run, steps, thresholds))


FIRST_FINDERS: tuple[Finder, ...] = (tools.loops, tools.repeated_tools)
FINDERS: tuple[Finder, ...] = (
    costs.budget_exceeded,
    costs.cache_miss_retries,
    costs.prompt_cache_breaks,
    costs.prompt_mutations,
    trouble.timeout_retries,
    trouble.error_fallbacks,
    trouble.truncated_answers,
    trouble.slow_steps,
    tools.empty_tool_outputs,
    tools.huge_tool_outputs,
    answers.contradictions,
    tools.unused_tools,
)
