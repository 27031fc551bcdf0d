"""A run as a tree for the terminal: one line a step, sub-agents' runs indented where they were called.

    ✓ order-assistant  Where is my order #789?
      3.52 s · $0.0004 · 612→87 tokens · 6 steps · 0193…
       0  ●  Where is my order #789?
       1  □  gpt-4.1-mini  → order_lookup                                  312 ms   171→24   $0.0001
       2  ◆  order_lookup  {"order_id": "789"} → {"status": "shipped", …  ≈153 ms

● user, □ model, ■ answer, ◆ tool, ⬡ sub-agent. "≈" marks a time that was inferred from the gap between two calls.
Input is what `GET /api/agent-runs/{id}/debug` answers; a field that is missing is left blank.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.text import Text

from watchllm_proxy.commands.lines import outcome_words
from watchllm_proxy.console import formats
from watchllm_proxy.demo.json_access import JsonObject, as_int, as_list, as_number, as_object, as_text, parse
from watchllm_proxy.records import RunStatus

MAX_PREVIEW = 60
MAX_SENTENCE = 120
MIN_LABEL_WIDTH = 24
GAP = "  "
BRANCH = "│ "

SHAPES = {
    "user_input": ("●", "cyan"),
    "decision": ("□", "magenta"),
    "model_response": ("■", "magenta"),
    "tool_call": ("◆", "green"),
    "tool_result": ("◆", "green dim"),
    "error": ("✗", "red"),
    "retry": ("↻", "yellow"),
}
MOMENTS = frozenset({"user_input", "retry"})  # steps that mark a point in time
STATUS_MARKS = {
    "completed": ("✓", "green"),
    "running": ("…", "blue"),
    "failed": ("✗", "red"),
    "cancelled": ("–", "yellow"),
    "abandoned": ("?", "yellow"),
}


def render_tree(debug: JsonObject, children: Mapping[str, JsonObject] | None = None) -> RenderableType:
    """The run of a `/debug` answer. `children` holds the same answers of its sub-agents' runs, by run id; of a
    child that is not there, only its line is shown. Lines are cut to a terminal's width, never in a pipe."""
    return RunTree(_inner(debug), {run_id: _inner(child) for run_id, child in (children or {}).items()})


def _inner(debug: JsonObject) -> JsonObject:
    return as_object(debug["debug"]) if "debug" in debug else debug


@dataclass(frozen=True, slots=True)
class Row:
    """One line, its cells not yet aligned."""

    number: str
    shape: Text
    label: Text
    took: str = ""
    tokens: str = ""
    cost: str = ""
    tags: tuple[str, ...] = ()
    style: str = ""


@dataclass(frozen=True, slots=True)
class RunTree:
    """See `render_tree`."""

    debug: JsonObject
    children: Mapping[str, JsonObject] = field(default_factory=dict)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        summary = as_object(self.debug.get("summary"))
        width = options.max_width if console.is_terminal else None
        title = _title(summary)
        if width is not None:
            title.truncate(width, overflow="ellipsis")
        yield title
        yield Text(f"  {_figures(self.debug)}", style="dim", no_wrap=True)
        yield from _aligned(list(self._rows(self.debug, "")), width)
        for flag in as_list(summary.get("flags")):
            message = as_text(as_object(flag).get("message"))
            if message:
                yield Text.assemble("  ", ("! ", "yellow"), _one_line(message), no_wrap=True)

    def _rows(self, debug: JsonObject, indent: str) -> Iterator[Row]:
        """The steps of a run, each child after the tool call during which it started."""
        steps = [as_object(step) for step in as_list(debug.get("steps"))]
        waiting = sorted(
            (as_object(child) for child in as_list(debug.get("children"))),
            key=lambda child: as_text(child.get("started_at")),
        )
        for index, step in enumerate(steps):
            yield _step_row(step, indent)
            following = steps[index + 1] if index + 1 < len(steps) else {}
            while waiting and _starts_before(waiting[0], following):
                yield from self._child_rows(waiting.pop(0), indent)
        for child in waiting:
            yield from self._child_rows(child, indent)

    def _child_rows(self, child: JsonObject, indent: str) -> Iterator[Row]:
        yield _child_row(child, indent)
        debug = self.children.get(as_text(child.get("run_id")))
        if debug is not None:
            yield from self._rows(debug, indent + BRANCH)


