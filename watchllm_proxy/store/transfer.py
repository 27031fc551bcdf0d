"""Rows of runs on their way out of both stores and into others, some at a time."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime

import asyncpg
import orjson

from watchllm_proxy.records import TOLD_BESIDE
from watchllm_proxy.store import views
from watchllm_proxy.store.clickhouse import AsyncEventStore
from watchllm_proxy.store.event_codec import from_json, selected, to_json
from watchllm_proxy.store.retention import Retention
from watchllm_proxy.store.sql import queries
from watchllm_proxy.store.transactions import UPKEEP, transaction

RUN_TABLE = "agent_debug_logs"
PARTS = {
    "agent_debug_steps": "step_index",
    "agent_debug_explanations": "step_index, ordinal",
    "run_links": "call_id, ordinal",
}
"""Tables of Postgres with rows of a run, and their order."""

EVENT_TABLES = ("messages", "raw_exchanges", "events", "reported_events")
_RUNS_A_PAGE = 100
_CALLS_A_PAGE = 200
_LEFT_OUT = frozenset({"expires_on"})  # retention is a matter of the store that a row is in

Document = dict[str, object]


class RunRows:
    """Postgres' side, of one project."""

    def __init__(self, pool: asyncpg.Pool, project_id: str) -> None:
        self._pool = pool
        self._project_id = views.key(project_id)

    @property
    def project_id(self) -> str:
        return self._project_id

    async def count(self, run_ids: Sequence[str] | None) -> int:
        ((found,),) = await self._fetch("count_exported_runs", _keys(run_ids))
        return int(found)

    async def run_ids(self, run_ids: Sequence[str] | None) -> AsyncIterator[str]:
        """Oldest first. None: all of them."""
        after: tuple[datetime, str] = (views.instant(0), "")
        while True:
            page = await self._fetch("export_runs", *after, _keys(run_ids), _RUNS_A_PAGE)
            for row in page:
                yield row["run_id"]
            if len(page) < _RUNS_A_PAGE:
                return
            after = (page[-1]["started_at"], page[-1]["run_id"])

    async def parts(self, run_id: str) -> list[tuple[str, str]]:
        """(table, row) of all that belongs to a run."""
        found = []
        async with transaction(self._pool, UPKEEP) as connection:
            for table, order in PARTS.items():
                sql = queries("postgres")["export_parts"].replace("/*table*/", table).replace("/*order*/", order)
                rows = await connection.fetch(sql, self._project_id, run_id)
                found += [(table, row["row"]) for row in rows]
        return found

    async def known(self, run_id: str) -> str | None:
        """The row of a run that is there, as JSON text of Postgres: its numbers are exact, hand it on as is."""
        found = await self._fetch("export_run", run_id)
        return found[0]["row"] if found else None

    async def is_there(self) -> bool:
        return bool(await self._fetch("project_exists"))

    async def keep(self, rows: Sequence[tuple[str, str]]) -> None:
        """(table, row) of one run, in one transaction. Of rows that are there those stay."""
        async with transaction(self._pool, UPKEEP) as connection:
            for table in (RUN_TABLE, *PARTS):
                of_table = [row for name, row in rows if name == table]
                if of_table:
                    columns = await connection.fetchval(queries("postgres")["columns_to_import"], table)
                    sql = queries("postgres")["import_rows"].replace("/*table*/", table)
                    await connection.execute(sql.replace("/*columns*/", columns), of_table, self._project_id)

    async def _fetch(self, name: str, *arguments: object) -> Sequence[asyncpg.Record]:
        async with transaction(self._pool, UPKEEP) as connection:
            found: Sequence[asyncpg.Record] = await connection.fetch(
                queries("postgres")[name], self._project_id, *arguments
            )
        return found


