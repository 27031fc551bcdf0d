"""Imports without what they bring along and nobody here uses: what was killed is back sooner, and smaller."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import ModuleType


class _Anything(ModuleType):
    """Whatever is asked of it is there: `object`."""

    def __getattr__(self, name: str) -> type[object]:
        if name.startswith("__"):
            raise AttributeError(name)
        return object


@contextlib.contextmanager
def missing(name: str) -> Iterator[None]:
    """What is imported meanwhile finds this module not installed. Where it is imported already, it stays."""
    with _replaced(name, None):
        yield


@contextlib.contextmanager
def hollow(name: str) -> Iterator[None]:
    """The same for those that insist on having it, and use its names as types of things that nobody makes."""
    with _replaced(name, _Anything(name)):
        yield


@contextlib.contextmanager
def _replaced(name: str, stand_in: ModuleType | None) -> Iterator[None]:
    if name in sys.modules:
        yield
        return
    sys.modules[name] = stand_in  # type: ignore[assignment]  # None: it cannot be found
    try:
        yield
    finally:
        del sys.modules[name]
