"""The rows of a run's timeline: what each step shows in one line, and the same as columns for the script."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nlargest
from operator import itemgetter

from watchllm_proxy.console import formats
from watchllm_proxy.console.labels import flag_label, step_shape
from watchllm_proxy.console.loading import LoadedRun
from watchllm_proxy.console.pages.figures import is_failed_step
from watchllm_proxy.console.pages.folding import FOLDED_ABOVE_STEPS, UNFOLDED, Folding, folding_of
from watchllm_proxy.records import Flag, RunStatus, Step, StepType, record

PREVIEW_CHARACTERS = 140
SHORT_PREVIEW_CHARACTERS = 56
"""In a run of many steps: more than a row shows of it at once, and a step's detail has all."""

MAX_DEAREST = 20
_TOOL_TYPES = {StepType.TOOL_CALL, StepType.TOOL_RESULT}


@record
class Row:
    """One step in one line. `start_us` counts from the run's start. Where only the overview is drawn of a step,
    what is written of it is left out: `name` and `preview` to `cost` are empty."""

    index: int
    shape: str
    name: str
    preview: str
    tags: tuple[str, ...]
    is_failed: bool
    start_us: int
    duration_us: int
    first_token_us: int
    took: str
    tokens: str
    cost: str


@dataclass(frozen=True, slots=True)
class Timeline:
    rows: Sequence[Row]
    span_us: int  # from the run's start to the end of its last step, at least 1
    folding: Folding = UNFOLDED
    dearest: tuple[int, ...] = ()  # places of the dearest steps in `rows`
    open: tuple[int, ...] = ()  # places of those that are going on
    left_out: int = 0  # rows behind these that are not kept

    @property
    def length(self) -> int:
        return len(self.rows) + self.left_out

    def share(self, us: int) -> float:
        """Per cent of the span, to three decimals: an SVG length."""
        return round(100 * us / self.span_us, 3)

    @property
    def is_long(self) -> bool:
        """Whether it is shown folded unless its reader says otherwise."""
        return self.length > FOLDED_ABOVE_STEPS and bool(self.folding.cuts)


def timeline_of(loaded: LoadedRun, written: int | None = None) -> Timeline:
    """`written`: of so many steps from the first what stands in their lines is written; None: of all."""
    tags = tags_by_step(loaded.flags)
    start_us = loaded.run.started_at_us
    characters = PREVIEW_CHARACTERS if len(loaded.steps) <= FOLDED_ABOVE_STEPS else SHORT_PREVIEW_CHARACTERS
    rows = [_row(step, start_us, tags.get(step.step_index, ()), characters) for step in loaded.steps[:written]]
    if written is not None:
        rows += [_drawn_row(step, start_us, tags.get(step.step_index, ())) for step in loaded.steps[written:]]
    spans = [(row.start_us, row.duration_us) for row in rows]
    end_us = max((start + length for start, length in spans), default=0)
    return Timeline(rows, max(end_us, 1), folding_of(spans), _dearest(loaded.steps), _open(loaded))


def _open(loaded: LoadedRun) -> tuple[int, ...]:
    """Tool calls that wait for their results while the run goes on."""
    if loaded.run.status is not RunStatus.RUNNING:
        return ()
    return tuple(place for place, step in enumerate(loaded.steps) if _is_open(step))


def _is_open(step: Step) -> bool:
    return step.type is StepType.TOOL_CALL and step.duration_us is None and step.tool_output_summary is None


def _dearest(steps: Sequence[Step]) -> tuple[int, ...]:
    priced = [(step.cost_usd, place) for place, step in enumerate(steps) if step.is_priced and step.cost_usd]
    return tuple(sorted(place for _, place in nlargest(MAX_DEAREST, priced, key=itemgetter(0))))


def tags_by_step(flags: Sequence[Flag]) -> dict[int, tuple[str, ...]]:
    tags: defaultdict[int, list[str]] = defaultdict(list)
    for flag in flags:
        for index in flag.step_indexes:
            tags[index].append(flag_label(flag))
    return {index: tuple(dict.fromkeys(labels)) for index, labels in tags.items()}


