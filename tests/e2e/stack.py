"""The whole product as a user starts it, `watchllm up`, in processes and a data directory of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tests.fake_openai import FakeOpenAI

PROJECT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 45.0
STORED_TIMEOUT_S = 60.0
POLL_S = 0.05
EXPORT = "export OPENAI_BASE_URL="


class Stack:
    """`start()`, talk to `base_url`, look at what was stored with `runs()` and `debug()`, `stop()`.

    `fake` is the upstream. `environ` adds settings to those that every stack has. `program` is what Python runs
    in place of the product as it is.
    """

    def __init__(
        self,
        data_dir: Path,
        fake: FakeOpenAI,
        environ: Mapping[str, str] | None = None,
        program: Sequence[str] = ("-m", "watchllm_proxy"),
    ) -> None:
        self.data_dir = data_dir
        self.fake = fake
        self.base_url = ""
        self._environ = dict(environ or {})
        self._program = tuple(program)
        self._process: subprocess.Popen[bytes] | None = None
        self._output = data_dir.with_name(f"{data_dir.name}.out")
        self._talk = data_dir.with_name(f"{data_dir.name}.err")

    @property
    def origin(self) -> str:
        """Where the console answers; `base_url` is its /v1."""
        return self.base_url.removesuffix("/v1")

    @property
    def pid(self) -> int:
        assert self._process is not None, "the stack is not started"
        return self._process.pid

    @property
    def servers(self) -> tuple[str, ...]:
        """Postgres as its owner and ClickHouse, where the settings name them; else it brings its own."""
        names = ("WATCHLLM_OWNER_DATABASE_URL", "WATCHLLM_CLICKHOUSE_URL")
        return tuple(self._environ[name] for name in names if name in self._environ)

    def start(self, *, port: int = 0) -> Self:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        environ = {
            **kept,
            "WATCHLLM_DATA_DIR": str(self.data_dir),
            "WATCHLLM_UPSTREAM_URL": self.fake.url,
            "PYTHONUNBUFFERED": "1",
            **self._environ,
        }
        command = [sys.executable, *self._program, "up", "--port", str(port), "--print-env"]
        with self._output.open("wb") as out, self._talk.open("wb") as err:
            self._process = subprocess.Popen(
                command, cwd=PROJECT, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )
        self._wait(self._announced, "watchllm up to name its address")
        self._wait(self._is_ready, "/readyz to say that all is well")
        return self

    def wait_ready(self, within_s: float = START_TIMEOUT_S) -> None:
        self._wait(self._is_ready, "/readyz to say that all is well", within_s)

    def stop(self) -> int:
        """SIGTERM, as a service manager does; the exit status."""
        assert self._process is not None, "the stack is not started"
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"watchllm up did not stop within {STOP_TIMEOUT_S} s of SIGTERM") from None

    # --- reading ------------------------------------------------------------------------------------

    def get(self, path: str) -> Any:
        """The JSON that `path` answers with 200; anything else raises."""
        with urllib.request.urlopen(f"{self.origin}{path}", timeout=10) as answer:
            return json.loads(answer.read())

    def runs(self) -> list[dict[str, Any]]:
        """The runs, newest first (at most 200), lone chats included."""
        listed: list[dict[str, Any]] = self.get("/api/agent-runs?limit=200&kind=all")["runs"]
        return listed

    def run_ids(self) -> set[str]:
        return {run["run_id"] for run in self.runs()}

    def debug(self, run_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"/api/agent-runs/{run_id}/debug")["debug"]
        return found

    def wait_for_steps(self, before: set[str], steps: int) -> list[dict[str, Any]]:
        """The runs that were not in `before`, as soon as they have `steps` steps together."""
        found: list[dict[str, Any]] = []

        def are_stored() -> bool:
            found[:] = [run for run in self.runs() if run["run_id"] not in before]
            return sum(run["total_steps"] for run in found) >= steps

        self._wait(are_stored, lambda: f"{steps} steps to be stored; there is {found}", STORED_TIMEOUT_S)
        return found

    # --- waiting ------------------------------------------------------------------------------------

    def _announced(self) -> bool:
        for line in self._output.read_text().splitlines():
            if line.startswith(EXPORT):
                self.base_url = line.removeprefix(EXPORT).strip().strip("'\"")
                return True
        return False

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.origin}/readyz", timeout=5) as answer:
                return bool(json.loads(answer.read())["status"] == "ok")
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def _wait(self, condition: Any, what: Any, timeout_s: float = START_TIMEOUT_S) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            if self._process is not None and self._process.poll() is not None:
                raise AssertionError(f"watchllm up ended with {self._process.returncode}:\n{self._said()}")
            if time.monotonic() > deadline:
                awaited = what() if callable(what) else what
                raise AssertionError(f"waited {timeout_s} s for {awaited}\n{self._said()}")
            time.sleep(POLL_S)

    def _said(self) -> str:
        """What it printed and logged, for the report of a failed test."""
        logs = sorted((self.data_dir / "logs").glob("*.log"))
        texts = [path.read_text(errors="replace")[-3000:] for path in (self._output, self._talk, *logs)]
        return "\n".join(text for text in texts if text)