def _starts_before(child: JsonObject, following: JsonObject) -> bool:
    """Times are RFC 3339 in UTC, all of one width: their order is that of the text."""
    is_tool_phase_over = following.get("type") != "tool_call"
    return is_tool_phase_over and as_text(child.get("started_at")) < as_text(following.get("timestamp"))


def _title(summary: JsonObject) -> Text:
    status = as_text(summary.get("status"))
    mark, style = STATUS_MARKS.get(status, ("?", ""))
    outcome = outcome_words(summary)
    if status == RunStatus.COMPLETED:
        style = str(outcome.style)
    agent = as_text(summary.get("agent_name")) or "agent"
    title = f"  {_one_line(as_text(summary.get('title')))}"
    return Text.assemble((f"{mark} ", style), (_one_line(agent), "bold"), "  ", outcome, title, no_wrap=True)


def _figures(debug: JsonObject) -> str:
    """Duration, cost, tokens and counts, with the run's id at the end to copy."""
    summary = as_object(debug.get("summary"))
    cost = as_number(as_object(summary.get("cost")).get("total_cost_usd"))
    flags = len(as_list(summary.get("flags")))
    figures = [
        formats.duration(_microseconds(summary.get("duration_ms"))),
        formats.usd(cost),
        _total_tokens(as_list(debug.get("steps"))),
        formats.count_of(as_int(summary.get("total_steps")) or 0, "step"),
        formats.count_of(flags, "flag") if flags else "",
        as_text(summary.get("run_id")),
    ]
    return " · ".join(figure for figure in figures if figure)


def _total_tokens(steps: list[object]) -> str:
    """Tokens in and out where steps tell both, else their sum."""
    read = [as_object(step) for step in steps]
    sent = sum(as_int(step.get("input_tokens")) or 0 for step in read)
    got = sum(as_int(step.get("output_tokens")) or 0 for step in read)
    if sent or got:
        return f"{formats.tokens(sent, got)} tokens"
    return f"{formats.compact(sum(as_int(step.get('token_cost')) or 0 for step in read))} tokens"


def _child_row(child: JsonObject, indent: str) -> Row:
    status = as_text(child.get("status"))
    style = "red" if status == "failed" else ""
    label = Text.assemble(
        (_one_line(as_text(child.get("agent_name")) or "agent"), "bold"),
        f"  {_one_line(as_text(child.get('title')))}",
    )
    return Row(
        number="",
        shape=Text(indent + "⬡", style="blue"),
        label=label,
        took=formats.duration(_microseconds(child.get("duration_ms"))),
        cost=formats.usd_short(as_number(child.get("total_cost_usd"))),
        style=style,
    )


def _step_row(step: JsonObject, indent: str) -> Row:
    kind = as_text(step.get("type"))
    shape, shape_style = SHAPES.get(kind, ("·", ""))
    failed = _is_failed(step)
    is_tool = kind in {"tool_call", "tool_result"}
    inferred = "≈" if step.get("is_duration_inferred", is_tool) else ""
    duration_us = None if kind in MOMENTS else _microseconds(step.get("duration_ms"))
    return Row(
        number=str(as_int(step.get("step_index")) or 0),
        shape=Text.assemble(indent, (shape, "red" if failed else shape_style)),
        label=_label(step),
        took="" if duration_us is None else inferred + formats.duration(duration_us),
        tokens=_step_tokens(step),
        cost=_step_cost(step),
        tags=tuple(_flag_words(flag) for flag in as_list(step.get("flags"))),
        style="red" if failed else "",
    )


def _is_failed(step: JsonObject) -> bool:
    """Known from the step itself where it says so, else from the rule that explains it."""
    is_error = step.get("type") == "error" or step.get("is_tool_error") is True
    return is_error or "tool_failed" in as_list(step.get("explain_rules_matched"))


