"""One `watchllm …` process as a person or a service manager starts it, and what it says and leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

PROJECT = Path(__file__).resolve().parents[2]
EXPORT = "export OPENAI_BASE_URL="
WAIT_S = 60.0
POLL_S = 0.02
KEPT = ("PATH", "HOME", "LANG", "TMPDIR")


class Command:
    """`with Command(folder, "up", ...) as up:` it runs; at the end it is stopped, by force if need be.

    `folder` takes its output, and its data as `data` unless `environ` names another place. `before` are words to
    put before the command, as of a program that runs others. Whatever it started is gone at the end too: a test
    that leaves a process behind has failed.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        environ: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
        cwd: Path = PROJECT,
    ) -> None:
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        self.environ = {
            **kept,
            "PYTHONUNBUFFERED": "1",
            "WATCHLLM_DATA_DIR": str(folder / "data"),
            **(environ or {}),
        }
        self.data_dir = Path(self.environ["WATCHLLM_DATA_DIR"])
        self._command = [*before, sys.executable, "-m", "watchllm_proxy", *arguments]
        self._cwd = cwd
        stem = f"{arguments[0]}-{time.monotonic_ns()}"
        self._out, self._err = folder / f"{stem}.out", folder / f"{stem}.err"
        self._seen: dict[int, psutil.Process] = {}
        self.origin = ""

    def __enter__(self) -> Self:
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                self._command,
                cwd=self._cwd,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.note_processes()
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for left in self.left_running():
            left.kill()
        if kind is not None:
            print(self.said_and_logged())

    # --- how it runs ----------------------------------------------------------------------------------

    def run(self, timeout_s: float = WAIT_S) -> int:
        """Let it end by itself; the exit status."""
        with self:
            return self.process.wait(timeout_s)

    def stop(self, timeout_s: float = WAIT_S) -> int:
        """SIGTERM, and wait. The exit status."""
        self.note_processes()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def note_processes(self) -> None:
        """Remember what it has started by now, Postgres too, which is nobody's child."""
        try:
            found = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return
        postmaster = self.postmaster()
        if postmaster is not None:
            found.append(postmaster)
        self._seen.update({process.pid: process for process in found})

    def left_running(self) -> list[psutil.Process]:
        """Of what `note_processes` saw, what is still there."""
        return [process for process in self._seen.values() if is_alive(process)]

    def child(self, name: str) -> psutil.Process:
        """Its process `core`, or `proxy`."""
        for process in psutil.Process(self.process.pid).children():
            if name in process.cmdline():
                return process
        raise AssertionError(f"it has no child {name}")

    def postmaster(self) -> psutil.Process | None:
        """The embedded Postgres of its data directory."""
        try:
            pid = int((self.data_dir / "postgres/data/postmaster.pid").read_text().splitlines()[0])
            process = psutil.Process(pid)
            return process if process.name() == "postgres" else None
        except (OSError, ValueError, IndexError, psutil.NoSuchProcess):
            return None

    # --- what it says ---------------------------------------------------------------------------------

    @property
    def out(self) -> str:
        return self._out.read_text(errors="replace")

    @property
    def err(self) -> str:
        return self._err.read_text(errors="replace")

    def logged(self, process: str) -> list[dict[str, Any]]:
        """The lines of one of its processes' logs."""
        path = self.data_dir / "logs" / f"{process}.log"
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        return [json.loads(line) for line in lines if line.startswith("{")]

    def said_and_logged(self) -> str:
        paths = [self._out, self._err, *sorted((self.data_dir / "logs").glob("*.log"))]
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}" for path in paths)

    def serving(self) -> Self:
        """Wait until it names its address."""
        self.until(lambda: EXPORT in self.out, "naming its address")
        self.origin = self.out.split(EXPORT)[1].split()[0].removesuffix("/v1")
        return self

    def ready(self) -> Self:
        """Wait until all is well."""
        self.until(lambda: self.readiness()["status"] == "ok", "saying that all is well")
        return self

    def get(self, path: str, timeout_s: float = 10.0) -> bytes:
        with urllib.request.urlopen(f"{self.origin}{path}", timeout=timeout_s) as answer:
            body: bytes = answer.read()
            return body

    def readiness(self) -> dict[str, Any]:
        """What /readyz says; a status of its own while nobody answers."""
        try:
            found: dict[str, Any] = json.loads(self.get("/readyz"))
        except (urllib.error.URLError, ConnectionError, TimeoutError) as exc:
            return {"status": f"no answer: {exc}", "checks": {}}
        return found

    def metric(self, name: str) -> float:
        """The value of one sample, named as Prometheus prints it; 0 where it is not there."""
        for line in self.get("/metrics").decode().splitlines():
            if line.startswith(f"{name} "):
                return float(line.rpartition(" ")[2])
        return 0.0

    def runs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.get("/api/agent-runs?limit=200&kind=all"))["runs"]
        return found

    def ask(self, number: int = 0, *, run: str | None = None, stream: bool = False) -> str:
        """One chat, on a connection of its own; the id of its exchange."""
        headers = {"Content-Type": "application/json", "Connection": "close"}
        if run is not None:
            headers["X-Run-Id"] = run
        body = {
            "model": "gpt-4o-mini",
            "stream": stream,
            "messages": [{"role": "user", "content": f"Question {number}?"}],
        }
        request = urllib.request.Request(
            f"{self.origin}/v1/chat/completions", json.dumps(body).encode(), headers, method="POST"
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert answer.status == 200
            answer.read()
            return str(answer.headers["X-WatchLLM-Request-Id"])

    def until(self, condition: Callable[[], bool], what: str, timeout_s: float = WAIT_S) -> float:
        """Wait for it; how long it took, in seconds."""
        began = time.monotonic()
        while not condition():
            if self.process.poll() is not None:
                raise AssertionError(f"it ended with {self.process.returncode} before {what}")
            if time.monotonic() - began > timeout_s:
                raise AssertionError(f"waited {timeout_s} s for {what}; /readyz: {self.readiness()}")
            time.sleep(POLL_S)
        return time.monotonic() - began


def is_alive(process: psutil.Process) -> bool:
    """Not counting the dead that nobody has reaped yet."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
