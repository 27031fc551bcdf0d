"""Figures of several workers add up, and outlive a worker that is gone only for a moment."""

from __future__ import annotations

import os
import time
from pathlib import Path

from watchllm_proxy.outcomes import CaptureCounts, ShedReason
from watchllm_proxy.proxy.metrics import (
    OVERHEAD_BUCKETS_S,
    SNAPSHOT_MAX_AGE_S,
    Counters,
    Gauges,
    add_up,
    exposition,
    read_other_snapshots,
    snapshot,
    snapshot_path,
    write_snapshot,
)
from watchllm_proxy.records import ExchangeEnd

NOTHING = Gauges(0, 0, 0, 0)


def test_snapshots_add_up_by_label() -> None:
    one, two = Counters(), Counters()
    one.count_response(200)
    two.count_response(204)
    two.count_response(503)
    two.count_end(ExchangeEnd.COMPLETE)
    total = add_up([snapshot(one, Gauges(5, 0, 0, 0)), snapshot(two, Gauges(6, 0, 0, 0))])
    assert total["responses"] == {"2xx": 2, "5xx": 1}
    assert total["ends"] == {"complete": 1}
    assert total["capture_log_bytes"] == 11


def test_captures_are_shown_as_counted_over_all_logs() -> None:
    captures = CaptureCounts(3, {ShedReason.LOG_FULL: 2}, recovered=1)
    text = exposition(add_up([snapshot(Counters(), NOTHING)] * 2), captures).decode()
    assert "watchllm_capture_accepted_total 3.0" in text
    assert 'watchllm_capture_shed_total{reason="log_full"} 2.0' in text
    assert "watchllm_capture_recovered_total 1.0" in text


def test_overhead_is_a_cumulative_histogram() -> None:
    counters = Counters()
    for seconds in (0.00001, 0.0002, 0.0002, 9.0):
        counters.observe_overhead(seconds)
    text = exposition(snapshot(counters, NOTHING), CaptureCounts()).decode()
    assert f'overhead_seconds_bucket{{le="{OVERHEAD_BUCKETS_S[0]}"}} 1.0' in text
    assert 'overhead_seconds_bucket{le="0.00025"} 3.0' in text
    assert 'overhead_seconds_bucket{le="0.1"} 3.0' in text
    assert 'overhead_seconds_bucket{le="+Inf"} 4.0' in text
    assert "overhead_seconds_count 4.0" in text


def test_a_worker_reads_the_others_but_not_itself_nor_the_dead(tmp_path: Path) -> None:
    for worker, size in (("w0", 1), ("w1", 2), ("w2", 4)):
        write_snapshot(snapshot_path(tmp_path, worker), snapshot(Counters(request_bytes=size), NOTHING))
    long_ago = time.time() - SNAPSHOT_MAX_AGE_S - 1
    os.utime(snapshot_path(tmp_path, "w2"), (long_ago, long_ago))
    (tmp_path / "metrics-w3.json").write_text("{half")
    assert [one["request_bytes"] for one in read_other_snapshots(tmp_path, "w0")] == [2]
    assert not list(tmp_path.glob("*.new"))
