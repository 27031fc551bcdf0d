"""What the console and the command line ask of the stores.

Every method takes the project first and sees nothing outside it: a foreign id is an unknown id. All of them
may raise `StoreUnavailable`. Runs come from Postgres, calls from ClickHouse.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence, Set
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from uuid import UUID

import asyncpg

from watchllm_proxy.records import Explanation, Link, Run, RunStatus, SentCall, Step
from watchllm_proxy.store import run_rows, views, whole_calls
from watchllm_proxy.store.call_shapes import Stored, StoredCalls, as_bytes, call_detail, call_row, redacted_from
from watchllm_proxy.store.clickhouse import AsyncEventStore
from watchllm_proxy.store.costs import CostBy, CostGroup, cost_groups
from watchllm_proxy.store.found_texts import FoundText, found_texts
from watchllm_proxy.store.grown_calls import shared_places, stub
from watchllm_proxy.store.reported_reading import EventFilter, FoundEvents, search_events
from watchllm_proxy.store.sent_calls import sent_calls
from watchllm_proxy.store.sessions import SessionList, SessionQuery, SessionRow, get_session, list_sessions
from watchllm_proxy.store.shapes import (
    Around,
    CallDetail,
    CallRow,
    Peer,
    RunCounts,
    RunList,
    RunQuery,
    RunRow,
    RunSort,
    StoredMessage,
    Through,
    unchanged,
)
from watchllm_proxy.store.sql import queries
from watchllm_proxy.store.tool_costs import tool_costs
from watchllm_proxy.store.transactions import QUESTION, transaction

Rebuild = Callable[[bytes, Sequence[StoredMessage]], bytes]
"""`decode.rebuild`: the JSON of a request from its skeleton and messages; ValueError where they do not fit."""

_AROUND_A_RUN_US = 3_600_000_000
"""Before its beginning: what it is said to begin with may have been sent while an earlier call of it was open. And
after its last call has ended, for good measure."""

_ORDERS = {
    RunSort.NEWEST: "started_at DESC, run_id",
    RunSort.OLDEST: "started_at, run_id DESC",
    RunSort.DEAREST: "total_cost_usd DESC NULLS LAST, started_at DESC, run_id",
    RunSort.LONGEST: "ended_at - started_at DESC NULLS LAST, started_at DESC, run_id",
    RunSort.MOST_STEPS: "total_steps DESC, started_at DESC, run_id",
    RunSort.FEWEST_STEPS: "total_steps, started_at, run_id DESC",
}
"""Those of an index, forwards or backwards."""

_KNOWN_FIRST = {RunSort.CHEAPEST: "total_cost_usd", RunSort.SHORTEST: "(ended_at - started_at)"}
"""Those of an index backwards, but for runs of which it is not known, which come last here too."""

CALLS_AT_ONCE = 64
"""That an export reads."""

MAX_COUNTED = 10_000
"""Runs that a list counts; of more it says that they are more."""

MAX_COUNTED_WITH_TEXT = 1_000
"""Of those with a text: no index knows it, so each run on the way to the last that counts is read."""


LINE_CHARACTERS = 300
"""Of each text of a step in a list; two previews, and as much as a sentence about a run quotes of a step."""

MAX_TOKEN_FIGURES = 60
"""Of a run, that its line in a list is drawn from."""


class StoreReading:
    """Answers about the runs and calls of one project at a time."""

    def __init__(self, pool: asyncpg.Pool, events: AsyncEventStore, *, rebuild: Rebuild) -> None:
        self._pool = pool
        self._events = events
        self._rebuild = rebuild
        self._runs_sql = queries("postgres")
        self._calls_sql = queries("clickhouse")

    # --- runs

    async def list_runs(self, project_id: str, query: RunQuery) -> RunList:
        arguments = _filter_arguments(project_id, query)
        page_sql = self._page_sql(RunSort(query.sort.value))
        most = MAX_COUNTED if query.q is None else MAX_COUNTED_WITH_TEXT
        async with self._asking(project_id) as connection:
            found = await connection.fetch(page_sql, *arguments, query.limit + 1, query.offset)
            seen = query.offset + len(found)
            is_last_page = len(found) <= query.limit and (bool(found) or query.offset == 0)
            counted = seen
            if not is_last_page:
                counted = await connection.fetchval(self._filtered("count_runs"), *arguments, most + 1)
        is_total_exact = is_last_page or counted <= most
        total = counted if is_total_exact else max(most, seen if found else 0)
        return RunList(tuple(_run_row(row) for row in found[: query.limit]), total, is_total_exact)

    async def get_run(self, project_id: str, run_id: str) -> RunRow | None:
        found = await self._fetch("get_run", project_id, views.key(run_id))
        return replace(_run_row(found[0]), version=found[0]["version"]) if found else None

    async def get_steps(self, project_id: str, run_id: str) -> Sequence[Step]:
        """All steps by index."""
        found = await self._fetch("get_steps", project_id, views.key(run_id))
        return [run_rows.step_from(row) for row in found]

    async def get_step_lines(self, project_id: str, run_id: str) -> Sequence[Step]:
        """All steps by index, as a list of them shows them: long texts by their beginnings, and without what only
        their detail tells."""
        found = await self._fetch("get_step_lines", project_id, views.key(run_id), LINE_CHARACTERS)
        return run_rows.step_lines_from(found)

    async def get_tokens(self, project_id: str, runs: Sequence[Run]) -> Mapping[str, Sequence[int]]:
        """By run, what its calls took in tokens, read and written together, in order: of a run of more than
        `MAX_TOKEN_FIGURES` steps so many calls at equal distances. A run of which none is known is not there."""
        ids, lengths = [views.key(run.run_id) for run in runs], [run.total_steps for run in runs]
        found = await self._fetch("tokens_of_runs", project_id, ids, lengths, MAX_TOKEN_FIGURES)
        tokens = {row["run_id"]: row["tokens"] for row in found}
        return {run.run_id: tokens[key] for run, key in zip(runs, ids, strict=True) if key in tokens}

    async def get_explanations(self, project_id: str, run_id: str) -> Sequence[Explanation]:
        found = await self._fetch("get_explanations", project_id, views.key(run_id))
        return [run_rows.explanation_from(row) for row in found]

    async def get_links(self, project_id: str, run_id: str) -> Mapping[UUID, Sequence[Link]]:
        """Why each call of the run is there; the link that decided comes first."""
        links: dict[UUID, list[Link]] = {}
        for row in await self._fetch("get_links", project_id, views.key(run_id)):
            links.setdefault(run_rows.uuid_from(row["call_id"]), []).append(run_rows.link_from(row))
        return links

    async def get_children(self, project_id: str, run_id: str) -> Sequence[RunRow]:
        """Runs that name this one as their parent, oldest first."""
        found = await self._fetch("get_children", project_id, views.key(run_id))
        return [_run_row(row) for row in found]

    async def get_around(self, project_id: str, run: Run, peers: int) -> Around:
        """Its children, and at most so many other runs of its agent, in one transaction."""
        project, run_id, agent = views.key(project_id), views.key(run.run_id), views.optional_text(run.agent_name)
        async with self._asking(project_id) as connection:
            children = await connection.fetch(self._runs_sql["get_children"], project, run_id)
            alike: Sequence[Stored] = ()
            if agent is not None:
                alike = await connection.fetch(self._runs_sql["peers_of_run"], project, run_id, agent, peers)
        return Around([_run_row(row) for row in children], [_peer(row) for row in alike])

    async def list_sessions(self, project_id: str, query: SessionQuery) -> SessionList:
        """Conversations, the one with the newest run first."""
        async with self._asking(project_id) as connection:
            return await list_sessions(connection, project_id, query)

    async def get_session(self, project_id: str, session_id: str) -> SessionRow | None:
        async with self._asking(project_id) as connection:
            return await get_session(connection, project_id, session_id)

    async def search_events(self, project_id: str, wanted: EventFilter) -> FoundEvents:
        return await search_events(self._events, project_id, wanted)

    async def counts(self, project_id: str, *, with_chats: bool) -> RunCounts:
        by_status = await self._fetch("count_by_status", project_id, with_chats, MAX_COUNTED)
        by_agent = await self._fetch("count_by_agent", project_id, MAX_COUNTED)
        return RunCounts(
            by_status={RunStatus(row["status"]): row["runs"] for row in by_status},
            agents=tuple((row["agent_name"], row["runs"]) for row in by_agent),
        )

    async def costs(self, project_id: str, by: CostBy, *, from_us: int, to_us: int) -> Sequence[CostGroup]:
        """Of the calls that began within [from_us, to_us), whole hours; the dearest group first, days in order."""
        return await cost_groups(self._events, project_id, by, from_us=from_us, to_us=to_us)

    async def costs_by_tool(self, project_id: str, *, from_us: int, to_us: int) -> Sequence[CostGroup]:
        """Of the newest runs, the dearest tool first; None: of calls that asked for none."""
        async with self._asking(project_id) as connection:
            return await tool_costs(connection, project_id, from_us=from_us, to_us=to_us)

    # --- calls

    async def get_redacted(self, project_id: str, run: Run) -> dict[UUID, tuple[tuple[str, int], ...]]:
        """What was redacted in the calls of the run, by kind."""
        from_us, to_us = _span_of(run)
        params: dict[str, str | int] = {
            "project_id": project_id,
            "run_id": run.run_id,
            "from_us": from_us,
            "to_us": to_us,
        }
        found: Sequence[Stored] = await self._events.query(self._calls_sql["redacted_of_run"], params)
        return {UUID(row["call_id"]): redacted_from(row["redacted"]) for row in found}

    async def get_sent_calls(self, project_id: str, run: Run) -> tuple[SentCall, ...] | None:
        """All calls of the run, with what is new in each; None: it is too long for that."""
        return await sent_calls(self._events, project_id, run.run_id, *_span_of(run))

    async def find_texts(self, project_id: str, run: Run, wanted: str) -> tuple[FoundText, ...] | None:
        """Where a text stands in what the calls of the run sent and were answered; None: it is too long."""
        return await found_texts(self._events, project_id, run.run_id, wanted, span=_span_of(run))

    async def get_messages(self, project_id: str, hashes: Sequence[str]) -> Mapping[str, bytes]:
        """The JSON of messages by their hashes, of those that are still there."""
        params: dict[str, str | list[str]] = {"project_id": project_id, "hashes": list(hashes)}
        found: Sequence[Stored] = await self._events.query(self._calls_sql["messages_by_hash"], params)
        return {each["content_hash"]: as_bytes(each["content"]) for each in found}

    async def get_call(self, project_id: str, call_id: UUID, *, through: Through = unchanged) -> CallDetail | None:
        (found,) = [each async for each in self.get_calls(project_id, [call_id], through=through)]
        return found

    async def get_calls(
        self, project_id: str, call_ids: Sequence[UUID], *, through: Through = unchanged
    ) -> AsyncGenerator[CallDetail | None]:
        """What `get_call` gives of each, in their order. Some are read at once: of these, and of one page of texts
        that they share, there is memory taken at a time."""
        for first in range(0, len(call_ids), CALLS_AT_ONCE):
            ids = call_ids[first : first + CALLS_AT_ONCE]
            rows = await whole_calls.rows_of(self._events, project_id, ids)
            links: dict[UUID, list[Link]] = {}
            for link in await self._fetch("links_of_calls", project_id, ids) if rows else ():
                links.setdefault(run_rows.uuid_from(link["call_id"]), []).append(run_rows.link_from(link))
            async for call_id, row, contents in whole_calls.with_contents(self._events, project_id, ids, rows):
                if row is None:
                    yield None
                    continue
                found = await asyncio.to_thread(self._detail, row, contents, through)
                yield replace(found, links=tuple(links.get(call_id, ())))

    async def get_grown_call(
        self, project_id: str, call_id: UUID, before_id: UUID, *, through: Through = unchanged
    ) -> tuple[CallDetail | None, CallDetail | None]:
        """A call and one before it, for comparing them: what both begin with is not read, and a stub in both."""
        rows = await whole_calls.rows_of(self._events, project_id, [call_id, before_id])
        row, before = rows.get(call_id), rows.get(before_id)
        shared = shared_places(row, before) if row and before else (frozenset(), frozenset())
        found: list[CallDetail | None] = []
        for each, places in zip((row, before), shared, strict=True):
            if each is None:
                found.append(None)
                continue
            contents = await whole_calls.contents_of(self._events, project_id, each, without=places)
            found.append(await asyncio.to_thread(self._detail, each, contents, through, places))
        return found[0], found[1]

    def _detail(
        self, row: Stored, contents: Mapping[str, bytes], through: Through, stubs: Set[int] = frozenset()
    ) -> CallDetail:
        """In a thread: bodies may have many megabytes. `contents`: of its messages and answer, among others."""
        call_id = UUID(row["call_id"])
        own = whole_calls.hashes_of(row, without=stubs)
        told = {each: through(call_id, contents[each]) for each in own if each in contents}
        answer = told.get(row["answer_hash"]) if row["has_answer"] else None
        skeleton = through(call_id, as_bytes(row["request_skeleton"]))
        return call_detail(row, request=self._request(row, skeleton, told, stubs), answer=answer)

    async def get_raw(self, project_id: str, call_id: UUID) -> tuple[bytes | None, bytes | None] | None:
        """Request and answer bodies as they were on the wire; None where they are not kept (any more)."""
        params = {"project_id": project_id, "call_id": str(call_id)}
        found = await self._events.query(self._calls_sql["raw_exchange"], params)
        if not found:
            return None
        row: Stored = found[0]
        return (
            bytes.fromhex(row["request"]) if row["has_request"] else None,
            bytes.fromhex(row["response"]) if row["has_response"] else None,
        )

    async def stored_calls(self, project_id: str) -> StoredCalls:
        """How many there are."""
        (row,) = await self._events.query(self._calls_sql["stored_calls"], {"project_id": project_id})
        return StoredCalls(int(str(row["calls"])), int(str(row["raw_bodies"])))

    async def recent_calls(self, project_id: str, after: UUID | None, limit: int) -> Sequence[CallRow]:
        """Calls stored after `after`, oldest first; without it the newest `limit`, oldest first."""
        params: dict[str, str | int] = {"project_id": project_id, "limit": limit}
        if after is not None:
            params["after"] = str(after)
        name = "newest_calls" if after is None else "calls_after"
        return [call_row(row) for row in await self._events.query(self._calls_sql[name], params)]

    def _request(
        self, row: Stored, skeleton: bytes, contents: Mapping[str, bytes], stubs: Set[int]
    ) -> bytes | None:
        """None for a call without a skeleton, and for one whose messages are gone (retention, erasure)."""
        messages = []
        for place, (slot, each) in enumerate(zip(row["message_slots"], row["message_hashes"], strict=True)):
            content = stub(each) if place in stubs else contents.get(each)
            if content is None:
                return None
            messages.append(StoredMessage(slot, content))
        try:
            return self._rebuild(skeleton, messages) if skeleton else None
        except ValueError:
            return None

    # ---

    def _page_sql(self, sort: RunSort) -> str:
        if sort in _KNOWN_FIRST:
            return self._filtered("list_runs_known_first").replace("/*key*/", _KNOWN_FIRST[sort])
        return self._filtered("list_runs").replace("/*order*/", _ORDERS[sort])

    def _filtered(self, name: str) -> str:
        return self._runs_sql[name].replace("/*run_filter*/", self._runs_sql["run_filter"])

    def _asking(self, project_id: str) -> AbstractAsyncContextManager[asyncpg.Connection]:
        """A transaction that sees the rows of this project alone, whatever it asks."""
        return transaction(self._pool, QUESTION, views.key(project_id))

    async def _fetch(self, name: str, project_id: str, *arguments: object) -> Sequence[Stored]:
        async with self._asking(project_id) as connection:
            found: Sequence[Stored] = await connection.fetch(
                self._runs_sql[name], views.key(project_id), *arguments
            )
        return found


def _span_of(run: Run) -> tuple[int, int]:
    """From when to when its calls began: the store of calls is in order of time, and knows a run by an index only,
    which is worth little without."""
    return run.started_at_us - _AROUND_A_RUN_US, run.last_activity_at_us + _AROUND_A_RUN_US


def _filter_arguments(project_id: str, query: RunQuery) -> list[object]:
    """$1 to $11 of `run_filter`."""
    return [
        views.key(project_id),
        query.status.value if query.status else None,
        views.optional_text(query.agent),
        query.flag.value if query.flag else None,
        views.optional_key(query.session),
        views.optional_text(query.q),
        views.optional_instant(query.since_us),
        views.optional_instant(query.until_us),
        query.with_chats,
        views.optional_key(query.user),
        query.with_errors,
    ]


def _run_row(row: Stored) -> RunRow:
    return RunRow(run_rows.run_from(row), run_rows.flags_from(row))


def _peer(row: Stored) -> Peer:
    return Peer(row["run_id"], row["title"], RunStatus(row["status"]), run_rows.usd_from(row["total_cost_usd"]))
