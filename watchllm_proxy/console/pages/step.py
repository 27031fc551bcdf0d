"""What the detail pane shows of one step, ready to be laid out: figures are written here, once, for all pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from watchllm_proxy.console import files, formats
from watchllm_proxy.console.api.told import redacted_of
from watchllm_proxy.console.labels import link_sentence, redaction_note, step_shape
from watchllm_proxy.console.loading import LoadedRun
from watchllm_proxy.console.pages.attempts import attempts_of, tokens_by_rate
from watchllm_proxy.console.pages.figures import MODEL_TYPES, is_failed_step
from watchllm_proxy.console.pages.timeline import has_known_cost, step_name, tags_by_step, took
from watchllm_proxy.insights.caching import CacheBreak
from watchllm_proxy.insights.spending import Spending
from watchllm_proxy.records import Link, LinkKind, RunStatus, Step, StepType

_MAX_RELATED = 8


def step_detail(loaded: LoadedRun, index: int, *, has_calls: bool) -> dict[str, object] | None:
    """None when the run has no such step. `has_calls`: requests and answers are stored; a sample's are not."""
    step = next((s for s in loaded.steps if s.step_index == index), None)
    if step is None:
        return None
    arguments, held = _arguments(step) if has_calls else (step.tool_args, {})
    return {
        "index": step.step_index,
        "type": step.type,
        "shape": step_shape(step.type),
        "name": step_name(step),
        "tags": tags_by_step(loaded.flags).get(index, ()),
        "is_failed": is_failed_step(step),
        "http_status": step.http_status,
        "facts": [
            *_facts(step, loaded.run.started_at_us),
            *_money(step, loaded.spending),
            *_redacted(step, loaded),
        ],
        "notes": [{"severity": f.severity, "message": f.message} for f in loaded.flags if index in f.step_indexes],
        "explanations": [
            {"text": e.text, "confidence": f"{round(100 * e.confidence)} %", "rules": e.rules_matched}
            for e in loaded.explanations
            if e.step_index == index
        ],
        "error": {"type": step.error_type, "message": step.error_message} if step.error_type else None,
        "summary": step.summary,
        "decision": step.decision,
        "tool_args": arguments,
        "tool_output": step.tool_output_summary,
        "files": held,
        "output_chars": step.output_chars if has_calls else None,
        "related": _related(loaded.steps, step),
        "why": _why(loaded, _links_of(loaded, step)),
        "tokens": tokens_by_rate(step) if step.type in MODEL_TYPES else (),
        "attempts": attempts_of(loaded.steps, loaded.links, step) if step.type in MODEL_TYPES else (),
        "call_id": step.call_id if has_calls and step.type in MODEL_TYPES else None,
        "split": _split(loaded, step) if has_calls else None,
    }


def _arguments(step: Step) -> tuple[str | None, Mapping[str, object]]:
    """What a tool was given, without the files in it; and these, which its call has."""
    if step.tool_args is None or step.call_id is None:
        return step.tool_args, {}
    apart = files.FilesApart()
    given = apart.take(step.call_id, step.tool_args.encode("utf-8", "replace"))
    held = apart.references()
    return (given.decode() if held else step.tool_args), held


def _facts(step: Step, run_start_us: int) -> list[tuple[str, str]]:
    facts = [("start", f"+{formats.duration(max(0, step.started_at_us - run_start_us))}"), ("took", took(step))]
    if step.output_chars:
        facts.append(("output", formats.count_of(step.output_chars, "character")))
    if step.time_to_first_token_us is not None:
        facts.append(("first token", formats.duration(step.time_to_first_token_us)))
    if step.is_priced:
        facts.append(("tokens", formats.tokens(step.input_tokens, step.output_tokens)))
        if step.input_tokens and step.cache_read_input_tokens is not None:
            facts.append(("cached", formats.percent(step.cache_read_input_tokens, step.input_tokens)))
        if has_known_cost(step):
            facts.append(("cost", formats.usd(step.cost_usd)))
    return [(label, value) for label, value in facts if value]


def _redacted(step: Step, loaded: LoadedRun) -> list[tuple[str, str]]:
    """In the request and the answer of its call, or in what was told of it."""
    if step.reported is not None:
        return _note(redacted_of(step))
    if step.call_id is None or step.type not in MODEL_TYPES:
        return []
    return _note((loaded.redacted or {}).get(step.call_id, ()))


def _note(counts: Iterable[tuple[str, int]]) -> list[tuple[str, str]]:
    note = redaction_note(counts)
    return [("redacted", note.removesuffix(" redacted"))] if note else []