def _row(step: Step, run_start_us: int, tags: tuple[str, ...], preview_characters: int) -> Row:
    return Row(
        index=step.step_index,
        shape=step_shape(step.type),
        name=step_name(step),
        preview=_preview(step, preview_characters),
        tags=tags,
        is_failed=is_failed_step(step),
        start_us=max(0, step.started_at_us - run_start_us),
        duration_us=step.duration_us or 0,
        first_token_us=step.time_to_first_token_us or 0,
        took=took(step),
        tokens=formats.tokens(step.input_tokens, step.output_tokens) if step.is_priced else "",
        cost=formats.usd_short(step.cost_usd) if has_known_cost(step) else "",
    )


def _drawn_row(step: Step, run_start_us: int, tags: tuple[str, ...]) -> Row:
    start_us = max(0, step.started_at_us - run_start_us)
    shape, failed = step_shape(step.type), is_failed_step(step)
    return Row(step.step_index, shape, "", "", tags, failed, start_us, step.duration_us or 0, 0, "", "", "")


def has_known_cost(step: Step) -> bool:
    """Whether there is anything to say of a step's cost: an amount, or that its tokens are unpriced.

    A call without tokens (a refused one, say) has no price that could be known.
    """
    has_tokens = step.input_tokens is not None or step.output_tokens is not None
    return step.is_priced and (step.cost_usd is not None or has_tokens)


def step_name(step: Step) -> str:
    if step.type is StepType.USER_INPUT:
        return "user"
    if step.type in _TOOL_TYPES:
        return step.tool or "tool"
    return step.model or step.error_type or step.type.value


def took(step: Step) -> str:
    """A tool's time is inferred from the gap between two calls, and says so."""
    if not step.duration_us:
        return ""
    return ("≈" if step.is_duration_inferred else "") + formats.duration(step.duration_us)


def _preview(step: Step, characters: int) -> str:
    text = _text(step)
    return " ".join(text[: 2 * characters].split())[:characters]


def _text(step: Step) -> str:
    if step.type is StepType.TOOL_CALL:
        return step.tool_args or step.summary
    if step.type is StepType.TOOL_RESULT:
        return step.tool_output_summary or step.summary
    if step.error_message and step.type in {StepType.ERROR, StepType.RETRY}:
        return step.error_message
    if step.type is StepType.DECISION and step.decision:
        said = "" if step.summary == step.decision else f" · {step.summary}"
        return f"→ {step.decision}{said}"
    return step.summary


def columns(timeline: Timeline) -> dict[str, object]:
    """Rows turned into columns with names stored once, and what grows told by how much: 2,000 steps of real agents
    compress to under 40 kB."""
    names = list(dict.fromkeys(row.name for row in timeline.rows))
    place = {name: i for i, name in enumerate(names)}
    rows = timeline.rows
    return {
        "span_us": timeline.span_us,
        "names": names,
        "index_gaps": _gaps([row.index for row in rows]),
        "shape": [row.shape for row in rows],
        "name": [place[row.name] for row in rows],
        "preview": [row.preview for row in rows],
        "tags": {str(i): row.tags for i, row in enumerate(rows) if row.tags},
        "failed": [i for i, row in enumerate(rows) if row.is_failed],
        "start_gaps_us": _gaps([_drawn(row.start_us) for row in rows]),
        "duration_us": [_drawn(row.duration_us) for row in rows],
        "first_token_us": [_drawn(row.first_token_us) for row in rows],
        "took": [row.took for row in rows],
        "tokens": [row.tokens for row in rows],
        "cost": [row.cost for row in rows],
        "dearest": timeline.dearest,
        "open": timeline.open,
        "cuts": [(cut.start_us, cut.length_us) for cut in timeline.folding.cuts],
    }


def _gaps(numbers: Sequence[int]) -> list[int]:
    """The first, and of each other how much it is more than the one before."""
    return [number - former for former, number in zip((0, *numbers), numbers, strict=False)]


def _drawn(us: int) -> int:
    """As exact as a bar can be drawn: to the millisecond. Rounded up, for what takes time is seen to."""
    return -(-us // 1000) * 1000
