"""The overview of a whole run as inline SVG: one lane per agent, errors marked above, running cost as a line.

A few paths whatever the number of steps: the lane is cut into slots, and each slot takes one colour. Lengths
are units of a 1000 wide view box that the browser stretches. Drawn folded, idle time is cut out of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby

from watchllm_proxy.console import formats
from watchllm_proxy.console.addresses import lane_path, run_path
from watchllm_proxy.console.loading import LoadedRun
from watchllm_proxy.console.pages.folding import UNFOLDED, Folding
from watchllm_proxy.console.pages.timeline import Row, Timeline
from watchllm_proxy.records import Run, Step

WIDTH = 1000
LANE_HEIGHT = 24
TOP = 18
_SLOTS = 250  # some three pixels each
_BAR_Y = TOP + 12  # of its middle: bars are lines as thick as app.css says
_KIND_OF_SHAPE = {
    "model": "model",
    "answer": "model",
    "retry": "model",
    "tool": "tool",
    "user": "user",
    "error": "failed",
}
_AXIS_MARKS = 4


@dataclass(frozen=True, slots=True)
class Lane:
    """An agent, as deep as it was started: this run, or a sub-agent. `path` shows its steps alone."""

    name: str
    steps: int
    cost: str
    run_id: str
    path: str
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Overview:
    lanes: tuple[Lane, ...]
    height: int
    bars: dict[str, str]  # kind -> path data
    marks: dict[str, tuple[str, ...]]  # failed | flagged -> x of each triangle
    cost_line: str
    axis: tuple[tuple[str, str, str], ...]  # x, text-anchor, label
    cuts: tuple[int, ...]  # x of each place where idle time is cut out


@dataclass(frozen=True, slots=True)
class _Clock:
    """The time of a run as it is drawn."""

    folding: Folding
    started_at_us: int
    span_us: int  # as drawn, at least 1

    def at(self, us: int) -> int:
        """Of a time since the run's start."""
        return self.folding.at(us)

    def of(self, instant_us: int) -> int:
        return self.folding.at(instant_us - self.started_at_us)


