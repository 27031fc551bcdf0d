"""Where a model call's tokens and time went: the tokens by rate, and the attempts it took, side by side in time.

Shares are lengths of SVG: "12.5%".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from watchllm_proxy.console import formats
from watchllm_proxy.console.pages.figures import MODEL_TYPES
from watchllm_proxy.records import Link, LinkKind, Step

MAX_ATTEMPTS = 12


def tokens_by_rate(step: Step) -> list[dict[str, object]]:
    """Each with its share of the most, for a bar. What the upstream did not tell is not there."""
    told, cached = step.input_tokens, step.cache_read_input_tokens
    if told is None:
        split: list[tuple[str, int | None]] = []
    elif cached is None:
        split = [("input", told)]
    else:
        split = [("input, full rate", max(0, told - cached)), ("input, from the cache", cached)]
    rows = [(label, count) for label, count in (*split, ("output", step.output_tokens)) if count is not None]
    most = max((count for _, count in rows), default=0) or 1
    return [{"label": label, "tokens": f"{count:,}", "share": _share(count, most)} for label, count in rows]


def attempts_of(
    steps: Sequence[Step], links: Mapping[UUID, Sequence[Link]], step: Step
) -> list[dict[str, object]]:
    """The calls that were tried again until this one, oldest first, and this one; where each stands in per cent of
    all of their time. Only the evidence of a retry makes an attempt."""
    chain = _chain(steps, links, step)
    start_us = chain[0].started_at_us
    span_us = max(1, *(each.started_at_us + (each.duration_us or 0) - start_us for each in chain))
    return [
        {
            "step": each.step_index,
            "says": _says(each),
            "took": formats.duration(each.duration_us or 0),
            "left": _share(max(0, each.started_at_us - start_us), span_us),
            "width": _share(max(each.duration_us or 0, span_us // 150), span_us),  # wide enough to be seen
            "first_token": _share(each.time_to_first_token_us or 0, span_us),
        }
        for each in chain
    ]


def _chain(steps: Sequence[Step], links: Mapping[UUID, Sequence[Link]], step: Step) -> list[Step]:
    calls = {each.call_id: each for each in steps if each.call_id is not None and each.type in MODEL_TYPES}
    chain = [step]
    while len(chain) < MAX_ATTEMPTS and (call_id := chain[0].call_id) is not None:
        retried = [link.to_call_id for link in links.get(call_id, ()) if link.kind is LinkKind.RETRY]
        before = next((calls[each] for each in retried if each in calls), None)
        if before is None or before in chain:
            break
        chain.insert(0, before)
    return chain


def _share(part: int, whole: int) -> str:
    return f"{round(100 * part / whole, 2):g}%"


def _says(step: Step) -> str:
    status = f"HTTP {step.http_status}" if step.http_status is not None else "no answer"
    return f"{status} {step.error_type}" if step.error_type else status
