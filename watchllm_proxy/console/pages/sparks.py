"""What the calls of a run took in tokens, as a line for a row of a list: inline SVG, made by the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from watchllm_proxy.console.formats import compact
from watchllm_proxy.console.reading import RunReading
from watchllm_proxy.store.shapes import RunRow

WIDTH, HEIGHT = 60, 14


@dataclass(frozen=True, slots=True)
class Spark:
    """`path` is of a view box of `WIDTH` by `HEIGHT`: each call a level as wide as its share."""

    path: str
    title: str


async def sparks_of(reading: RunReading, project_id: str, rows: Sequence[RunRow]) -> Mapping[str, Spark]:
    """By run, of those that have one."""
    runs = [row.run for row in rows]
    tokens = await reading.get_tokens(project_id, runs)
    drawn = ((run.run_id, spark_of(tokens.get(run.run_id, ()), calls=run.total_calls)) for run in runs)
    return {run_id: spark for run_id, spark in drawn if spark is not None}


def spark_of(tokens: Sequence[int], *, calls: int) -> Spark | None:
    """`tokens`: of all of the run's calls in order, or of some at equal distances. None: nothing to draw."""
    most = max(tokens, default=0)
    if not most:
        return None
    levels = [HEIGHT - 1 - (HEIGHT - 2) * each // most for each in tokens]
    edges = [WIDTH * number // len(tokens) for number in range(1, len(tokens) + 1)]
    path = f"M0 {levels[0]}" + "".join(f"V{y}H{x}" for y, x in zip(levels, edges, strict=True))
    return Spark(path, _in_words(tokens, most, calls))


def _in_words(tokens: Sequence[int], most: int, calls: int) -> str:
    if len(tokens) == 1 and calls <= 1:
        return f"{compact(most)} tokens in its call"
    some = "" if len(tokens) >= calls else f" ({len(tokens)} of {calls:,} calls)"
    first, last = compact(tokens[0]), compact(tokens[-1])
    return f"Tokens by call{some}: {first} at first, {compact(most)} at most, {last} at last"
