"""A run with everything that is shown of it, fetched side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from watchllm_proxy.console.api.told import redacted_of
from watchllm_proxy.console.desk import CorrectionDesk
from watchllm_proxy.console.reading import RedactedCalls, RunReading
from watchllm_proxy.errors import StoreUnavailable
from watchllm_proxy.insights.spending import Spending
from watchllm_proxy.records import CarriedOut, Explanation, Flag, Link, Run, Step
from watchllm_proxy.store.shapes import RunRow


@dataclass(frozen=True, slots=True)
class LoadedRun:
    """One run, its steps by index, and what is known about them."""

    run: Run
    flags: tuple[Flag, ...]
    steps: Sequence[Step]
    explanations: Sequence[Explanation] = ()
    links: Mapping[UUID, Sequence[Link]] = field(default_factory=dict)
    children: Sequence[RunRow] = ()
    corrections: Sequence[CarriedOut] = ()  # in force, about this run or its calls
    redacted: RedactedCalls | None = field(default_factory=dict)  # None: not known now, or not asked for
    spending: Spending | None = None  # None: not known, or not asked for

    @property
    def is_redaction_known(self) -> bool:
        """Of a reported run it is told with the run itself."""
        return self.redacted is not None or self.run.reported is not None

    @property
    def redacted_values(self) -> tuple[tuple[str, int], ...]:
        """By kind. Of a captured run the most in one call, for each request repeats what was redacted in those
        before; of a reported one all, for it is told once."""
        if self.run.reported is not None:
            told = (*redacted_of(self.run), *(one for step in self.steps for one in redacted_of(step)))
            return tuple(sorted(_added_up(told).items()))
        most: dict[str, int] = {}
        for kind, count in (one for of_call in (self.redacted or {}).values() for one in of_call):
            most[kind] = max(count, most.get(kind, 0))
        return tuple(sorted(most.items()))


def _added_up(counts: Iterable[tuple[str, int]]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for kind, count in counts:
        sums[kind] = sums.get(kind, 0) + count
    return sums


async def load_run(
    reading: RunReading, desk: CorrectionDesk, project_id: str, run_id: str, *, with_redacted: bool = True
) -> LoadedRun | None:
    """None when this project has no such run. `with_redacted`: what was redacted is told by the store of calls,
    all else by that of runs; where only the first is away the run is shown without."""
    row = await reading.get_run(project_id, run_id)
    if row is None:
        return None
    steps, explanations, links, children, corrections, redacted = await asyncio.gather(
        reading.get_steps(project_id, run_id),
        reading.get_explanations(project_id, run_id),
        reading.get_links(project_id, run_id),
        reading.get_children(project_id, run_id),
        desk.of_run(project_id, run_id),
        _redacted(reading, project_id, row.run) if with_redacted else _not_asked(),
    )
    return LoadedRun(row.run, row.flags, steps, explanations, links, children, corrections, redacted)


async def _redacted(reading: RunReading, project_id: str, run: Run) -> RedactedCalls | None:
    try:
        return await reading.get_redacted(project_id, run)
    except StoreUnavailable:
        return None


async def _not_asked() -> None:
    return None
