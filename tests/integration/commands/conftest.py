"""Commands that do their work in this process set its logging up. The tests after them find it as it was."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers, root.level
    yield
    root.handlers, root.level = before
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    for name, module in list(sys.modules.items()):
        if name.startswith("watchllm_proxy"):
            _as_if_never_used(getattr(module, "log", None))


def _as_if_never_used(logger: object) -> None:
    """A lazy logger keeps the first logger it was made into, beside itself."""
    if isinstance(logger, type(structlog.get_logger())):
        vars(logger).pop("bind", None)
