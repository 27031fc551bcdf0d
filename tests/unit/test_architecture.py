"""Rules of docs/architecture.md that import contracts cannot express, checked on the syntax trees."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PACKAGE = PROJECT / "watchllm_proxy"
UNIT_TESTS = PROJECT / "tests" / "unit"

MODULES = sorted(PACKAGE.rglob("*.py"))
CORE = [
    path
    for path in MODULES
    if path.relative_to(PACKAGE).parts[0] in {"decode", "sessionize", "enrich", "insights"}
]

CLOCKS_AND_CHANCE = {"now", "utcnow", "today", "uuid1", "uuid4", "urandom", "getrandom"}


def _name(path: Path) -> str:
    return str(path.relative_to(PROJECT))


def _dotted(node: ast.AST) -> str:
    """`a.b.c` of an attribute chain, "" of anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        owner = _dotted(node.value)
        return f"{owner}.{node.attr}" if owner else ""
    return ""


def _names_used(path: Path) -> Iterator[tuple[str, int]]:
    """Every dotted name a module mentions or imports, with its line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute | ast.Name):
            yield _dotted(node), node.lineno
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.lineno


def _lines_using(path: Path, forbidden: set[str]) -> list[str]:
    return [f"{_name(path)}:{line} {name}" for name, line in _names_used(path) if name in forbidden]


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_postgres_is_asked_in_transactions_that_say_as_whom(path: Path) -> None:
    """store/transactions.py opens them. `pool.execute` of a constant is one message, and may stand alone."""
    if path == PACKAGE / "store" / "transactions.py":
        return
    asked = re.findall(r"pool\.(?:fetch\w*|acquire|copy_\w+|executemany)\(.*", path.read_text(encoding="utf-8"))
    assert [call for call in asked if path.parent.name == "store"] == [], _name(path)


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_only_settings_reads_the_environment(path: Path) -> None:
    if path == PACKAGE / "settings.py":
        return
    assert _lines_using(path, {"os.environ", "os.getenv", "os.environb", "os.getenvb"}) == []


@pytest.mark.parametrize("path", CORE, ids=_name)
def test_the_core_asks_no_clock_and_rolls_no_dice(path: Path) -> None:
    used = [f"{_name(path)}:{line} {name}" for name, line in _names_used(path)
            if name.rpartition(".")[2] in CLOCKS_AND_CHANCE and "." in name]  # fmt: skip
    assert used == [], "time and ids come in as values, so that a replay is exact"


@pytest.mark.parametrize("path", CORE, ids=_name)
def test_the_core_opens_no_files_and_prints_nothing(path: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    assert [call.lineno for call in calls if _dotted(call.func) in {"open", "print", "input"}] == []


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_no_task_is_left_to_the_garbage_collector(path: Path) -> None:
    """The loop holds tasks weakly: one that nobody keeps can vanish mid-way, and with it its exception."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    dropped = [
        f"{_name(path)}:{node.lineno}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and _dotted(node.value.func).rpartition(".")[2] in {"create_task", "ensure_future"}
        and "group" not in _dotted(node.value.func).lower()
        and not _dotted(node.value.func).startswith("tg.")
    ]
    assert dropped == []


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_a_module_says_its_job_and_leaves_nothing_for_later(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not text or ast.get_docstring(ast.parse(text)), "a module opens with one line on its job"
    assert re.findall(r"\b(?:TODO|FIXME|XXX|HACK)\b", text) == []
    assert path.stem not in {"utils", "util", "helpers", "misc", "common"}, "a helper earns a name"


def _mirrored(test: Path) -> bool:
    """`tests/unit/decode/test_sse_cuts.py` stands for `decode/sse.py`, and its other words tell what of it."""
    folder = PACKAGE / test.parent.relative_to(UNIT_TESTS)
    words = test.stem.removeprefix("test_").split("_")
    spans = itertools.combinations(range(len(words) + 1), 2)
    names = ["_".join(words[start:end]) for start, end in spans]
    return any((folder / f"{name}.py").is_file() or (folder / name).is_dir() for name in names)


HOUSE = {"test_architecture.py", "test_docs.py", "test_deployment.py"}
"""Tests of the house around the code, which mirror no module."""


def test_unit_tests_mirror_the_package() -> None:
    tests = [path for path in UNIT_TESTS.rglob("test_*.py") if path.name not in HOUSE]
    assert [_name(path) for path in tests if not _mirrored(path)] == []