class EventRows:
    """ClickHouse's side, of one project."""

    def __init__(self, events: AsyncEventStore, project_id: str, retention: Retention) -> None:
        self._events = events
        self._project_id = project_id
        self._retention = retention
        self._columns: dict[str, dict[str, str]] = {}

    async def calls(self, run_id: str) -> AsyncIterator[list[tuple[str, Document]]]:
        """Pages of (table, row): calls in order of time, before them what they hold that no page had."""
        columns, seen = await self._columns_of("events"), set[str]()
        after: Mapping[str, str | int] = {"after_us": -1, "after_id": "00000000-0000-0000-0000-000000000000"}
        while True:
            sql = queries("clickhouse")["export_calls"].replace("/*columns*/", selected(columns))
            found = await self._events.query(sql, {**self._named(run_id), **after, "limit": _CALLS_A_PAGE})
            if found:
                calls = [to_json(columns, row) for row in found]
                yield [*await self._held(calls, found, seen), *(("events", call) for call in calls)]
            if len(found) < _CALLS_A_PAGE:
                return
            after = {"after_us": int(str(found[-1]["started_at_"])), "after_id": str(found[-1]["call_id_"])}

    async def told(self, run_id: str) -> AsyncIterator[list[tuple[str, Document]]]:
        """Pages of (table, row): events that clients reported of this run, in order of time."""
        columns = await self._columns_of("reported_events")
        named = self._named(run_id.removesuffix(TOLD_BESIDE))
        after: Mapping[str, str | int] = {"after_us": -1, "after_id": ""}
        while True:
            sql = queries("clickhouse")["export_reported_events"].replace("/*columns*/", selected(columns))
            found = await self._events.query(sql, {**named, **after, "limit": _CALLS_A_PAGE})
            if found:
                yield [("reported_events", to_json(columns, row)) for row in found]
            if len(found) < _CALLS_A_PAGE:
                return
            last = bytes.fromhex(str(found[-1]["event_id_"])).decode("utf-8", "replace")
            after = {"after_us": int(str(found[-1]["at_"])), "after_id": last}

    async def _held(
        self, calls: Sequence[Document], found: Sequence[Mapping[str, object]], seen: set[str]
    ) -> list[tuple[str, Document]]:
        """Messages and bodies of these calls."""
        held: list[tuple[str, Document]] = []
        by_day: dict[str, set[str]] = {}
        for call, row in zip(calls, found, strict=True):
            hashes = [
                *_texts(call["message_hashes"]),
                *([str(call["answer_hash"])] if call["answer_hash"] else []),
            ]
            by_day.setdefault(str(row["day"]), set()).update(hashes)
        for day, hashes_of_day in sorted(by_day.items()):
            new = sorted(hashes_of_day - seen)
            params: dict[str, str | list[str]] = {
                "project_id": self._project_id,
                "expires_on": day,
                "hashes": new,
            }
            held += [("messages", each) for each in await self._rows("messages", "export_messages", params)]
            seen.update(new)
        ids: dict[str, str | list[str]] = {
            "project_id": self._project_id,
            "call_ids": [str(call["call_id"]) for call in calls],
        }
        held += [("raw_exchanges", each) for each in await self._rows("raw_exchanges", "export_bodies", ids)]
        return held

    async def _rows(self, table: str, name: str, params: Mapping[str, str | list[str]]) -> list[Document]:
        columns = await self._columns_of(table)
        sql = queries("clickhouse")[name].replace("/*columns*/", selected(columns))
        return [to_json(columns, row) for row in await self._events.query(sql, params)]

    async def keep(self, rows: Sequence[tuple[str, Document]]) -> None:
        """Insert; again is once. A message is stored in the partition of each call of these that holds it.

        Calls that are there are looked for, all else is merged by its table: the token of an import that was
        broken off may stand for rows that are nowhere (decision 0258).

        Raises ValueError, KeyError or TypeError for rows that are none.
        """
        days: dict[str, set[object]] = {}
        expiry: dict[str, object] = {}
        for table, row in rows:
            if table == "events":
                at_us = int(str(row["started_at"]))
                expiry[str(row["call_id"])] = day = self._retention.expires_on(self._project_id, at_us)
                for digest in [*_texts(row["message_hashes"]), str(row["answer_hash"] or "")]:
                    days.setdefault(digest, set()).add(day)
        here = await self._here(list(expiry))
        for table in EVENT_TABLES:
            columns = await self._columns_of(table)
            made: list[tuple[object, ...]] = []
            for row in (each for name, each in rows if name == table):
                if table == "events" and str(row["call_id"]) in here:
                    continue
                if table == "messages":
                    places = sorted(days.get(str(row["content_hash"]), ()), key=str)
                elif table == "reported_events":
                    places = [self._retention.expires_on(self._project_id, int(str(row["at"])))]
                else:
                    places = [expiry[str(row["call_id"])]]
                values = from_json(columns, {**row, "project_id": self._project_id})
                made += [(*values, day) for day in places]
            await self._events.insert(table, (*columns, "expires_on"), made, f"import-{uuid.uuid4()}")

    async def _here(self, call_ids: list[str]) -> set[str]:
        if not call_ids:
            return set()
        params = {"project_id": self._project_id, "keys": call_ids}
        found = await self._events.query(queries("clickhouse")["calls_here"], params)
        return {str(row["key"]) for row in found}

    async def _columns_of(self, table: str) -> dict[str, str]:
        if table not in self._columns:
            described = await self._events.query(f"DESCRIBE TABLE {table}")
            self._columns[table] = {
                str(row["name"]): str(row["type"]) for row in described if row["name"] not in _LEFT_OUT
            }
        return self._columns[table]

    def _named(self, run_id: str) -> dict[str, str]:
        return {"project_id": self._project_id, "run_id": run_id}


def _texts(value: object) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else []


def _keys(run_ids: Sequence[str] | None) -> list[str] | None:
    return None if run_ids is None else [views.key(each) for each in run_ids]


def row_of(text: str) -> Document:
    """For looking into; numbers in it are not exact."""
    found = orjson.loads(text)
    if not isinstance(found, dict):
        raise TypeError("no row")
    return found
