"""What `/metrics` tells of the recorder, of housekeeping and of usage, in Prometheus' text format.

The proxy puts it behind its own.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from watchllm_proxy.accounting import Balance
from watchllm_proxy.housekeeping import HousekeepingStats
from watchllm_proxy.metering import MeteringStats
from watchllm_proxy.recorder_stats import RecorderStats


def exposition(
    stats: RecorderStats, housekeeping: HousekeepingStats | None = None, metering: MeteringStats | None = None
) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(stats))
    if housekeeping is not None:
        registry.register(_HousekeepingCollector(housekeeping))
    if metering is not None:
        registry.register(_MeteringCollector(metering))
    return generate_latest(registry)


class _Collector:
    def __init__(self, stats: RecorderStats) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        stats = self._stats
        yield CounterMetricFamily(
            "watchllm_recorder_stored_calls", "Calls stored in both stores since start.", value=stats.stored_calls
        )
        yield CounterMetricFamily("watchllm_recorder_batches", "Batches stored since start.", value=stats.batches)
        yield CounterMetricFamily(
            "watchllm_recorder_damaged_stretches",
            "Damaged stretches of the log stepped over since start, torn tails of killed writers included.",
            value=stats.corrupt_frames,
        )
        dead = CounterMetricFamily(
            "watchllm_recorder_dead_letters", "Records set aside with their bytes since start.", labels=["reason"]
        )
        for reason, count in stats.dead_letters.items():
            dead.add_metric([reason], count)
        yield dead
        redacted = CounterMetricFamily(
            "watchllm_recorder_redacted_values",
            "Values put behind tags in calls and reports stored since start, each time they were sent.",
            labels=["kind"],
        )
        for kind, count in stats.redacted_values.items():
            redacted.add_metric([kind], count)
        yield redacted
        yield CounterMetricFamily(
            "watchllm_recorder_insight_crashes",
            "Runs stored without flags or explanations since start, for a bug of ours.",
            value=stats.insight_crashes,
        )
        yield CounterMetricFamily(
            "watchllm_recorder_flush_seconds", "Time spent on batches since start.", value=stats.flush_seconds
        )
        yield GaugeMetricFamily(
            "watchllm_recorder_log_depth_bytes", "Bytes of the logs not stored yet.", value=stats.log_depth_bytes
        )
        yield GaugeMetricFamily(
            "watchllm_recorder_lag_seconds",
            "Age of the oldest record of the last batch when stored.",
            value=stats.lag_s,
        )
        yield _captures(stats.books)
        waiting = GaugeMetricFamily(
            "watchllm_recorder_waiting", "1 while the recorder waits for this store.", labels=["store"]
        )
        if stats.waiting_for is not None:
            waiting.add_metric([stats.waiting_for], 1)
        yield waiting


def _captures(books: Balance | None) -> Metric:
    """The sum of docs/operations.md, over all restarts and logs."""
    family = GaugeMetricFamily(
        "watchllm_captures",
        "Captures by what became of them, over all restarts: accepted = stored + in_log + dead_lettered + dropped "
        "+ missing. Missing is to be 0; shed ones were never accepted.",
        labels=["state", "reason"],
    )
    if books is None:
        return family
    for state, count in (
        ("accepted", books.accepted),
        ("stored", books.stored),
        ("in_log", books.in_log),
        ("dropped", books.dropped),
        ("missing", books.missing),
    ):
        family.add_metric([state, ""], count)
    for dead_reason, count in books.dead_lettered.items():
        family.add_metric(["dead_lettered", dead_reason], count)
    for shed_reason, count in books.shed.items():
        family.add_metric(["shed", shed_reason], count)
    return family


class _HousekeepingCollector:
    def __init__(self, stats: HousekeepingStats) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        stats = self._stats
        dropped = CounterMetricFamily(
            "watchllm_retention_dropped_rows", "Rows dropped with their partition since start.", labels=["table"]
        )
        for table, rows in stats.dropped_rows.items():
            dropped.add_metric([table], rows)
        yield dropped
        yield CounterMetricFamily(
            "watchllm_retention_deleted_runs", "Runs deleted by age since start.", value=stats.deleted_runs
        )
        yield CounterMetricFamily(
            "watchllm_figures_hours_made",
            "Hours whose figures were made anew since start.",
            value=stats.hours_made,
        )
        if stats.retained_at_s is not None:
            yield GaugeMetricFamily(
                "watchllm_retention_last_pass_timestamp_seconds",
                "When retention was last seen to, seconds since 1970.",
                value=stats.retained_at_s,
            )


class _MeteringCollector:
    def __init__(self, stats: MeteringStats) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        stats = self._stats
        # By number, never by name: whoever reaches the port may read this.
        over = sum(used >= 1 for used in stats.near_quota.values())
        quota = GaugeMetricFamily(
            "watchllm_quota_projects",
            "Projects that used 80 % of their monthly quota (near), and all of it (over).",
            labels=["state"],
        )
        quota.add_metric(["near"], len(stats.near_quota) - over)
        quota.add_metric(["over"], over)
        yield quota
        capped = GaugeMetricFamily(
            "watchllm_capped", "Projects and keys that reached their monthly cap on money.", labels=["whose"]
        )
        capped.add_metric(["project"], stats.capped_projects)
        capped.add_metric(["key"], stats.capped_keys)
        yield capped
        if stats.reported_at_s is not None:
            yield GaugeMetricFamily(
                "watchllm_usage_reported_timestamp_seconds",
                "When the proxies were last told what others counted, seconds since 1970.",
                value=stats.reported_at_s,
            )
