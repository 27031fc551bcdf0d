"""The one port: held before anything starts; a taken one is told with its holder."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import psutil
import pytest

from watchllm_proxy import ports
from watchllm_proxy.errors import AlreadyRunning, SettingsError


def test_port_zero_is_given_a_free_port_that_workers_can_share() -> None:
    with ports.reserve("127.0.0.1", 0) as held:
        port = held.getsockname()[1]
        with socket.socket() as worker:
            worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            worker.bind(("127.0.0.1", port))
            worker.listen()


def test_a_port_in_use_is_refused_and_its_holder_named() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(AlreadyRunning, match=rf"port {port} .* \(pid {os.getpid()}\).*WATCHLLM_PORT"):
            ports.reserve("127.0.0.1", port)


@pytest.mark.parametrize("flags", [[], ["-P"]])
def test_a_process_of_ours_is_named_by_what_it_does(flags: list[str]) -> None:
    command = [sys.executable, *flags, "-m", "watchllm_proxy", "version", "-h"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as ours:
        while not psutil.Process(ours.pid).cmdline():  # for a moment after exec there is none
            time.sleep(0.001)
        said = ports.process_in_words(ours.pid)
    assert said == f"watchllm version (pid {ours.pid})"
    assert ports.process_in_words(ours.pid) == f"a process (pid {ours.pid})", "one that has ended"


def test_a_port_that_another_watchllm_shares_is_refused_too() -> None:
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        with pytest.raises(AlreadyRunning):
            ports.reserve("127.0.0.1", holder.getsockname()[1])


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host"])
def test_an_address_that_is_not_ours_is_a_settings_error(host: str) -> None:
    with pytest.raises(SettingsError, match="WATCHLLM_HOST"):
        ports.reserve(host, 0)