def _money(step: Step, spending: Spending | None) -> list[tuple[str, str]]:
    """What the messages cost that this step brought up: once, and again in each later request."""
    cost = spending.carried.steps.get(step.step_index) if spending is not None else None
    if spending is None or cost is None:
        return []
    about = "≈" if spending.carried.is_split_estimated else ""
    facts = [("direct", f"{about}{formats.usd(cost.direct_usd)}")] if cost.direct_usd else []
    if cost.carried_times:
        again = formats.count_of(cost.carried_times, "later request")
        facts.append(("carried", f"{about}{formats.usd(cost.carried_usd)} in {again}"))
    broke = next((each for each in spending.breaks if step.is_priced and each.call_id == step.call_id), None)
    if broke is not None:
        facts.append(("cache lost", _lost(broke)))
    return facts


def _lost(broke: CacheBreak) -> str:
    where = "nothing had changed" if broke.message_index is None else f"message {broke.message_index + 1} changed"
    if broke.character is not None:
        where += f" from character {broke.character + 1:,} on"
    usd = "" if broke.usd_lost is None else f", {formats.usd(broke.usd_lost)}"
    return f"{broke.tokens_lost:,} tokens{usd}: {where}"


def _links_of(loaded: LoadedRun, step: Step) -> Sequence[Link]:
    """A call's evidence is told once, at its model step."""
    return loaded.links.get(step.call_id, ()) if step.call_id and step.type in MODEL_TYPES else ()


def _why(loaded: LoadedRun, links: Sequence[Link]) -> list[dict[str, object]]:
    """What a person said comes first, and what was thought before it is shown as overruled."""
    here = {step.call_id for step in loaded.steps}
    is_corrected = any(link.kind is LinkKind.PERSON for link in links)
    return [
        {
            "kind": link.kind,
            "sentence": link_sentence(link),
            "is_overruled": is_corrected and link.kind is not LinkKind.PERSON,
            "value": link.value,
            "confidence": link.confidence,
            "to_step": link.to_step_index if link.to_call_id in here else None,  # else it is another run's
        }
        for link in links
    ]


def _split(loaded: LoadedRun, step: Step) -> dict[str, object] | None:
    """The call that a person may split off here; None where that cannot be."""
    calls = list(dict.fromkeys(each.call_id for each in loaded.steps))
    is_over = loaded.run.status is not RunStatus.RUNNING
    if not is_over or step.type not in MODEL_TYPES or None in calls or len(calls) < 2:
        return None
    return {"call_id": step.call_id, "is_first": step.call_id == calls[0]}


def _related(steps: Sequence[Step], step: Step) -> list[dict[str, object]]:
    """Steps to jump to: who asked for a tool and who read what it gave, what a model asked for, equal calls."""
    groups: list[tuple[str, list[int]]] = []
    if step.type in MODEL_TYPES:
        groups.append(("asked for", _indexes(s for s in steps if _is_asked_by(s, step))))
    if step.type is StepType.TOOL_CALL:
        groups.append(("asked by", _indexes(s for s in steps if _is_asked_by(step, s))))
        groups.append(("first read by", _readers(steps, step)[:1]))
        groups.append(("same call at", _indexes(s for s in steps if s is not step and _is_same_call(s, step))))
    return [{"label": label, "steps": indexes[:_MAX_RELATED]} for label, indexes in groups if indexes]


def _readers(steps: Sequence[Step], tool: Step) -> list[int]:
    """Of what a tool gave. Where its time is inferred it lasts until the request began that brought the result:
    of agents that work side by side that need not be the next one. What never came was read by nobody."""
    if tool.tool_output_summary is None:
        return []
    later = [step for step in steps if step.type in MODEL_TYPES and step.step_index > tool.step_index]
    if tool.is_duration_inferred and tool.duration_us is not None:
        end_us = tool.started_at_us + tool.duration_us
        brought = [step for step in later if step.started_at_us == end_us]
        later = brought or [step for step in later if step.started_at_us > end_us]
    return _indexes(later)


def _indexes(steps: Iterable[Step]) -> list[int]:
    return [step.step_index for step in steps]


def _is_asked_by(tool: Step, model: Step) -> bool:
    same_call = tool.call_id is not None and tool.call_id == model.call_id
    return same_call and tool.type is StepType.TOOL_CALL and model.type in MODEL_TYPES


def _is_same_call(one: Step, other: Step) -> bool:
    return (one.type, one.tool, one.tool_args) == (other.type, other.tool, other.tool_args)
