"""Calls that are erased from ClickHouse: found, deleted by rewriting their parts, and gone from the disk.

A call is deleted with its bodies and with the messages that no other call holds. Ids and hashes are noted first,
so that what a crash cuts short is done to its end by doing it again. Nobody may insert meanwhile: a message that
is about to be held by a new call would go. The recorder, which alone inserts, does it between two batches.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from watchllm_proxy.store.clickhouse import AsyncEventStore, Params
from watchllm_proxy.store.figures import Hour, make_anew
from watchllm_proxy.store.sql import queries

TABLES = ("events", "messages", "raw_exchanges", "reported_events")
_RUNS_AT_ONCE = 500
_GONE_WITHIN_S = 120.0
_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class ErasedCalls:
    """What is gone. `is_gone_from_disk` False: files of before still wait for ClickHouse to remove them."""

    calls: int = 0
    messages: int = 0
    bodies: int = 0
    events: int = 0
    is_gone_from_disk: bool = True


class CallEraser:
    """Erases calls of one project on behalf of one erasure: note some, then `erase`. All of it may be repeated."""

    def __init__(self, events: AsyncEventStore, erasure_id: UUID, project_id: str) -> None:
        self._events = events
        self._params = {"erasure_id": str(erasure_id), "project_id": project_id}
        self._project_id = project_id
        self._run_ids: set[str] = set()  # whose reported events go, with those of the users, and those before
        self._user_ids: set[str] = set()
        self._before_us = -1

    # --- which

    async def runs_of_user(self, user_id: str) -> list[str]:
        """Runs with a call of this user."""
        found = await self._query("runs_of_user", {"user_id": user_id})
        return [str(row["run_id"]) for row in found]

    async def note_runs(self, run_ids: Sequence[str]) -> None:
        self._run_ids.update(run_ids)
        for start in range(0, len(run_ids), _RUNS_AT_ONCE):
            await self._execute("note_calls_of_runs", {"run_ids": run_ids[start : start + _RUNS_AT_ONCE]})

    async def note_user(self, user_id: str) -> None:
        self._user_ids.add(user_id)
        await self._execute("note_calls_of_user", {"user_id": user_id})

    async def note_before(self, before_us: int) -> None:
        self._before_us = before_us
        await self._execute("note_calls_before", {"before_us": before_us})

    # --- erasing

    async def erase(self) -> ErasedCalls:
        """Delete the calls that were noted, and all that is theirs alone."""
        await self._execute("note_messages_of_calls")
        await self._execute("note_hours_of_calls")
        hours = [
            Hour(self._project_id, datetime.fromtimestamp(int(str(row["hour_s"])), UTC))
            for row in await self._query("hours_of_calls")
        ]
        calls, bodies = await self._count("count_noted_calls"), await self._count("count_noted_bodies")
        await self._define("erase_bodies")
        await self._define("erase_events")
        messages = await self._count("count_noted_messages")
        await self._define("erase_messages")
        events = await self._erase_reported()
        is_gone = await self._gone_from_disk()
        for hour in hours:
            await make_anew(self._events, hour)
        await self._define("forget_noted_messages")
        await self._define("forget_noted_calls")
        return ErasedCalls(calls, messages, bodies, events, is_gone)

    async def _erase_reported(self) -> int:
        """Last of all: who does it again after a crash finds by them what else there is to erase."""
        events = 0
        run_ids, before_us = sorted(self._run_ids), self._before_us
        for start in range(0, max(len(run_ids), 1), _RUNS_AT_ONCE):
            meant: Params = {
                "run_ids": run_ids[start : start + _RUNS_AT_ONCE],
                "user_ids": sorted(self._user_ids),
                "before_us": before_us,
            }
            found = await self._count("count_reported_events", meant)
            if found:
                await self._define("erase_reported_events", more=meant)
            events += found
        return events

    async def erase_project(self) -> ErasedCalls:
        """Delete everything of the project, figures too."""
        calls = await self._count("count_calls_of_project")
        messages = await self._count("count_messages_of_project")
        bodies = await self._count("count_bodies_of_project")
        events = await self._count("count_events_of_project")
        for table in (*TABLES, "hourly_figures", "changed_hours"):
            await self._define("erase_project", table)
        return ErasedCalls(calls, messages, bodies, events, await self._gone_from_disk())

    async def _gone_from_disk(self) -> bool:
        """Wait until the parts of before are no files any more. A server keeps them for 8 minutes, unless told."""
        for table in TABLES:
            await self._events.define(f"ALTER TABLE {table} MODIFY SETTING old_parts_lifetime = 1")
        try:
            deadline_s = time.monotonic() + _GONE_WITHIN_S
            ((row),) = await self._events.query("SELECT toUnixTimestamp(now()) AS now_s")
            while await self._count("old_parts", {"now_s": int(str(row["now_s"]))}):
                if time.monotonic() > deadline_s:
                    return False
                await asyncio.sleep(_POLL_S)
            return True
        finally:
            for table in TABLES:
                await self._events.define(f"ALTER TABLE {table} RESET SETTING old_parts_lifetime")

    # ---

    async def _query(self, name: str, more: Params | None = None) -> list[dict[str, object]]:
        return await self._events.query(queries("clickhouse")[name], {**self._params, **(more or {})})

    async def _execute(self, name: str, more: Params | None = None) -> None:
        await self._events.execute(queries("clickhouse")[name], {**self._params, **(more or {})})

    async def _define(self, name: str, table: str = "", more: Params | None = None) -> None:
        sql = queries("clickhouse")[name].replace("/*table*/", table)
        await self._events.define(sql, {**self._params, **(more or {})})

    async def _count(self, name: str, more: Params | None = None) -> int:
        ((row),) = await self._query(name, more)
        return int(str(row["rows"]))
