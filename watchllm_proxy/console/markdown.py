"""A run as Markdown: whole, and readable by a person or by a model that it is pasted into. Pure.

A request repeats what those before it said; here each message stands once, at the call that brought it up, and a
call says how many it shares with which. Captured text stands in fences that it cannot close.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from watchllm_proxy.console import formats
from watchllm_proxy.console.labels import flag_label
from watchllm_proxy.console.loading import LoadedRun
from watchllm_proxy.console.pages.timeline import step_name, tags_by_step, took
from watchllm_proxy.insights.differences import Change, Request, ValueChange, readable, values
from watchllm_proxy.records import Step
from watchllm_proxy.store.shapes import CallDetail

MAX_PREVIEW = 200
"""Characters of a captured step: what it said is whole at its call."""

COMPARED_CALLS = 4
"""A call is held against so many before it: agents that work side by side have a conversation each."""

_FENCE = re.compile(r"`{3,}")
_MARKUP = re.compile(r"([\\`*\[\]<>]|(?<!\w)_|_(?!\w))")  # inside of a line, and `a_b` is no emphasis


def opening(loaded: LoadedRun) -> str:
    """Title, figures, what is worth a look, and the steps: one line each, whole where there is no call to show."""
    run = loaded.run
    agent = " ".join(part for part in (run.agent_name, run.agent_version) if part)
    took_us = max(0, (run.ended_at_us or run.last_activity_at_us) - run.started_at_us)
    figures = [
        f"status: {run.status}",
        f"agent: {_line(agent)}" if agent else "",
        f"began: {formats.instant(run.started_at_us)}",
        f"took: {formats.duration(took_us)}",
        f"cost: {formats.usd(run.total_cost_usd)}" + (" (not all is priced)" if run.unpriced_calls else ""),
        f"tokens: {run.input_tokens:,} in, {run.output_tokens:,} out",
        f"steps: {run.total_steps:,}, model calls: {run.total_calls:,}",
        f"id: {_line(run.run_id)}",
    ]
    lines = [f"# {_line(run.title) or 'A run'}", "", *(f"- {figure}" for figure in figures if figure), ""]
    if loaded.flags:
        lines += ["## What is worth a look", ""]
        lines += [
            f"- {flag_label(flag)} ({flag.severity}): {_line(flag.message)}{_steps(flag.step_indexes)}"
            for flag in loaded.flags
        ]
        lines.append("")
    if loaded.children:
        lines += ["## Sub-agents", ""]
        lines += [
            f"- {_line(row.run.agent_name or 'agent')}: {_line(row.run.title)} "
            f"({row.run.status}, {formats.usd(row.run.total_cost_usd)}, run {_line(row.run.run_id)})"
            for row in loaded.children
        ]
        lines.append("")
    return "\n".join([*lines, "## Steps", "", *_step_lines(loaded), "", ""])


def closing(calls: int, missing: int) -> str:
    """The last line: what ends without it was cut off."""
    gone = f"; of {missing:,} nothing is stored any more" if missing else ""
    return f"---\n\nEnd of the run. Model calls: {calls:,}{gone}.\n"


def _steps(indexes: Sequence[int]) -> str:
    return f" Steps {', '.join(map(str, indexes))}." if indexes else ""


# --- steps ------------------------------------------------------------------------------------------


def _step_lines(loaded: LoadedRun) -> Iterator[str]:
    tags = tags_by_step(loaded.flags)
    why = {each.step_index: each.text for each in loaded.explanations}
    for step in loaded.steps:
        usd = formats.usd(step.cost_usd) if step.is_priced else ""
        tokens = formats.tokens(step.input_tokens, step.output_tokens) if step.is_priced else ""
        marks = [*tags.get(step.step_index, ()), "failed" if step.is_tool_error or step.error_type else ""]
        facts = [step.type.value, f"**{_line(step_name(step))}**", took(step), tokens, usd, *marks]
        yield f"- {step.step_index}. " + " · ".join(fact for fact in facts if fact)
        yield from _step_words(step)
        if step.step_index in why:
            yield f"  - why: {_line(why[step.step_index])}"


def _step_words(step: Step) -> Iterator[str]:
    said = [
        ("said", step.summary),
        ("decided", step.decision if step.decision != step.summary else None),
        ("given", step.tool_args),
        ("answered", step.tool_output_summary),
        ("error", " ".join(part for part in (step.error_type, step.error_message) if part)),
    ]
    for label, text in said:
        if not text:
            continue
        if step.call_id is None:
            yield f"  - {label}:\n\n" + fenced(text)
        else:
            yield f"  - {label}: {_preview(text)}"


def _preview(text: str) -> str:
    line = _line(text)
    return line if len(line) <= MAX_PREVIEW else line[: MAX_PREVIEW - 1] + "…"


# --- calls ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Transcript:
    """Writes the calls of a run one after the other. Holds the requests of the last few, and nothing else."""

    _number: int = 0
    _recent: deque[tuple[int, Request]] = field(default_factory=lambda: deque(maxlen=COMPARED_CALLS))

    def call(self, call: CallDetail | None, steps: Sequence[int]) -> str:
        """None: what it sent and got is not stored any more."""
        self._number += 1
        heading = f"## Call {self._number}, {'step' if len(steps) == 1 else 'steps'} {', '.join(map(str, steps))}"
        if call is None:
            return f"{heading}\n\nNot stored any more.\n\n"
        parts = [heading, f"{_call_facts(call)}", *self._request(call.request), *_answer(call)]
        return "\n\n".join(parts) + "\n\n"

    def _request(self, raw: bytes | None) -> Iterator[str]:
        if raw is None:
            yield "The request cannot be shown: it was no JSON, or its messages are not stored any more."
            return
        try:
            request = Request.of(json.loads(raw))
        except (ValueError, RecursionError):  # nested deeper than this can be read
            yield fenced(raw.decode("utf-8", "replace"))
            return
        like, kept = self._most_alike(request)
        yield from _changed("Parameters", values(like.parameters if like else {}, request.parameters))
        yield from _changed("Tools", values(like.tools if like else {}, request.tools))
        if kept:
            yield f"Its first {formats.count_of(kept, 'message')} as in call {self._number_of(like)}."
        for place, said in enumerate(request.conversation[kept:], kept + 1):
            yield f"**{place}. {_line(said.role) or 'message'}**"
            yield fenced(readable(said.value))
        self._recent.append((self._number, request))

    def _most_alike(self, request: Request) -> tuple[Request | None, int]:
        """Of the last few that with the longest common beginning, the latest of them where several have it."""
        found = [(each, _common(each, request)) for _, each in reversed(self._recent)]
        return max(found, key=lambda pair: pair[1], default=(None, 0))

    def _number_of(self, request: Request | None) -> int:
        return next(number for number, each in self._recent if each is request)


def _common(one: Request, other: Request) -> int:
    pairs = zip(one.conversation, other.conversation, strict=False)
    shorter = min(len(one.conversation), len(other.conversation))
    return next((at for at, (a, b) in enumerate(pairs) if a.canonical != b.canonical), shorter)


def _call_facts(call: CallDetail) -> str:
    row = call.row
    facts = [
        _line(row.response_model or row.request_model or row.target),
        str(row.http_status) if row.http_status is not None else row.end.value,
        formats.duration(row.duration_us),
        formats.tokens(row.usage.input_tokens, row.usage.output_tokens),
        formats.usd(row.cost.usd),
        f"id {row.call_id}",
    ]
    return " · ".join(fact for fact in facts if fact)


def _changed(title: str, changed: Sequence[ValueChange]) -> Iterator[str]:
    """Those of the first call, later only what is not as before."""
    if not changed:
        return
    gone = [each.name for each in changed if each.change is Change.REMOVED]
    yield f"**{title}**"
    if told := {each.name: json.loads(each.now) for each in changed if each.now is not None}:
        yield fenced(json.dumps(told, ensure_ascii=False, indent=2), "json")
    if gone:
        yield f"No more: {', '.join(_line(name) for name in gone)}."


def _answer(call: CallDetail) -> Iterator[str]:
    if call.row.error is not None:
        error = call.row.error
        yield "**error**"
        yield fenced("\n".join(part for part in (error.type, error.message) if part))
    if call.answer is not None:
        yield "**answer**"
        try:
            yield fenced(readable(json.loads(call.answer)))
        except (ValueError, RecursionError):
            yield fenced(call.answer.decode("utf-8", "replace"))
    elif call.row.error is None:
        yield "No answer is stored."
    if call.opaque_reason:
        yield f"Not understood: {_line(call.opaque_reason)}."
    if call.is_truncated:
        yield "Cut off: it was larger than the capture limit."


# --- text -------------------------------------------------------------------------------------------


def fenced(text: str, language: str = "text") -> str:
    """A code block whose fence is longer than any in the text."""
    longest = max((len(found) for found in _FENCE.findall(text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _line(text: str) -> str:
    """On one line, and no markup of its own."""
    words = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return _MARKUP.sub(r"\\\1", words)
