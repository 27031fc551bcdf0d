"""What the load goes to: the model itself, the peers, and our proxy as a user starts it, capture on."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import bodies
from bench.processes import Child, running, tree

PROJECT = Path(__file__).resolve().parents[1]
BUILD = PROJECT / "bench" / "build"
PEERS = PROJECT / "bench" / "peers"

PROXY_CORE, LOAD_CORE = 0, 1
"""The proxies on one core; load generator and model on the other."""


@dataclass(frozen=True, slots=True)
class Target:
    """`pids` are the processes whose CPU counts; none for the model itself."""

    name: str
    port: int
    pids: Callable[[], list[int]]


def build() -> None:
    """Compile what is in C and write the bodies, into bench/build."""
    BUILD.mkdir(exist_ok=True)
    for name in ("loadgen", "mock"):
        subprocess.run(["gcc", "-O2", "-w", "-o", BUILD / name, PROJECT / "bench" / f"{name}.c"], check=True)
    bodies.write_all(BUILD)


def missing_tools() -> list[str]:
    """What the comparison needs of the machine and does not find."""
    return [tool for tool in ("gcc", "nginx", "taskset") if shutil.which(tool) is None]


@contextlib.contextmanager
def model(directory: Path) -> Iterator[Target]:
    port = free_port()
    child = Child([str(BUILD / "mock"), str(port)], log=directory / "mock.log", core=LOAD_CORE)
    with _answering(child, port):
        yield Target("direct", port, lambda: [])


@contextlib.contextmanager
def nginx(directory: Path, upstream: Target) -> Iterator[Target]:
    port = free_port()
    place = directory / "nginx"
    place.mkdir()
    text = (PEERS / "nginx.conf").read_text()
    filled = {"@PORT@": str(port), "@UPSTREAM_PORT@": str(upstream.port), "@DIRECTORY@": str(place)}
    for mark, value in filled.items():
        text = text.replace(mark, value)
    config = place / "nginx.conf"
    config.write_text(text)
    command = ["nginx", "-p", str(place), "-c", str(config)]
    with _answering(Child(command, log=directory / "nginx.log", core=PROXY_CORE), port) as child:
        yield Target("nginx", port, lambda: tree(child.pid))


@contextlib.contextmanager
def naive(directory: Path, upstream: Target) -> Iterator[Target]:
    port = free_port()
    command = [sys.executable, "-m", "bench.peers.naive", str(port), str(upstream.port)]
    child = Child(command, log=directory / "naive.log", core=PROXY_CORE, directory=PROJECT)
    with _answering(child, port):
        yield Target("naive aiohttp", port, lambda: tree(child.pid))


@contextlib.contextmanager
def proxy(directory: Path, upstream_port: int, **environ: str) -> Iterator[Target]:
    """`watchllm proxy`: one worker, its capture log on disk."""
    port = free_port()
    command = [sys.executable, "-m", "watchllm_proxy", "proxy", "--port", str(port)]
    child = Child(
        command,
        log=directory / "proxy.log",
        core=PROXY_CORE,
        environ=environment(directory / "proxy", upstream_port, **environ),
        directory=PROJECT,
    )
    with _answering(child, port):
        yield Target("watchllm proxy", port, lambda: tree(child.pid))


@contextlib.contextmanager
def up(directory: Path, upstream_port: int, **environ: str) -> Iterator[Target]:
    """`watchllm up`: everything on embedded stores. Its Postgres is a process of its own, and counts."""
    data_dir = directory / "up"
    command = [sys.executable, "-m", "watchllm_proxy", "up", "--port", "0", "--print-env"]
    child = Child(
        command,
        log=directory / "up.log",
        environ=environment(data_dir, upstream_port, **environ),
        directory=PROJECT,
    )
    with running(child):
        child.wait_until(lambda: "dashboard" in child.printed(), "saying that all of it is there")
        address = child.printed().split("OPENAI_BASE_URL=")[1].split()[0].strip("'\"")
        port = int(address.removesuffix("/v1").rpartition(":")[2])
        yield Target("watchllm up", port, lambda: tree(child.pid) + _postgres(data_dir))


def environment(data_dir: Path, upstream_port: int, **settings: str) -> dict[str, str]:
    """Ours, with the settings of a fresh data directory and nothing else of WatchLLM's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WATCHLLM_")}
    return {
        **kept,
        "WATCHLLM_DATA_DIR": str(data_dir),
        "WATCHLLM_UPSTREAM_URL": f"http://127.0.0.1:{upstream_port}/v1",
        "WATCHLLM_ALLOW_ANONYMOUS": "on",
        "PYTHONUNBUFFERED": "1",
        **settings,
    }


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _postgres(data_dir: Path) -> list[int]:
    """None where the settings name a server."""
    pid_file = data_dir / "postgres" / "data" / "postmaster.pid"
    return tree(int(pid_file.read_text().splitlines()[0])) if pid_file.exists() else []


@contextlib.contextmanager
def _answering(child: Child, port: int) -> Iterator[Child]:
    with running(child):
        child.wait_until(lambda: _answers(port), f"answering on port {port}")
        yield child


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", "/v1/chat/completions", bodies.chat(2048), {"Content-Type": "application/json"})
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
