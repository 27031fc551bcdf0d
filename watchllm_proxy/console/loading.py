"""A run with everything that is shown of it, fetched side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from watchllm_proxy.console.desk import CorrectionDesk
from watchllm_proxy.console.reading import RunReading
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


async def load_run(reading: RunReading, desk: CorrectionDesk, project_id: str, run_id: str) -> LoadedRun | None:
    """None when this project has no such run."""
    row = await reading.get_run(project_id, run_id)
    if row is None:
        return None
    steps, explanations, links, children, corrections = await asyncio.gather(
        reading.get_steps(project_id, run_id),
        reading.get_explanations(project_id, run_id),
        reading.get_links(project_id, run_id),
        reading.get_children(project_id, run_id),
        desk.of_run(project_id, run_id),
    )
    return LoadedRun(row.run, row.flags, steps, explanations, links, children, corrections)
