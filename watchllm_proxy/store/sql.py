"""SQL is code: where the .sql files are, and how one statement of them is found by name."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def directory() -> Path:
    """`sql/` of the checkout, or its copy inside the installed package."""
    installed = _PACKAGE / "_sql"
    return installed if installed.is_dir() else _PACKAGE.parent / "sql"


@cache
def queries(engine: str) -> dict[str, str]:
    """The statements of `sql/<engine>/queries.sql` by name, without their comments.

    A statement begins at `-- name: list_runs`; the comment lines that follow describe it.
    """
    text = (directory() / engine / "queries.sql").read_text(encoding="utf-8")
    parts = _NAME.split(text)[1:]
    names, bodies = parts[::2], parts[1::2]
    if len(set(names)) != len(names):
        raise ValueError(f"sql/{engine}/queries.sql names a query twice")
    return {name: _without_comments(body) for name, body in zip(names, bodies, strict=True)}


def statements(text: str) -> list[str]:
    """The statements of a migration, in order. Each ends with a semicolon at the end of a line."""
    return [part for part in re.split(r";[ \t]*$", _without_comments(text), flags=re.MULTILINE) if part.strip()]


def _without_comments(text: str) -> str:
    """Comments may hold semicolons; a line's own `-- …` goes with them. No literal of ours holds `--`."""
    return "\n".join(re.sub(r"--.*$", "", line).rstrip() for line in text.splitlines()).strip().removesuffix(";")
