"""Reports many runs at once, looks how soon each can be read, sends them again, looks whether anything changed.

Ends with status 1 where a promise does not hold.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
import threading
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from queue import SimpleQueue
from typing import Any
from uuid import uuid4

READABLE_WITHIN_S = 5.0
PAGE = 200
STEPS = 6


class Connections:
    """One kept-alive connection for each thread that asks at a time."""

    def __init__(self, url: str) -> None:
        self._host = urllib.parse.urlsplit(url).netloc
        self._idle: SimpleQueue[http.client.HTTPConnection] = SimpleQueue()
        self._headers = {"Content-Type": "application/json"}
        if key := os.environ.get("WATCHLLM_KEY"):
            self._headers["Authorization"] = f"Bearer {key}"

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(self._host, timeout=30) if self._idle.empty() else self._idle.get()
        connection.request(method, path, body, self._headers)
        answer = connection.getresponse()
        content = answer.read()
        self._idle.put(connection)
        return answer.status, json.loads(content)


def run_of(load: str, number: int, day: str) -> dict[str, Any]:
    at = f"{day}T{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}"
    kinds = ["user_input", "tool_call", "tool_result", "decision", "tool_call", "model_response"]
    steps = [
        {
            "step_index": index,
            "timestamp": f"{at}.{index:03}Z",
            "type": kind,
            "summary": f"Step {index} of run {number}",
            "token_cost": 10 * index,
            "api_cost_usd": index * 0.000015,
            "tool": "search" if kind.startswith("tool") else None,
            "tool_args": {"query": f"order {number}"} if kind == "tool_call" else None,
        }
        for index, kind in enumerate(kinds)
    ]
    run = {"run_id": f"{load}-{number}", "agent_name": f"load-{number % 7}", "started_at": f"{at}Z"}
    return {**run, "ended_at": f"{at}.900Z", "status": "completed", "steps": steps, "meta": {"load": load}}


def send_all(connections: Connections, runs: list[bytes], threads: int) -> tuple[float, list[int], list[float]]:
    """Seconds, statuses, and when each was accepted."""

    def send(body: bytes) -> tuple[int, float]:
        status, _ = connections.ask("POST", "/v1/agent-runs", body)
        return status, time.monotonic()

    started_s = time.monotonic()
    with ThreadPoolExecutor(threads) as pool:
        answered = list(pool.map(send, runs))
    return time.monotonic() - started_s, [status for status, _ in answered], [at_s for _, at_s in answered]


class Watch(threading.Thread):
    """Notes how many of these runs can be read, as time goes on."""

    def __init__(self, connections: Connections, load: str, wanted: int) -> None:
        super().__init__(daemon=True)
        self._connections = connections
        self._path = f"/api/agent-runs?q={load}&limit=1"
        self._wanted = wanted
        self.seen: list[tuple[float, int]] = []

    def run(self) -> None:
        until_s = time.monotonic() + 60
        while time.monotonic() < until_s and (not self.seen or self.seen[-1][1] < self._wanted):
            status, found = self._connections.ask("GET", self._path)
            self.seen.append((time.monotonic(), found["total"] if status == 200 else 0))
            time.sleep(0.05)

    def lags_s(self, accepted_s: list[float]) -> list[float]:
        """Of each run that was accepted: they are stored in that order."""
        lags = []
        for number, at_s in enumerate(sorted(accepted_s), start=1):
            readable_s = next((seen_s for seen_s, total in self.seen if total >= number), float("inf"))
            lags.append(max(0.0, readable_s - at_s))
        return lags


def everything(connections: Connections, load: str, runs: list[dict[str, Any]]) -> list[Any]:
    """All of them as the list shows them, and every tenth with its steps."""
    found = []
    for offset in range(0, len(runs), PAGE):
        _, page = connections.ask("GET", f"/api/agent-runs?q={load}&limit={PAGE}&offset={offset}&sort=started_at")
        found += page["runs"]
    for run in runs[::10]:
        _, debug = connections.ask("GET", f"/api/agent-runs/{urllib.parse.quote(run['run_id'], safe='')}/debug")
        found.append(debug)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8787", help="where the proxy listens")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=32)
    options = parser.parse_args()
    connections, load = Connections(options.url), f"load-{uuid4()}"
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()  # what is too old is not kept
    runs = [run_of(load, number, yesterday) for number in range(options.runs)]
    bodies = [json.dumps(run).encode() for run in runs]

    watch = Watch(connections, load, len(runs))
    watch.start()
    took_s, statuses, accepted_s = send_all(connections, bodies, options.threads)
    accepted = statuses.count(202)
    print(f"sent      {len(runs)} runs of {STEPS} steps, {options.threads} at a time: {accepted} × 202")
    print(f"rate      {len(runs) / took_s:.0f} runs/s ({took_s:.2f} s)")
    watch.join()
    lags_s = sorted(watch.lags_s(accepted_s))
    slowest_s = lags_s[-1]
    print(f"readable  median {lags_s[len(lags_s) // 2]:.2f} s, the slowest {slowest_s:.2f} s after its 202")

    before = everything(connections, load, runs)
    took_s, statuses, _ = send_all(connections, bodies, options.threads)
    print(f"again     {statuses.count(202)} × 202, {len(runs) / took_s:.0f} runs/s")
    time.sleep(READABLE_WITHIN_S)
    after = everything(connections, load, runs)
    _, listed = connections.ask("GET", f"/api/agent-runs?q={load}&limit=1")
    print(f"after     {listed['total']} runs, {'nothing' if before == after else 'SOMETHING'} changed")
    is_well = accepted == len(runs) == listed["total"] and before == after
    return 0 if is_well and slowest_s < READABLE_WITHIN_S else 1


if __name__ == "__main__":
    sys.exit(main())
