"""A run with everything that is shown of it, fetched side by side."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from watchllm_proxy.console.api.told import redacted_of
from watchllm_proxy.console.desk import CorrectionDesk
from watchllm_proxy.console.memory import Memory
from watchllm_proxy.console.reading import RedactedCalls, RunReading
from watchllm_proxy.errors import StoreUnavailable
from watchllm_proxy.insights.spending import Spending
from watchllm_proxy.records import CarriedOut, Explanation, Flag, Link, Run, Step
from watchllm_proxy.store.shapes import Peer, RunRow

COMPARED_RUNS = 20
"""Of the same agent, the newest."""


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
    peers: Sequence[Peer] = ()  # other runs of its agent, the newest first
    key: Hashable = None  # stands for this run, its flags and its steps as they are; None: for nothing

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


KEPT_LINES = 60_000
"""Of all runs together; a line takes about a kilobyte."""


REDACTED_KNOWN_S = 30.0
"""Calls may be erased while their run stays as it is."""


class LineMemory(Memory[Sequence[Step]]):
    """The steps, as lists show them, of the runs that were looked at last, each as of one version."""

    def __init__(self, kept_lines: int = KEPT_LINES) -> None:
        super().__init__(kept_lines, len)
        self.redacted: Memory[tuple[float, RedactedCalls]] = Memory(kept_lines, lambda known: 1 + len(known[1]))
        """With the time until which it may be told again."""


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


async def load_lines(reading: RunReading, memory: LineMemory, project_id: str, run_id: str) -> LoadedRun | None:
    """As much of a run as the list of its steps needs: nothing beside them, and of those no more than it shows."""
    row = await reading.get_run(project_id, run_id)
    if row is None:
        return None
    steps = await _lines(reading, memory, project_id, row)
    return LoadedRun(row.run, row.flags, steps, key=_key(project_id, row))


async def load_page(
    reading: RunReading, desk: CorrectionDesk, memory: LineMemory, project_id: str, run_id: str
) -> LoadedRun | None:
    """As much of a run as its page needs: no step's reasons and links, and of steps what a list shows."""
    row = await reading.get_run(project_id, run_id)
    if row is None:
        return None
    steps, around, corrections, redacted = await asyncio.gather(
        _lines(reading, memory, project_id, row),
        reading.get_around(project_id, row.run, COMPARED_RUNS),
        desk.of_run(project_id, run_id),
        _lately_redacted(reading, memory, project_id, row),
    )
    return LoadedRun(
        row.run,
        row.flags,
        steps,
        children=around.children,
        corrections=corrections,
        redacted=redacted,
        peers=around.peers,
        key=_key(project_id, row),
    )


def _key(project_id: str, row: RunRow) -> Hashable:
    return None if row.version is None else (project_id, row.run.run_id, row.version)


async def _lines(reading: RunReading, memory: LineMemory, project_id: str, row: RunRow) -> Sequence[Step]:
    """A page asks for its list at once: what was just read is not read again while it is the same."""
    run_id, key = row.run.run_id, _key(project_id, row)
    if key is None:
        return await reading.get_step_lines(project_id, run_id)
    known = memory.get(key)
    if known is None:
        known = await reading.get_step_lines(project_id, run_id)
        memory.put(key, known)
    return known


async def _lately_redacted(
    reading: RunReading, memory: LineMemory, project_id: str, row: RunRow
) -> RedactedCalls | None:
    key, now_s = _key(project_id, row), time.monotonic()
    known = memory.redacted.get(key)
    if known is not None and now_s < known[0]:
        return known[1]
    found = await _redacted(reading, project_id, row.run)
    if key is not None and found is not None:
        memory.redacted.put(key, (now_s + REDACTED_KNOWN_S, found))
    return found


async def _redacted(reading: RunReading, project_id: str, run: Run) -> RedactedCalls | None:
    try:
        return await reading.get_redacted(project_id, run)
    except StoreUnavailable:
        return None


async def _not_asked() -> None:
    return None
