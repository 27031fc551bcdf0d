"""What a restart of the recorder costs: killed with so many calls stored, started, until it says that all is well.

    python -m bench.restart [CALLS [TIMES]]          50000 calls, 9 times

The process is the core of `watchllm up` on embedded stores, without the supervisor, which waits a hundredth of a
second before it starts another. CPU is the process's own, its threads included. On a machine that does more than
this it grows too, by a third or so; the time by the clock by much more. The first start of each store does not
count.
"""

from __future__ import annotations

import http.client
import json
import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from watchllm_proxy.app import LESS_TO_IMPORT
from watchllm_proxy.settings import Settings, child_environment
from watchllm_proxy.store.embedded import EmbeddedPostgres
from watchllm_proxy.supervisor import COMMAND

WITHIN_S = 60.0
IMPORTS = "import watchllm_proxy.child, watchllm_proxy.core, chdb.session"
NOBODY = "http://127.0.0.1:9/v1"


@dataclass(frozen=True, slots=True)
class Start:
    """Of one process, until all was well."""

    wall_s: float
    cpu_s: float
    resident_mb: float


class _OverSocket(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=5)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def main(calls: int = 50_000, times: int = 9) -> None:
    imports = statistics.median(cpu_of_imports() for _ in range(times))
    print(f"imports: {imports:.2f} s of CPU")
    for stored in (0, calls):
        with tempfile.TemporaryDirectory(prefix="watchllm-restart-") as directory:
            os.chmod(directory, 0o711)  # as root Postgres runs as another user
            starts = starts_with(Path(directory) / "data", stored, times)
        print(f"{stored:,} calls stored, {times} starts: {in_words(starts)}")
    print(f"load of the machine at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def cpu_of_imports() -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", IMPORTS], env={**os.environ, **LESS_TO_IMPORT}, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def starts_with(data_dir: Path, calls: int, times: int) -> list[Start]:
    data_dir.mkdir()
    if calls:
        filling = [sys.executable, "-m", "tests.e2e.programs.fill_stores", str(data_dir), str(calls)]
        subprocess.run(filling, check=True)
    postgres = EmbeddedPostgres(data_dir / "postgres")
    postgres.start()
    try:
        settings = replace(
            Settings(data_dir=data_dir, upstream_url=NOBODY),
            database_url=postgres.dsn,
            owner_database_url=postgres.owner_dsn,
        )
        environ = {**child_environment(settings), **LESS_TO_IMPORT}
        return [start_and_kill(settings, environ) for _ in range(times + 1)][1:]
    finally:
        postgres.stop()


def start_and_kill(settings: Settings, environ: Mapping[str, str]) -> Start:
    settings.console_socket.unlink(missing_ok=True)
    began = time.monotonic()
    core = subprocess.Popen([*COMMAND, "core"], env=environ, stdin=subprocess.DEVNULL)
    try:
        while not is_well(settings.console_socket):
            if core.poll() is not None or time.monotonic() > began + WITHIN_S:
                raise SystemExit(f"the core does not start: {settings.data_dir}/logs/core.log")
            time.sleep(0.01)
        wall_s = time.monotonic() - began
        process = psutil.Process(core.pid)
        used = process.cpu_times()
        return Start(wall_s, used.user + used.system, process.memory_info().rss / 1e6)
    finally:
        core.send_signal(signal.SIGKILL)
        core.wait()


def is_well(console: Path) -> bool:
    connection = _OverSocket(console)
    try:
        connection.request("GET", "/readyz")
        return bool(json.loads(connection.getresponse().read())["status"] == "ok")
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def in_words(starts: list[Start]) -> str:
    wall_s, cpu_s = sorted(start.wall_s for start in starts), sorted(start.cpu_s for start in starts)
    resident_mb = statistics.median(start.resident_mb for start in starts)
    return (
        f"{statistics.median(wall_s):.2f} s (max {wall_s[-1]:.2f} s), CPU {statistics.median(cpu_s):.2f} s "
        f"(least {cpu_s[0]:.2f} s), {resident_mb:.0f} MB"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
