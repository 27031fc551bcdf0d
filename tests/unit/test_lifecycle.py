"""Directories of our own are ours alone; waits end when the process is to stop."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from watchllm_proxy import lifecycle
from watchllm_proxy.errors import SettingsError, StoreError, StoreUnavailable


def test_the_run_directory_is_made_for_our_user_alone_and_taken_up_again(tmp_path: Path) -> None:
    path = tmp_path / "data" / "run"
    lifecycle.make_run_dir(path)
    lifecycle.make_run_dir(path)
    assert path.stat().st_mode & 0o777 == 0o700


def test_a_run_directory_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.mkdir()
    path.chmod(0o755)
    with pytest.raises(SettingsError, match="remove it"):
        lifecycle.make_run_dir(path)


def test_a_run_directory_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SettingsError):
        lifecycle.make_run_dir(tmp_path / "run")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_run_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.mkdir(mode=0o700)
    os.chown(path, 12345, 12345)
    with pytest.raises(SettingsError):
        lifecycle.make_run_dir(path)


def test_a_data_directory_in_a_file_is_a_settings_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="WATCHLLM_DATA_DIR"):
        lifecycle.make_data_dir(tmp_path / "file" / "data")


async def test_a_store_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "STORE_RETRY_S", 0.001)
    answers = iter([StoreUnavailable("away"), StoreUnavailable("away"), None])

    async def operation() -> str:
        if (answer := next(answers)) is not None:
            raise answer
        return "done"

    told: list[StoreError] = []
    assert await lifecycle.patiently(operation, asyncio.Event(), waiting=told.append) == "done"
    assert [str(error) for error in told] == ["away", "away"]


async def test_waiting_for_a_store_ends_when_the_process_is_to_stop() -> None:
    stop = asyncio.Event()

    async def operation() -> None:
        stop.set()
        raise StoreUnavailable("away")

    with pytest.raises(lifecycle.Stopped):
        await lifecycle.patiently(operation, stop, waiting=lambda error: None)


async def test_a_process_that_is_stopped_while_it_starts_still_tries_once() -> None:
    stop = asyncio.Event()
    stop.set()

    async def operation() -> str:
        return "done"

    assert await lifecycle.patiently(operation, stop, waiting=lambda error: None) == "done"
