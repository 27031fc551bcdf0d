"""Why a step is as it is, by rule: one text for each step that is worth one, resting on steps it names.

Rules speak in the order of `RULES`; what several say of one step is joined, the first one's confidence being
the step's. The texts hold figures and step numbers only, so that the same run always reads the same.

    rule              confidence  says
    failed            1.0         the upstream's own words
    tool_failed       0.9         the tool said it failed, or its output looks like it
    retried           1.0         which attempt this repeats, and what became of it
    looped            1.0         which steps asked for the same
    expensive         1.0         what the money went into: how much was read, written, cached
    empty_output      1.0         the tool gave nothing, and what the model did next
    contradicted      0.9, 0.7    the answer beside what tools gave: what was proved; success after a failure
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from watchllm_proxy.enrich.flags import is_empty_output
from watchllm_proxy.insights.costs import is_expensive
from watchllm_proxy.records import Explanation, Flag, FlagKind, Run, Step, StepType

SOURCE = "deterministic"


@dataclass(frozen=True, slots=True)
class Context:
    run: Run
    steps: Sequence[Step]
    flags: Sequence[Flag]


@dataclass(frozen=True, slots=True)
class Claim:
    step_index: int
    text: str
    confidence: float


ExplainRule = Callable[[Context], Iterator[Claim]]


def explain(run: Run, steps: Sequence[Step], flags: Sequence[Flag]) -> tuple[Explanation, ...]:
    """At most one explanation per step, in order of the steps. `flags` are `find_flags` of the same steps."""
    context = Context(run, steps, flags)
    claims: dict[int, list[tuple[str, Claim]]] = {}
    for name, rule in RULES.items():
        for claim in rule(context):
            claims.setdefault(claim.step_index, []).append((name, claim))
    return tuple(_joined(index, found) for index, found in sorted(claims.items()))


def _joined(step_index: int, found: Sequence[tuple[str, Claim]]) -> Explanation:
    return Explanation(
        step_index=step_index,
        text=" ".join(claim.text for _, claim in found),
        confidence=min(claim.confidence for _, claim in found),
        source=SOURCE,
        rules_matched=tuple(dict.fromkeys(name for name, _ in found)),
    )


def failed(context: Context) -> Iterator[Claim]:
    for step in context.steps:
        if step.type is StepType.ERROR:
            status = f"HTTP {step.http_status}, " if step.http_status and step.http_status >= 400 else ""
            words = f": {step.error_message}" if step.error_message else "."
            yield Claim(
                step.step_index, f"The call failed with {status}{step.error_type or 'an error'}{words}", 1.0
            )


def tool_failed(context: Context) -> Iterator[Claim]:
    for step in context.steps:
        if step.is_tool_error:
            name = step.tool or "The tool"
            yield Claim(step.step_index, f"{name} failed: its output says so.", 0.9)


def retried(context: Context) -> Iterator[Claim]:
    marker: Step | None = None
    failure: Step | None = None
    for step in context.steps:
        if step.type is StepType.RETRY:
            marker = step
        elif step.is_priced:
            if marker is not None and marker.call_id == step.call_id:
                yield Claim(marker.step_index, _retry_text(failure, step), 1.0)
            marker, failure = None, step if step.type is StepType.ERROR else None


def _retry_text(failure: Step | None, attempt: Step) -> str:
    what = f"step {failure.step_index} ({failure.error_type})" if failure else "an attempt that failed"
    end = "failed again" if attempt.type is StepType.ERROR else "succeeded"
    return (
        f"The client sent the same request again after {what}; the new attempt, step {attempt.step_index}, {end}."
    )


def looped(context: Context) -> Iterator[Claim]:
    """From the first repeat on: the first call of a loop has done nothing wrong."""
    tools = {step.step_index: step.tool for step in context.steps if step.type is StepType.TOOL_CALL}
    for flag in context.flags:
        if flag.kind is not FlagKind.LOOP_DETECTED:
            continue
        seen: dict[str | None, int] = {}
        for index in flag.step_indexes:
            tool = tools.get(index)
            if tool in seen:
                text = f"{tool} was asked for again with the arguments of step {seen[tool]}."
                yield Claim(index, text, 1.0)
            else:
                seen[tool] = index


def expensive(context: Context) -> Iterator[Claim]:
    """Steps that `find_flags` calls dear, and those that are expensive and stand out: twice the mean."""
    total = context.run.total_cost_usd
    flagged = {i for flag in context.flags if flag.kind is FlagKind.HIGH_COST_STEP for i in flag.step_indexes}
    priced = [step for step in context.steps if step.cost_usd is not None]
    for step in priced:
        stands_out = total is not None and step.cost_usd is not None and step.cost_usd * len(priced) >= 2 * total
        if step.step_index in flagged or (stands_out and is_expensive(step, total)):
            yield Claim(step.step_index, _cost_text(step, context.run), 1.0)


def _cost_text(step: Step, run: Run) -> str:
    share = (
        f", {step.cost_usd / run.total_cost_usd:.0%} of the run" if step.cost_usd and run.total_cost_usd else ""
    )
    parts = []
    if step.input_tokens is not None:
        cached = step.cache_read_input_tokens
        from_cache = "" if cached is None else f" ({cached:,} of them from the cache)"
        parts.append(f"read {step.input_tokens:,} tokens{from_cache}")
    if step.output_tokens is not None:
        parts.append(f"wrote {step.output_tokens:,}")
    figures = f": {step.model or 'the model'} {' and '.join(parts)}" if parts else ""
    return f"It cost ${step.cost_usd or 0:.4f}{share}{figures}."


def empty_output(context: Context) -> Iterator[Claim]:
    next_model = _next_model_steps(context.steps)
    for step in context.steps:
        if not is_empty_output(step):
            continue
        then = next_model.get(step.step_index)
        after = "" if then is None else f" Without it the model went on at step {then.step_index}: {_did(then)}."
        yield Claim(step.step_index, f"{step.tool or 'The tool'} gave an empty output.{after}", 1.0)


def contradicted(context: Context) -> Iterator[Claim]:
    """Words are read for success, values are compared: of the first one is less sure."""
    steps = {step.step_index: step for step in context.steps}
    for flag in context.flags:
        if flag.kind is FlagKind.CONTRADICTION:
            proved = steps[flag.step_indexes[-1]].contradiction
            if proved is not None:
                yield Claim(flag.step_indexes[-1], f"The answer is at odds with its tools. {proved}", 0.9)
            else:
                yield Claim(flag.step_indexes[-1], flag.message, 0.7)


def _next_model_steps(steps: Sequence[Step]) -> dict[int, Step]:
    """By step: the first step after it that made an answer."""
    following: dict[int, Step] = {}
    latest: Step | None = None
    for step in reversed(steps):
        if latest is not None:
            following[step.step_index] = latest
        if step.is_priced and step.type is not StepType.ERROR:
            latest = step
    return following


def _did(step: Step) -> str:
    if step.type is StepType.DECISION:
        return f"it asked for {step.decision}"
    return "it answered"


RULES: dict[str, ExplainRule] = {
    "failed": failed,
    "tool_failed": tool_failed,
    "retried": retried,
    "looped": looped,
    "expensive": expensive,
    "empty_output": empty_output,
    "contradicted": contradicted,
}
