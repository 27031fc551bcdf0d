"""What people have said about which calls belong together: rule 0, stronger than any evidence.

Corrections name calls, whose ids are the same whenever the same log is read. So a call that is thought about
again, by whatever rules, goes where it was put; what follows it goes along, for it leaves its traces there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from watchllm_proxy.records import CarriedOut, Confidence, CorrectionKind, Link, LinkKind

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Said:
    """Where a person put a call."""

    run_id: str
    session_id: str
    parent_run_id: str | None
    at_us: int
    is_left: bool = False  # the calls before it were taken away, and it was not

    @classmethod
    def by(cls, done: CarriedOut) -> Said:
        return cls(done.to_run_id, done.to_session_id, done.to_parent_run_id, done.correction.at_us)

    @classmethod
    def of_left(cls, done: CarriedOut) -> Said:
        run_id, at_us = done.correction.run_id, done.correction.at_us
        return cls(run_id, done.left_session_id, done.left_parent_run_id, at_us, is_left=True)

    @property
    def link(self) -> Link:
        """Its value is the time, to the second: nobody has a name here yet."""
        at = _EPOCH + timedelta(seconds=self.at_us // 1_000_000)
        return Link(LinkKind.PERSON, f"{at:%Y-%m-%dT%H:%M:%SZ}", Confidence.CERTAIN)


class SaidByPeople:
    """Corrections in force, in the order in which they were carried out: of one call, the last counts."""

    def __init__(self, in_force: Iterable[CarriedOut] = ()) -> None:
        self._calls: dict[tuple[str, UUID], Said] = {}
        self._merged: dict[tuple[str, str], str] = {}
        for each in in_force:
            project_id = each.correction.project_id
            for call_id in each.call_ids:
                self._calls[project_id, call_id] = Said.by(each)
            for call_id in each.stay_call_ids:
                known = self._calls.get((project_id, call_id))
                if known is None or known.run_id != each.correction.run_id:  # else it was put there in words
                    self._calls[project_id, call_id] = Said.of_left(each)
            if each.correction.kind is CorrectionKind.MERGE:
                self._merged[project_id, each.correction.run_id] = each.to_run_id

    def __bool__(self) -> bool:
        """Whether anything has been said: mostly not, and then no call need be looked up."""
        return bool(self._calls or self._merged)

    def of_call(self, project_id: str, call_id: UUID) -> Said | None:
        return self._calls.get((project_id, call_id))

    def run_now(self, project_id: str, run_id: str) -> str:
        """The run that this id leads to: itself, or the one that it was merged into, at any number of removes."""
        seen = {run_id}
        while (into := self._merged.get((project_id, run_id))) is not None and into not in seen:
            run_id = into
            seen.add(into)
        return run_id


NOTHING_SAID = SaidByPeople()
