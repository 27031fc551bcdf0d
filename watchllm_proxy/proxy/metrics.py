"""Counters of one worker: plain ints on the hot path, Prometheus text when asked, summed over workers by files."""

from __future__ import annotations

import json
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from watchllm_proxy.outcomes import CaptureCounts
from watchllm_proxy.records import ExchangeEnd

OVERHEAD_BUCKETS_S = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1)
SNAPSHOT_MAX_AGE_S = 10.0
"""A worker that has not written for this long is gone."""


@dataclass(slots=True)
class Counters:
    """What one worker counts. Touched by the loop's thread only."""

    requests: Counter[str] = field(default_factory=Counter)  # by route
    responses: Counter[str] = field(default_factory=Counter)  # by status class, "2xx"
    ends: Counter[ExchangeEnd] = field(default_factory=Counter)
    request_bytes: int = 0
    response_bytes: int = 0
    stale_retries: int = 0
    refusals: Counter[str] = field(default_factory=Counter)  # by reason: quota, rate, cap, share
    generation_lookups: Counter[str] = field(default_factory=Counter)  # told, given_up
    in_flight: int = 0
    overhead: list[int] = field(default_factory=lambda: [0] * (len(OVERHEAD_BUCKETS_S) + 1))
    overhead_sum_s: float = 0.0

    def count_response(self, status: int) -> None:
        self.responses[_STATUS_CLASSES[status // 100 % 10]] += 1

    def count_end(self, end: ExchangeEnd) -> None:
        self.ends[end] += 1

    def observe_overhead(self, seconds: float) -> None:
        """From reading a request's head to its last byte being written upstream, a new connection included."""
        self.overhead[bisect_left(OVERHEAD_BUCKETS_S, seconds)] += 1
        self.overhead_sum_s += seconds


_STATUS_CLASSES = tuple(f"{digit}xx" for digit in range(10))


@dataclass(frozen=True, slots=True)
class Gauges:
    """What is read off when a snapshot is taken."""

    capture_log_bytes: int
    capture_memory_bytes: int
    client_connections: int
    upstream_connections: int


Snapshot = dict[str, Any]
"""A JSON object of numbers and of objects of numbers: snapshots of workers can be added up."""


def snapshot(counters: Counters, gauges: Gauges) -> Snapshot:
    return {
        "requests": dict(counters.requests),
        "responses": dict(counters.responses),
        "ends": {str(end): count for end, count in counters.ends.items()},
        "request_bytes": counters.request_bytes,
        "response_bytes": counters.response_bytes,
        "stale_retries": counters.stale_retries,
        "refusals": dict(counters.refusals),
        "generation_lookups": dict(counters.generation_lookups),
        "in_flight": counters.in_flight,
        "overhead": {str(index): count for index, count in enumerate(counters.overhead)},
        "overhead_sum_s": counters.overhead_sum_s,
        "capture_log_bytes": gauges.capture_log_bytes,
        "capture_memory_bytes": gauges.capture_memory_bytes,
        "client_connections": gauges.client_connections,
        "upstream_connections": gauges.upstream_connections,
    }


def add_up(snapshots: Iterable[Snapshot]) -> Snapshot:
    total: Snapshot = {}
    for one in snapshots:
        for name, value in one.items():
            if isinstance(value, dict):
                total[name] = dict(Counter(total.get(name, {})) + Counter(value))
            else:
                total[name] = total.get(name, 0) + value
    return total


def snapshot_path(run_dir: Path, worker: str) -> Path:
    return run_dir / f"metrics-{worker}.json"


def write_snapshot(path: Path, taken: Snapshot) -> None:
    """Blocks: runs in a thread. A reader sees the old or the new one."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(taken))
    fresh.replace(path)


def read_other_snapshots(run_dir: Path, worker: str) -> list[Snapshot]:
    """Those of the other live workers. Blocks: runs in a thread."""
    found = []
    for path in sorted(run_dir.glob("metrics-*.json")):
        if path == snapshot_path(run_dir, worker):
            continue
        try:
            if time.time() - path.stat().st_mtime < SNAPSHOT_MAX_AGE_S:
                found.append(json.loads(path.read_bytes()))
        except (OSError, ValueError):
            continue  # its worker is just going
    return found


def exposition(taken: Snapshot, captures: CaptureCounts) -> bytes:
    """Prometheus' text format. `captures`: of all logs since they exist, so that no restart takes any back."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshots(taken | _of_captures(captures)))
    return generate_latest(registry)


def _of_captures(captures: CaptureCounts) -> Snapshot:
    return {
        "capture_accepted": captures.accepted,
        "capture_shed": {str(reason): count for reason, count in captures.shed.items()},
        "capture_recovered": captures.recovered,
        "capture_unprotected": captures.unprotected,
    }


class _Snapshots:
    """A collector of one snapshot."""

    def __init__(self, taken: Snapshot) -> None:
        self._taken = taken

    def collect(self) -> Iterator[Metric]:
        for key, name, text, label in _COUNTERS:
            value = self._taken.get(key, {} if label else 0)
            family = CounterMetricFamily(name, text, labels=[label] if label else [])
            for labels, count in value.items() if label else [(None, value)]:
                family.add_metric([labels] if labels is not None else [], count)
            yield family
        for key, name, text in _GAUGES:
            yield GaugeMetricFamily(name, text, value=self._taken.get(key, 0))
        yield self._overhead()

    def _overhead(self) -> Metric:
        counts = self._taken.get("overhead", {})
        buckets, total = [], 0
        for index, bound in enumerate((*OVERHEAD_BUCKETS_S, "+Inf")):
            total += counts.get(str(index), 0)
            buckets.append((str(bound), total))
        family = HistogramMetricFamily("watchllm_proxy_overhead_seconds", _OVERHEAD_HELP)
        family.add_metric([], buckets, sum_value=self._taken.get("overhead_sum_s", 0.0))
        return family


_OVERHEAD_HELP = "Time from reading a request's head to having sent it on."

_COUNTERS = (
    ("requests", "watchllm_proxy_requests", "Requests, by where they went.", "route"),
    ("responses", "watchllm_proxy_responses", "Answers, by class of their status.", "status"),
    ("ends", "watchllm_proxy_exchanges", "Forwarded exchanges, by how they ended.", "end"),
    ("request_bytes", "watchllm_proxy_request_body_bytes", "Request body bytes passed on.", None),
    ("response_bytes", "watchllm_proxy_response_body_bytes", "Answer body bytes passed on.", None),
    ("stale_retries", "watchllm_proxy_stale_retries", "Requests sent again on a fresh connection.", None),
    ("refusals", "watchllm_proxy_refusals", "Requests refused by a limit of their project, by reason.", "reason"),
    (
        "generation_lookups",
        "watchllm_generation_lookups",
        "Broken answers whose cost was asked for afterwards: told, or given up.",
        "outcome",
    ),
    ("capture_accepted", "watchllm_capture_accepted", "Exchanges durably in the capture log.", None),
    ("capture_shed", "watchllm_capture_shed", "Exchanges given up, by reason. The requests passed.", "reason"),
    ("capture_recovered", "watchllm_capture_recovered", "Exchanges taken over from a killed process.", None),
    (
        "capture_unprotected",
        "watchllm_capture_unprotected",
        "Exchanges without room in the crash buffer: a kill before their sync would have lost them.",
        None,
    ),
)

_GAUGES = (
    ("in_flight", "watchllm_proxy_in_flight", "Requests under way."),
    ("client_connections", "watchllm_proxy_client_connections", "Open client connections."),
    ("upstream_connections", "watchllm_proxy_upstream_connections", "Open upstream connections."),
    ("capture_log_bytes", "watchllm_capture_log_bytes", "Size of the capture log on disk."),
    ("capture_memory_bytes", "watchllm_capture_memory_bytes", "Memory of captures under way."),
)
