"""The seam to the stores: what the console asks of them.

Two implementations: the stores' (`store.reading.StoreReading`) and the one in memory that the tests render.
Every method takes the project first and sees nothing outside it: a foreign id is an unknown id.
All of them may raise `StoreUnavailable`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol
from uuid import UUID

from watchllm_proxy.records import Explanation, Link, Run, SentCall, Step
from watchllm_proxy.store.call_shapes import StoredCalls
from watchllm_proxy.store.costs import CostBy, CostGroup
from watchllm_proxy.store.found_texts import FoundText
from watchllm_proxy.store.reported_reading import EventFilter, FoundEvents
from watchllm_proxy.store.sessions import SessionList, SessionQuery, SessionRow
from watchllm_proxy.store.shapes import (
    Around,
    CallDetail,
    CallRow,
    RunCounts,
    RunList,
    RunQuery,
    RunRow,
    Through,
    unchanged,
)

RedactedCalls = Mapping[UUID, tuple[tuple[str, int], ...]]
"""By call: how many values were put behind tags, by kind. A call of which none was is not there."""


class RunReading(Protocol):
    """Answers about the runs of one project at a time."""

    async def list_runs(self, project_id: str, query: RunQuery) -> RunList: ...

    async def get_run(self, project_id: str, run_id: str) -> RunRow | None: ...

    async def list_sessions(self, project_id: str, query: SessionQuery) -> SessionList:
        """Conversations, the one with the newest run first."""

    async def get_session(self, project_id: str, session_id: str) -> SessionRow | None: ...

    async def get_steps(self, project_id: str, run_id: str) -> Sequence[Step]:
        """All steps by index."""

    async def get_step_lines(self, project_id: str, run_id: str) -> Sequence[Step]:
        """All steps by index, as a list shows them: of each text the first 300 characters; whose call it is, its
        status and what only its detail tells are left out."""

    async def get_tokens(self, project_id: str, runs: Sequence[Run]) -> Mapping[str, Sequence[int]]:
        """By run, what its calls took in tokens, in order; of a long run some of them, at equal distances."""

    async def get_explanations(self, project_id: str, run_id: str) -> Sequence[Explanation]: ...

    async def get_links(self, project_id: str, run_id: str) -> Mapping[UUID, Sequence[Link]]:
        """Why each call of the run is there, strongest evidence first."""

    async def get_redacted(self, project_id: str, run: Run) -> RedactedCalls:
        """What was redacted in the calls of the run."""

    async def get_children(self, project_id: str, run_id: str) -> Sequence[RunRow]:
        """Runs that name this one as their parent, oldest first."""

    async def get_around(self, project_id: str, run: Run, peers: int) -> Around:
        """Its children, and at most so many other runs of its agent."""

    async def get_sent_calls(self, project_id: str, run: Run) -> Sequence[SentCall] | None:
        """All calls of the run, in order, with what is new in each; None: it is too long."""

    async def get_messages(self, project_id: str, hashes: Sequence[str]) -> Mapping[str, bytes]:
        """The JSON of messages by their hashes, of those that are still there."""

    async def find_texts(self, project_id: str, run: Run, wanted: str) -> Sequence[FoundText] | None:
        """Where a text stands in what the calls of the run sent and were answered; None: it is too long."""

    async def get_call(
        self, project_id: str, call_id: UUID, *, through: Through = unchanged
    ) -> CallDetail | None: ...

    async def get_grown_call(
        self, project_id: str, call_id: UUID, before_id: UUID, *, through: Through = unchanged
    ) -> tuple[CallDetail | None, CallDetail | None]:
        """A call and one before it, for comparing them: messages that both begin with may be stubs, the same in
        both; no links are told."""

    def get_calls(self, project_id: str, call_ids: Sequence[UUID]) -> AsyncIterator[CallDetail | None]:
        """What `get_call` gives of each, in their order; of some there is memory taken at a time."""

    async def get_raw(self, project_id: str, call_id: UUID) -> tuple[bytes | None, bytes | None] | None:
        """Request and answer bodies as they were on the wire; None where they are not kept (any more)."""

    async def stored_calls(self, project_id: str) -> StoredCalls:
        """How many there are."""

    async def recent_calls(self, project_id: str, after: UUID | None, limit: int) -> Sequence[CallRow]:
        """Calls stored after `after`, oldest first; without it the newest `limit`, oldest first."""

    async def search_events(self, project_id: str, wanted: EventFilter) -> FoundEvents:
        """Of the events that clients reported."""

    async def counts(self, project_id: str, *, with_chats: bool) -> RunCounts: ...

    async def costs(self, project_id: str, by: CostBy, *, from_us: int, to_us: int) -> Sequence[CostGroup]:
        """Of the calls that began within [from_us, to_us), whole hours; the dearest group first, days in order."""

    async def costs_by_tool(self, project_id: str, *, from_us: int, to_us: int) -> Sequence[CostGroup]:
        """Of the newest runs, the dearest tool first; None: of calls that asked for none."""
