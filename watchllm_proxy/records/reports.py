"""Report: what somebody tells of runs and events of theirs; told, not captured."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from watchllm_proxy.records.costs import CostSource
from watchllm_proxy.records.frozen import record

TOLD_BESIDE = "~reported"
"""Behind the id of a run that was reported under the id of a captured one (decision 0170)."""


class ReportKind(StrEnum):
    """What a report's body is."""

    RUN = "run"  # a JSON object: fields of one run, and steps of it
    EVENTS = "events"  # a JSON array of events


@record
class Report:
    """What a client tells of a run or of events of its own. Its shape was checked before it was taken.

    `body` is UTF-8 JSON with each value as the client spelt it, so that no number is rounded.
    """

    report_id: UUID
    project_id: str
    kind: ReportKind
    run_id: str | None  # of a RUN, as the client gave it; None: each event names its own
    body: bytes
    received_at_us: int  # wall clock when the request head was read
    is_content_refused: bool = False  # figures and ids are kept, but no text

    @property
    def ended_at_us(self) -> int:
        """Its place in time among exchanges."""
        return self.received_at_us


@record
class ReportedEvent:
    """One event that a client told, with what it is searched by. `body` is the event as it was told, JSON."""

    project_id: str
    event_id: str
    event_type: str
    run_id: str | None
    at_us: int
    user_id: str | None
    status: str | None
    model: str | None
    tags: tuple[str, ...]
    release: str | None
    env: str
    latency_ms: int | None
    tokens_input: int | None
    tokens_output: int | None
    cost_usd: Decimal | None
    cost_source: CostSource  # UPSTREAM: as the client told
    body: bytes
