"""Which rows of an insert a table has, by their keys: that it knows its token does not say so (decision 0258)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from watchllm_proxy.store import reported_rows
from watchllm_proxy.store.event_rows import EVENT_COLUMNS, MESSAGE_COLUMNS, RAW_COLUMNS, Insert
from watchllm_proxy.store.sql import queries

Row = tuple[object, ...]

ASKED_AT_ONCE = 1000
"""Rows in one question: its parameters are a quarter of a megabyte at most, but for the longest of ids."""


@dataclass(frozen=True, slots=True)
class _Table:
    """Its question takes a project and `keys`, and answers with `key` of each row that it finds."""

    question: str
    asked: Callable[[Row], str]
    key: Callable[[Row], str]


def _call_id(columns: Sequence[str]) -> Callable[[Row], str]:
    place = columns.index("call_id")
    return lambda row: str(row[place])


def _hex(columns: Sequence[str], name: str) -> Callable[[Row], str]:
    place = columns.index(name)
    return lambda row: cast(bytes, row[place]).hex()


def _behind(columns: Sequence[str], name: str, key: Callable[[Row], str]) -> Callable[[Row], str]:
    place = columns.index(name)
    return lambda row: f"{row[place]} {key(row)}"


_content_hash = _hex(MESSAGE_COLUMNS, "content_hash")
_event_id = _hex(reported_rows.COLUMNS, "event_id")


_TABLES = {
    "events": _Table("calls_here", _call_id(EVENT_COLUMNS), _call_id(EVENT_COLUMNS)),
    "raw_exchanges": _Table("bodies_here", _call_id(RAW_COLUMNS), _call_id(RAW_COLUMNS)),
    "messages": _Table("messages_here", _content_hash, _behind(MESSAGE_COLUMNS, "expires_on", _content_hash)),
    # Told again under the same id it is another row, and the later one counts.
    "reported_events": _Table("reported_here", _event_id, _behind(reported_rows.COLUMNS, "stored_at", _event_id)),
}


def questions(insert: Insert) -> Iterator[tuple[str, dict[str, str | list[str]]]]:
    """(statement, parameters): what to ask for `absent`."""
    table = _TABLES[insert.table]
    statement = queries("clickhouse")[table.question]
    by_project: dict[str, dict[str, None]] = {}
    for row in insert.rows:
        by_project.setdefault(str(row[0]), {})[table.asked(row)] = None
    for project_id, keys in by_project.items():
        asked = list(keys)
        for start in range(0, len(asked), ASKED_AT_ONCE):
            yield statement, {"project_id": project_id, "keys": asked[start : start + ASKED_AT_ONCE]}


def absent(insert: Insert, found: set[str]) -> Insert:
    """Those of its rows that are not `found`."""
    table = _TABLES[insert.table]
    return insert._replace(rows=[row for row in insert.rows if table.key(row) not in found])
