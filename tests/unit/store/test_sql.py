"""The .sql files: found, named once, split where statements end."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from watchllm_proxy.store import sql

PROJECT = Path(__file__).resolve().parents[3]
SOURCES = "\n".join(path.read_text() for path in (PROJECT / "watchllm_proxy").rglob("*.py"))


@pytest.mark.parametrize("engine", ["clickhouse", "postgres"])
def test_every_named_query_is_used_and_described(engine: str) -> None:
    text = (sql.directory() / engine / "queries.sql").read_text()
    for name, statement in sql.queries(engine).items():
        assert f'"{name}"' in SOURCES or f"/*{name}*/" in SOURCES, f"{name} is not used"
        assert re.search(rf"^-- name: {name}\n-- \S", text, re.MULTILINE), f"{name} is not described"
        assert "--" not in statement
        assert not statement.endswith(";")


def test_a_name_given_twice_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "twice").mkdir()
    (tmp_path / "twice" / "queries.sql").write_text("-- name: a\nSELECT 1;\n-- name: a\nSELECT 2;\n")
    monkeypatch.setattr(sql, "directory", lambda: tmp_path)
    with pytest.raises(ValueError, match="twice"):
        sql.queries("twice")


def test_statements_end_at_a_semicolon_that_ends_its_line() -> None:
    text = "-- a; comment;\nCREATE TABLE t (a String COMMENT 'x; y'); -- after\n\nSELECT ';'\nFROM t;\n-- end\n"
    assert [each.strip() for each in sql.statements(text)] == [
        "CREATE TABLE t (a String COMMENT 'x; y')",
        "SELECT ';'\nFROM t",
    ]