def _label(step: JsonObject) -> Text:
    """What happened: the words of the user, what the model decided or said, what a tool got and gave."""
    kind = as_text(step.get("type"))
    summary = as_text(step.get("summary"))
    if kind == "user_input":
        return Text(_preview(summary, MAX_SENTENCE))
    if kind in {"tool_call", "tool_result"}:
        given, answered = _preview(step.get("tool_args")), _preview(_outcome(step))
        if _is_failed(step):  # the reason first: it must not be what is cut off
            words = f"{answered}  {given}"
        else:
            words = f"{given} → {answered}" if given and answered else given or answered
        return Text.assemble((_one_line(as_text(step.get("tool"))), "bold"), f"  {words}")
    model = _one_line(as_text(step.get("model")).rpartition("/")[2])
    decision = as_text(step.get("decision"))
    words = f"→ {_preview(decision)}" if decision else ""
    said = _preview(summary, MAX_SENTENCE) if summary != decision else ""
    return Text.assemble((model or kind, "bold"), "  ", "  ".join(part for part in (words, said) if part))


def _outcome(step: JsonObject) -> str:
    """What a tool answered; of an error in JSON its code, for the rest of it rarely fits."""
    output = as_text(step.get("tool_output_summary"))
    error = as_object(as_object(parse(output)).get("error"))
    return as_text(error.get("code")) or as_text(error.get("message")) or output


def _preview(value: object, max_chars: int = MAX_PREVIEW) -> str:
    line = _one_line(value if isinstance(value, str) else _compact_json(value))
    return line if len(line) <= max_chars else line[: max_chars - 1] + "…"


def _compact_json(value: object) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False, default=_as_float)


def _as_float(value: object) -> object:
    """Numbers that were parsed exactly are for reading only here."""
    return float(value) if isinstance(value, Decimal) else str(value)


def _one_line(text: str) -> str:
    """Captured text on one line: a control character in it must not steer somebody's terminal."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _step_tokens(step: JsonObject) -> str:
    told = formats.tokens(as_int(step.get("input_tokens")), as_int(step.get("output_tokens")))
    total = as_int(step.get("token_cost"))
    return told or (formats.compact(total) if total else "")


def _step_cost(step: JsonObject) -> str:
    """Blank where a step has no call of its own; "unpriced" where it has one and nobody knows its price."""
    cost = as_number(step.get("api_cost_usd"))
    if cost is not None and cost > 0:
        return formats.usd_short(cost)
    return "unpriced" if cost is None and as_int(step.get("token_cost")) else ""


def _flag_words(flag: object) -> str:
    kind = flag if isinstance(flag, str) else as_text(as_object(flag).get("kind"))
    return _one_line(kind.removesuffix("_detected").replace("_", " "))


def _microseconds(milliseconds: object) -> int | None:
    number = as_number(milliseconds)
    return None if number is None else round(number * 1000)


# --- alignment --------------------------------------------------------------------------------------


def _aligned(rows: list[Row], width: int | None) -> Iterator[Text]:
    """Lines with their columns under each other; in a terminal `width` wide, labels make room for figures."""
    shape_width = max((cell_len(row.shape.plain) for row in rows), default=0)
    number_width = max((len(row.number) for row in rows), default=0)
    columns = [[row.took for row in rows], [row.tokens for row in rows], [row.cost for row in rows]]
    widths = [max((cell_len(cell) for cell in column), default=0) for column in columns]
    label_width = max((cell_len(row.label.plain) for row in rows), default=0)
    if width is not None:
        tags_width = max((cell_len(", ".join(row.tags)) for row in rows), default=0)
        taken = number_width + shape_width + sum(widths) + tags_width + len(GAP) * 7
        label_width = min(label_width, max(width - taken, MIN_LABEL_WIDTH))
    for row in rows:
        yield _line(row, number_width, shape_width, label_width, widths)


def _line(row: Row, number_width: int, shape_width: int, label_width: int, widths: list[int]) -> Text:
    line = Text(GAP, no_wrap=True)
    line.append(row.number.rjust(number_width), style="dim")
    line.append(GAP)
    line.append_text(_padded(row.shape, shape_width))
    line.append(GAP)
    label = row.label.copy()
    label.truncate(label_width, overflow="ellipsis")
    label.stylize(row.style)
    line.append_text(_padded(label, label_width))
    for cell, cell_width in zip((row.took, row.tokens, row.cost), widths, strict=True):
        line.append(GAP + " " * (cell_width - cell_len(cell)) + cell)
    if row.tags:
        line.append(GAP + ", ".join(row.tags), style="yellow")
    line.rstrip()
    return line


def _padded(text: Text, width: int) -> Text:
    padded = text.copy()
    padded.append(" " * (width - cell_len(text.plain)))
    return padded
