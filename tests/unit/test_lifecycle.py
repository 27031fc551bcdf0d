"""What every process does alike: stop on a signal, hold a lock, wait for a store, own its directories."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from watchllm_proxy import lifecycle
from watchllm_proxy.errors import AlreadyRunning, SettingsError, StoreError, StoreRejected, StoreUnavailable
from watchllm_proxy.lifecycle import Stopped, held, make_data_dir, on_signals, patiently


async def test_the_first_signal_stops_and_the_second_cuts() -> None:
    stop, cut = asyncio.Event(), asyncio.Event()
    on_signals(stop, cut)
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(stop.wait(), 5)
        assert not cut.is_set()
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.wait_for(cut.wait(), 5)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            asyncio.get_running_loop().remove_signal_handler(number)


@pytest.fixture
async def hangups() -> AsyncIterator[None]:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup these tests are started with it ignored
    yield
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().remove_signal_handler(number)
    signal.signal(signal.SIGHUP, before)


class Told(asyncio.Event):
    """One that tells each time that it is set."""

    def __init__(self) -> None:
        super().__init__()
        self.times: asyncio.Queue[None] = asyncio.Queue()

    def set(self) -> None:
        super().set()
        self.times.put_nowait(None)


async def test_a_closed_terminal_stops_and_cuts_nothing_however_often_it_says_so(hangups: None) -> None:
    stop, cut = Told(), asyncio.Event()
    on_signals(stop, cut)
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.wait_for(stop.times.get(), 5)
    assert stop.is_set()
    assert not cut.is_set()


async def test_under_nohup_a_closed_terminal_is_none_of_our_business(hangups: None) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop = asyncio.Event()
    on_signals(stop)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_a_lock_is_held_by_one_who_is_named_to_the_second(tmp_path: Path) -> None:
    path = tmp_path / "some.lock"
    with held(path, "the thing", "Try another.") as note:
        note("the first (pid 7)")
        with (
            pytest.raises(AlreadyRunning, match=r"the thing is in use by the first \(pid 7\)\. Try another\."),
            held(path, "the thing", "Try another."),
        ):
            pass
    with held(path, "the thing"):
        pass
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_lock_names_its_process_by_itself(tmp_path: Path) -> None:
    with (
        held(tmp_path / "some.lock", "the thing"),
        pytest.raises(AlreadyRunning, match=f"pid {os.getpid()}"),
        held(tmp_path / "some.lock", "the thing"),
    ):
        pass


async def test_a_store_is_waited_for_and_each_problem_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "STORE_RETRY_S", 0.001)
    problems = [StoreUnavailable("down"), StoreRejected("a schema of tomorrow")]
    told: list[StoreError] = []

    async def operation() -> str:
        if len(told) < len(problems):
            raise problems[len(told)]
        return "done"

    assert await patiently(operation, asyncio.Event(), waiting=told.append) == "done"
    assert told == problems


async def test_waiting_for_a_store_ends_when_told_to_stop() -> None:
    stop = asyncio.Event()

    async def operation() -> None:
        stop.set()
        raise StoreUnavailable("down")

    with pytest.raises(Stopped):
        await patiently(operation, stop, waiting=lambda problem: None)


def test_a_data_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    make_data_dir(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_a_data_directory_that_cannot_be_made_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="WATCHLLM_DATA_DIR"):
        make_data_dir(tmp_path / "file" / "data")
