"""The seam to corrections: where a person's word is left for the recorder, and what has become of it.

Two implementations: the store's (`store.corrections.Corrections`) and the one in memory of the tests. Every method
takes the project (a correction names it) and sees nothing outside it. All may raise `StoreUnavailable`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from watchllm_proxy.records import CarriedOut, Correction
from watchllm_proxy.store.corrections import CorrectionState


class CorrectionDesk(Protocol):
    """Corrections of the runs of one project at a time."""

    async def ask(self, correction: Correction) -> None:
        """Durable when it returns; the recorder comes to it."""

    async def state(self, project_id: str, correction_id: UUID) -> CorrectionState | None: ...

    async def of_run(self, project_id: str, run_id: str) -> Sequence[CarriedOut]:
        """Those in force that have to do with this run or its calls, in order."""

    async def merged_into(self, project_id: str, run_id: str) -> str | None:
        """The run that the calls of this one went to; None: it was not merged."""


class NobodysDesk:
    """Where nothing can be corrected: a console over runs that no recorder keeps."""

    async def ask(self, correction: Correction) -> None:
        raise LookupError("nobody would carry it out")

    async def state(self, project_id: str, correction_id: UUID) -> CorrectionState | None:
        return None

    async def of_run(self, project_id: str, run_id: str) -> Sequence[CarriedOut]:
        return ()

    async def merged_into(self, project_id: str, run_id: str) -> str | None:
        return None
