"""Imports that leave out what they bring along."""

from __future__ import annotations

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
