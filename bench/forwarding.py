"""What forwarding costs: CPU and delay of one request and of one streamed event, beside the peers.

All targets run at once and are loaded one after another within each round, so that all see the same noise of
the machine: trust the ratios, not the microseconds. CPU that a target spends after the load ended (our capture
thread writes in groups) is counted: each measurement waits until the target rests.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import targets
from bench.processes import cpu_ns, find_child
from bench.targets import BUILD, LOAD_CORE, Target

ROUNDS = 3
SETTLE_LIMIT_S = 10.0
RESTING_NS = 3_000_000  # of CPU within 50 ms: less is housekeeping
UP_REQUESTS = 1500


@dataclass(frozen=True, slots=True)
class Load:
    """What loadgen is to do: at most `requests`, at most `seconds` long."""

    name: str
    body: str
    connections: int
    requests: int
    seconds: float


JSON_ALONE = Load("JSON, one at a time", "json_2k.json", 1, 1_000_000, 1.5)
JSON = Load("JSON, 16 at once", "json_2k.json", 16, 1_000_000, 1.5)
SSE = Load("SSE, 16 streams of 100 events 5 ms apart", "stream_100_5ms.json", 16, 48, 6.0)
WARM_UP = (Load("", "json_2k.json", 8, 400, 8.0), Load("", "stream_100_5ms.json", 16, 16, 8.0))


@dataclass(frozen=True, slots=True)
class Measured:
    """One load on one target. Times in microseconds; per-event figures only of streams."""

    requests_per_s: float
    latency_p50_us: float
    event_delay_p50_us: float
    cpu_us_per_request: float
    cpu_us_per_event: float
    failed: int


@dataclass(frozen=True, slots=True)
class Figures:
    """Medians over the rounds for one target; ratios are medians of the rounds' own ratios."""

    target: str
    added_p50_us: float
    cpu_us_per_request: float
    times_nginx_json: float
    requests_per_s: float
    cpu_us_per_event: float
    times_nginx_sse: float
    event_delay_p50_us: float
    failed: int


@dataclass(frozen=True, slots=True)
class WholeProduct:
    """CPU per JSON request of `watchllm up` until everything is stored, and the worker's part of it."""

    worker_us: float
    all_us: float
    seconds_to_store: float


Results = dict[tuple[str, Load], list[Measured]]


def compare(say: Callable[[str], None], rounds: int = ROUNDS) -> list[Figures]:
    """All targets in one interleaved run."""
    targets.build()
    results: Results = {}
    with tempfile.TemporaryDirectory(prefix="watchllm-bench-") as folder, contextlib.ExitStack() as opened:
        directory = Path(folder)
        model = opened.enter_context(targets.model(directory))
        others = (
            opened.enter_context(targets.nginx(directory, model)),
            opened.enter_context(targets.naive(directory, model)),
            opened.enter_context(targets.proxy(directory, model.port)),
        )
        everyone = [model, *others]
        for target in everyone:
            for load in WARM_UP:
                measure(target, load)
        for number in range(rounds):
            for load in (JSON_ALONE, JSON, SSE):
                for target in everyone if number % 2 == 0 else everyone[::-1]:
                    measured = measure(target, load)
                    results.setdefault((target.name, load), []).append(measured)
                    say(f"round {number + 1}  {load.name:42s} {target.name:15s} {_brief(measured)}")
    return [_figures(target.name, results) for target in everyone]


def whole_product() -> WholeProduct:
    """The cost of a call from the socket to both stores: proxy, recorder, console, ClickHouse and Postgres."""
    targets.build()
    with tempfile.TemporaryDirectory(prefix="watchllm-bench-") as folder, contextlib.ExitStack() as opened:
        directory = Path(folder)
        model = opened.enter_context(targets.model(directory))
        product = opened.enter_context(targets.up(directory, model.port))
        worker = find_child(product.pids()[0], "proxy")
        load = Load("", "json_2k.json", 16, UP_REQUESTS, 20.0)
        _settle(product)
        worker_ns, all_ns, began = cpu_ns([worker]), cpu_ns(product.pids()), time.monotonic()
        sent = _load(product, load)["ok"]
        _settle(product, limit_s=60.0, resting_ns=8_000_000, quiet_checks=10)
        return WholeProduct(
            worker_us=(cpu_ns([worker]) - worker_ns) / 1e3 / sent,
            all_us=(cpu_ns(product.pids()) - all_ns) / 1e3 / sent,
            seconds_to_store=time.monotonic() - began,
        )


def measure(target: Target, load: Load) -> Measured:
    before = cpu_ns(target.pids())
    found = _load(target, load)
    _settle(target)
    spent_us = (cpu_ns(target.pids()) - before) / 1e3
    return Measured(
        requests_per_s=found["rps"],
        latency_p50_us=found["latency"]["p50"],
        event_delay_p50_us=found["event_age"]["p50"],
        cpu_us_per_request=spent_us / max(1, found["ok"]),
        cpu_us_per_event=spent_us / max(1, found["events"]),
        failed=found["non200"] + found["errors"],
    )


def _load(target: Target, load: Load) -> dict[str, Any]:
    options = {
        "-p": target.port,
        "-b": BUILD / load.body,
        "-c": load.connections,
        "-n": load.requests,
        "-t": load.seconds,
    }
    words = [str(word) for pair in options.items() for word in pair]
    done = subprocess.run(
        ["taskset", "-c", str(LOAD_CORE), str(BUILD / "loadgen"), *words], capture_output=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _settle(
    target: Target,
    *,
    limit_s: float = SETTLE_LIMIT_S,
    resting_ns: int = RESTING_NS,
    quiet_checks: int = 2,
) -> None:
    """Wait until the target does no more work: `quiet_checks` times in a row hardly any within 50 ms."""
    deadline = time.monotonic() + limit_s
    quiet = 0
    while quiet < quiet_checks and time.monotonic() < deadline:
        before = cpu_ns(target.pids())
        time.sleep(0.05)
        quiet = quiet + 1 if cpu_ns(target.pids()) - before < resting_ns else 0


def _figures(name: str, results: Results) -> Figures:
    def median(load: Load, field: str, target: str = name) -> float:
        return statistics.median(float(getattr(measured, field)) for measured in results[target, load])

    def times_nginx(load: Load, field: str) -> float:
        pairs = zip(results[name, load], results["nginx", load], strict=True)
        ratios = [float(getattr(ours, field)) / float(getattr(theirs, field)) for ours, theirs in pairs]
        return statistics.median(ratios)

    return Figures(
        target=name,
        added_p50_us=median(JSON_ALONE, "latency_p50_us") - median(JSON_ALONE, "latency_p50_us", "direct"),
        cpu_us_per_request=median(JSON, "cpu_us_per_request"),
        times_nginx_json=times_nginx(JSON, "cpu_us_per_request"),
        requests_per_s=median(JSON, "requests_per_s"),
        cpu_us_per_event=median(SSE, "cpu_us_per_event"),
        times_nginx_sse=times_nginx(SSE, "cpu_us_per_event"),
        event_delay_p50_us=median(SSE, "event_delay_p50_us"),
        failed=sum(one.failed for load in (JSON_ALONE, JSON, SSE) for one in results[name, load]),
    )


def _brief(measured: Measured) -> str:
    return (
        f"{measured.requests_per_s:9.0f}/s  p50 {measured.latency_p50_us:8.0f} us"
        f"  CPU {measured.cpu_us_per_request:8.1f} us/request {measured.cpu_us_per_event:6.1f} us/event"
    )