def overview_of(loaded: LoadedRun, timeline: Timeline, folding: Folding = UNFOLDED) -> Overview:
    children = [row.run for row in loaded.children]
    depths = _depths(loaded.run, children)
    lanes = (_own_lane(loaded.run), *(_child_lane(child, loaded.run, depths[child.run_id]) for child in children))
    height = TOP + LANE_HEIGHT * len(lanes) + 4
    clock = _Clock(folding, loaded.run.started_at_us, max(1, folding.at(timeline.span_us)))
    bars = _bars(timeline.rows, clock)
    bars["agent"] = _child_bars(children, clock)
    return Overview(
        lanes=lanes,
        height=height,
        bars={kind: path for kind, path in bars.items() if path},
        marks=_marks(timeline.rows, clock),
        cost_line=_cost_line(loaded.steps, clock, height),
        axis=_axis(clock),
        cuts=tuple(dict.fromkeys(clock.at(cut.start_us) * WIDTH // clock.span_us for cut in folding.cuts)),
    )


def _own_lane(run: Run) -> Lane:
    cost = formats.usd_short(run.total_cost_usd)
    return Lane(run.agent_name or "this run", run.total_steps, cost, run.run_id, run_path(run.run_id))


def _child_lane(run: Run, above: Run, depth: int) -> Lane:
    name, cost = run.agent_name or run.title or run.run_id, formats.usd_short(run.total_cost_usd)
    return Lane(name, run.total_steps, cost, run.run_id, lane_path(above.run_id, run.run_id), depth)


def _depths(run: Run, below: Sequence[Run]) -> dict[str, int]:
    """Who started a sub-agent stands before it."""
    depths = {run.run_id: 0}
    for child in below:
        depths[child.run_id] = depths.get(child.parent_run_id or "", 0) + 1
    return depths


def _kind(row: Row) -> str | None:
    return "failed" if row.is_failed else _KIND_OF_SHAPE.get(row.shape)


def _bars(rows: Sequence[Row], clock: _Clock) -> dict[str, str]:
    paths: dict[str, str] = {}
    unit = WIDTH // _SLOTS
    at = 0
    for kind, group in groupby(_slots(rows, clock)):
        length = sum(1 for _ in group)
        if kind is not None:
            paths[kind] = paths.get(kind, "") + _bar(at * unit, _BAR_Y, length * unit)
        at += length
    return paths


def _slots(rows: Sequence[Row], clock: _Clock) -> list[str | None]:
    """What each slot of the lane shows: a failure if there is one in it, else what took most of it."""
    taken: list[dict[str, int]] = [{} for _ in range(_SLOTS)]
    at, span_us = clock.at, clock.span_us
    for row in rows:
        kind = _kind(row)
        if kind is None:
            continue
        start = at(row.start_us)
        end = start + row.duration_us  # nothing is cut out of a step
        first = min(_SLOTS - 1, start * _SLOTS // span_us)
        last = min(_SLOTS - 1, max(first, (end * _SLOTS - 1) // span_us))
        for slot in range(first, last + 1):
            took_us = _overlap_us(start, end, slot, span_us)
            taken[slot][kind] = taken[slot].get(kind, 0) + took_us
    return [_most_telling(kinds) for kinds in taken]


def _overlap_us(start_us: int, end_us: int, slot: int, span_us: int) -> int:
    """How much of a slot a step fills; at least 1, so that a step without duration shows in an empty slot."""
    return max(1, min(end_us, (slot + 1) * span_us // _SLOTS) - max(start_us, slot * span_us // _SLOTS))


def _most_telling(kinds: dict[str, int]) -> str | None:
    if not kinds:
        return None
    return "failed" if "failed" in kinds else max(kinds, key=kinds.__getitem__)


def _child_bars(children: Sequence[Run], clock: _Clock) -> str:
    path = ""
    for lane, child in enumerate(children, start=1):
        x = _clamp(clock.of(child.started_at_us) * WIDTH // clock.span_us)
        end = _clamp(clock.of(child.ended_at_us or child.last_activity_at_us) * WIDTH // clock.span_us)
        path += _bar(x, _BAR_Y + lane * LANE_HEIGHT, max(2, end - x))
    return path


def _clamp(x: int) -> int:
    return min(WIDTH - 2, max(0, x))


def _bar(x: int, y: int, width: int) -> str:
    return f"M{x} {y}h{width}"


def _marks(rows: Sequence[Row], clock: _Clock) -> dict[str, tuple[str, ...]]:
    """Where a triangle stands above the lane, in per cent. Two of a kind within 2 % could not be told apart."""
    found: dict[str, dict[int, None]] = {"failed": {}, "flagged": {}}
    for row in rows:
        if row.is_failed or row.tags:
            kind = "failed" if row.is_failed else "flagged"
            found[kind][clock.at(row.start_us) * 50 // clock.span_us * 2] = None
    return {kind: tuple(str(x) for x in places) for kind, places in found.items()}


def _cost_line(steps: Sequence[Step], clock: _Clock, height: int) -> str:
    """The cost so far, step by step, as one line from the bottom to the top; "" when nothing is priced."""
    total = sum((s.cost_usd or Decimal(0) for s in steps if s.is_priced), Decimal(0))
    if not total:
        return ""
    reached = {0: Decimal(0)}  # slot -> spent by then
    spent = Decimal(0)
    for step in steps:
        if step.is_priced and step.cost_usd:
            spent += step.cost_usd
            end_us = clock.of(step.started_at_us + (step.duration_us or 0))
            reached[min(_SLOTS, max(0, end_us * _SLOTS // clock.span_us))] = spent
    unit = WIDTH // _SLOTS
    rises: dict[int, int] = {}  # height -> where it is first reached: between two of them nobody sees a point
    for slot, usd in sorted(reached.items()):
        rises.setdefault(height - 3 - int((height - TOP - 2) * usd / total), slot)
    return "M" + "L".join(f"{slot * unit} {y}" for y, slot in rises.items())


def _axis(clock: _Clock) -> tuple[tuple[str, str, str], ...]:
    anchors = ["start", *["middle"] * (_AXIS_MARKS - 1), "end"]
    return tuple(
        (
            f"{100 * i // _AXIS_MARKS}%",
            anchor,
            formats.duration(clock.folding.unfolded(clock.span_us * i // _AXIS_MARKS)),
        )
        for i, anchor in enumerate(anchors)
    )
