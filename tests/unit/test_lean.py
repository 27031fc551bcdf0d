"""Imports that leave out what they bring along."""

from __future__ import annotations

import subprocess
import sys

import pytest

from watchllm_proxy import lean

ABSENT = "watchllm_no_such_module"


def test_a_module_is_missing_or_hollow_while_something_is_imported_and_no_longer() -> None:
    with lean.missing(ABSENT), pytest.raises(ModuleNotFoundError):
        __import__(ABSENT)
    with lean.hollow(ABSENT):
        assert __import__(ABSENT).AnyName is object
    assert ABSENT not in sys.modules


def test_what_is_imported_already_stays() -> None:
    with lean.missing("json"), lean.hollow("json"):
        assert __import__("json").loads("1") == 1


@pytest.mark.parametrize(
    ("imported", "left_out"),
    [
        ("watchllm_proxy.child, watchllm_proxy.core", ["rich", "typer", "chdb", "numpy", "pyarrow", "tiktoken"]),
        ("watchllm_proxy.child, watchllm_proxy.worker", ["rich", "asyncpg", "chdb", "jinja2", "phonenumbers"]),
    ],
)
def test_a_child_that_starts_imports_none_of_what_it_may_never_use(imported: str, left_out: list[str]) -> None:
    program = f"import sys, {imported}; print([name for name in {left_out} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "[]"
