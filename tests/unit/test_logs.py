"""Logs tell where something broke, and never what it broke on."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from watchllm_proxy import logs

SECRET = "sk-or-canary-in-a-body"


@pytest.fixture
def log_file(tmp_path: Path) -> Iterator[Path]:
    root = logging.getLogger()
    before = root.handlers, root.level
    file = tmp_path / "logs" / "w0.log"
    logs.configure("info", "w0", file)
    yield file
    for handler in root.handlers:
        handler.close()
    root.handlers, root.level = before
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def _break(body: str) -> None:
    raise ValueError(f"cannot parse {body}")


def test_an_exception_is_told_by_type_and_lines_without_words_or_variables(log_file: Path) -> None:
    try:
        _break(SECRET)
    except ValueError:
        structlog.get_logger("a").exception("recorder.record_crashed", record_id="r1")
        logging.getLogger("asyncio").exception("Task failed")
    ours, foreign = (json.loads(line) for line in log_file.read_text().splitlines())
    assert ours["event"] == "recorder.record_crashed"
    assert (ours["process"], ours["exception"], ours["record_id"]) == ("w0", "ValueError", "r1")
    assert ours["traceback"][-1].endswith("_break")
    assert foreign["exception"] == "ValueError"
    assert SECRET not in log_file.read_text()


def test_log_files_are_for_our_user_alone(log_file: Path) -> None:
    structlog.get_logger("a").info("ready")
    assert log_file.parent.stat().st_mode & 0o077 == 0


class FullDisk(io.StringIO):
    def write(self, _: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_loses_lines_and_is_told_once(log_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    handler = logging.getLogger().handlers[0]
    assert isinstance(handler, logging.FileHandler)
    handler.setStream(FullDisk()).close()
    for _ in range(3):
        structlog.get_logger("a").warning("proxy.upstream_failed")
    assert (
        capsys.readouterr().err == f"{log_file} cannot be written (No space left on device): log lines are lost\n"
    )
