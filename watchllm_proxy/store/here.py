"""Which rows of an insert a table has, by their keys: that it knows its token does not say so (decision 0258)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

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


def _content_hash(row: Row) -> str:
    digest = row[MESSAGE_COLUMNS.index("content_hash")]
    assert isinstance(digest, bytes)  # noqa: S101 - the column's type
    return digest.hex()


def _message(row: Row) -> str:
    return f"{row[MESSAGE_COLUMNS.index('expires_on')]} {_content_hash(row)}"


_TABLES = {
    "events": _Table("calls_here", _call_id(EVENT_COLUMNS), _call_id(EVENT_COLUMNS)),
    "raw_exchanges": _Table("bodies_here", _call_id(RAW_COLUMNS), _call_id(RAW_COLUMNS)),
    "messages": _Table("messages_here", _content_hash, _message),
}
"""Not `reported_events`: what is told again under the same id is another row, and the later one counts."""


def questions(insert: Insert) -> Iterator[tuple[str, dict[str, str | list[str]]]]:
    """(statement, parameters): what to ask for `absent`."""
    table = _TABLES.get(insert.table)
    if table is None:
        return
    statement = queries("clickhouse")[table.question]
    by_project: dict[str, dict[str, None]] = {}
    for row in insert.rows:
        by_project.setdefault(str(row[0]), {})[table.asked(row)] = None
    for project_id, keys in by_project.items():
        asked = list(keys)
        for start in range(0, len(asked), ASKED_AT_ONCE):
            yield statement, {"project_id": project_id, "keys": asked[start : start + ASKED_AT_ONCE]}


def absent(insert: Insert, found: set[str]) -> Insert:
    """Those of its rows that are not `found`; of a table that was not asked all."""
    table = _TABLES.get(insert.table)
    if table is None:
        return insert
    return insert._replace(rows=[row for row in insert.rows if table.key(row) not in found])
