"""Where a batch begins and ends in the capture logs, and what it writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from watchllm_proxy.records.frozen import record
from watchllm_proxy.records.runs import Anchor, Moved, Placement, Run, Step


@dataclass(frozen=True, slots=True, order=True)
class LogPosition:
    """A place in one capture log: records before it are done. Ordered."""

    segment: int
    offset_bytes: int


@record
class BatchBounds:
    """A batch of the capture logs: `[start, end)` of each log by name, and the time it is thought at.

    Or a batch of records that were set aside and are tried again: then it has no logs, and `retried` names them.
    """

    starts: dict[str, LogPosition]
    ends: dict[str, LogPosition]
    now_us: int
    retried: tuple[UUID, ...] = ()


@record
class RunChanges:
    """What one batch changed, drained from the sessionizer. Rows are upserts by their natural keys."""

    runs: tuple[Run, ...] = ()
    steps: tuple[tuple[str, str, Step], ...] = ()  # (project_id, run_id, step), new or changed
    all_steps: dict[tuple[str, str], tuple[Step, ...]] = field(default_factory=dict)  # of every changed run
    placements: tuple[Placement, ...] = ()  # of calls placed or linked anew
    moved: tuple[Moved, ...] = ()  # calls of earlier batches that belong elsewhere now
    anchors: tuple[Anchor, ...] = ()
