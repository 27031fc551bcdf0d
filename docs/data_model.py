"""Writes the tables of docs/data-model.md out of the comments in sql/*/schema.sql: `make docs`.

The schema is where a column is explained; this page only gathers it. A test fails when the page is behind,
and when a column is explained nowhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
PAGE = PROJECT / "docs" / "data-model.md"

SAID_ONCE = {
    "project_id": "the tenant",
    "run_id": "the run",
    "call_id": "the call",
    "key_id": "the key",
    "record_id": "the record of the capture log, which is its exchange and its call",
    "step_index": "the step's place in its run, from 0",
    "log_name": "the capture log's directory: w0, w1, …",
    "created_at": "set by Python",
    "started_at": "when it began",
    "at": "when it was set aside",
    "summary": "one line for people",
    "explanation": "a sentence for people",
    "recorder": "which recorder; one today",
    "segment": "number of the segment file",
    "total_steps": "how many steps",
    "total_calls": "how many calls",
    "error_count": "how many calls and tools failed",
}
"""What the name says wherever the schema leaves it at that."""

_TABLE = re.compile(r"^((?:--[^\n]*\n)*)CREATE TABLE (\w+) ?\n?\(\n(.*?)^\)", re.MULTILINE | re.DOTALL)
_POSTGRES_COLUMN = re.compile(
    r"    (?!PRIMARY|UNIQUE|FOREIGN|CHECK|CONSTRAINT)(\w+) ([a-z][a-z ]*(?:\[\])?)[^-]*?(?:-- (.*))?$"
)
_CLICKHOUSE_COLUMN = re.compile(r"    `?(\w+)`? (.+?)(?: CODEC\(.*\))? COMMENT '((?:[^']|'')*)'")


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Table:
    name: str
    about: str
    columns: tuple[Column, ...]


def tables(engine: str) -> list[Table]:
    """The tables of `sql/<engine>/schema.sql`, in its order."""
    schema = (PROJECT / "sql" / engine / "schema.sql").read_text(encoding="utf-8")
    pattern = _CLICKHOUSE_COLUMN if engine == "clickhouse" else _POSTGRES_COLUMN
    return [
        Table(name, " ".join(line[2:].strip() for line in about.splitlines()), _columns(body, pattern))
        for about, name, body in _TABLE.findall(schema)
    ]


def _columns(body: str, pattern: re.Pattern[str]) -> tuple[Column, ...]:
    found = [match for line in body.splitlines() if (match := pattern.match(line))]
    return tuple(
        Column(match[1], match[2].strip(), (match[3] or "").replace("''", "'") or SAID_ONCE.get(match[1], ""))
        for match in found
    )


def section(engine: str) -> str:
    return "\n\n".join(_markdown(table) for table in tables(engine))


def _markdown(table: Table) -> str:
    rows = [f"| `{column.name}` | {column.type} | {column.meaning} |" for column in table.columns]
    return "\n".join(
        [f"### `{table.name}`", "", table.about, "", "| column | type | meaning |", "|---|---|---|", *rows]
    )


def updated(page: str) -> str:
    """`page` with what stands between its markers made anew."""
    for engine in ("clickhouse", "postgres"):
        begin, end = f"<!-- {engine}: made by `make docs` -->", f"<!-- end of {engine} -->"
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        page = f"{before}{begin}\n\n{section(engine)}\n\n{end}{after}"
    return page


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
