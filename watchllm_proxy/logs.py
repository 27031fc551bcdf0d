"""Structured logs: JSON lines with ids and sizes, never bodies, keys or a driver's parameters."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import sys
import traceback
from collections.abc import MutableMapping
from pathlib import Path
from types import TracebackType
from typing import Any

from watchllm_proxy import lean

with lean.missing("rich"):  # for coloured tracebacks, which no log of ours holds
    import structlog

MAX_LOG_FILE_BYTES = 10 * 1024 * 1024
KEPT_LOG_FILES = 3


def configure(level: str, process: str, file: Path | None = None) -> None:
    """Send this process's logs to `file` (rotated at 10 MiB, three kept), else to standard error."""
    handler: logging.Handler
    if file is None:
        handler = logging.StreamHandler(sys.stderr)
    else:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handler = _LogFile(file, maxBytes=MAX_LOG_FILE_BYTES, backupCount=KEPT_LOG_FILES, encoding="utf-8")
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _where_it_broke,
            structlog.processors.JSONRenderer(),
        ],
    )
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)


class _LogFile(logging.handlers.RotatingFileHandler):
    """On a full disk lines are lost. That is said once, and not by a traceback on the terminal for each."""

    _is_told = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's
        if self._is_told:
            return
        self._is_told = True
        exc = sys.exc_info()[1]
        reason = exc.strerror if isinstance(exc, OSError) else type(exc).__name__
        with contextlib.suppress(OSError):  # of `up -d` it goes to the same disk
            sys.stderr.write(f"{self.baseFilename} cannot be written ({reason}): log lines are lost\n")


def _where_it_broke(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """An exception as its type and the lines it passed: its words and variables may hold a body."""
    found = event.pop("exc_info", None)
    exc = sys.exc_info()[1] if found is True else found[1] if isinstance(found, tuple) else found
    if isinstance(exc, BaseException):
        event["exception"] = type(exc).__name__
        event["traceback"] = _lines(exc.__traceback__)
    return event


def _lines(tb: TracebackType | None) -> list[str]:
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(tb)]
