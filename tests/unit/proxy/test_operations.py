"""What /readyz makes of counters."""

from __future__ import annotations

from watchllm_proxy.outcomes import ShedReason
from watchllm_proxy.proxy.operations import OK, SHED_TOLD_S, ShedWatch


def test_nothing_shed_is_well() -> None:
    watch = ShedWatch({})
    watch.note({}, 0.0)
    assert watch.check(0.0) == OK


def test_captures_that_are_shed_are_told_with_their_reasons() -> None:
    watch = ShedWatch({})
    watch.note({ShedReason.DISK_FULL: 2, ShedReason.LOG_FULL: 0}, 1.0)
    found = watch.check(1.0)
    assert found["status"] == "degraded"
    assert "disk_full (2 since the start)" in found["detail"]
    assert "log_full" not in found["detail"]


def test_everybody_is_told_the_same_however_often_others_ask() -> None:
    watch = ShedWatch({})
    watch.note({ShedReason.DISK_FULL: 2}, 1.0)
    first = watch.check(1.0)
    watch.note({ShedReason.DISK_FULL: 2}, 2.0)
    assert watch.check(2.0) == first


def test_what_is_long_over_is_not_told_any_more() -> None:
    watch = ShedWatch({})
    watch.note({ShedReason.DISK_FULL: 2}, 1.0)
    watch.note({ShedReason.DISK_FULL: 2, ShedReason.LOG_FULL: 1}, 5.0)
    found = watch.check(1.0 + SHED_TOLD_S)
    assert "log_full" in found["detail"]
    assert "disk_full" not in found["detail"]
    assert watch.check(5.0 + SHED_TOLD_S) == OK


def test_what_was_shed_before_the_start_is_not_told() -> None:
    watch = ShedWatch({ShedReason.DISK_FULL: 7, ShedReason.LOG_FULL: 1})
    watch.note({ShedReason.DISK_FULL: 9, ShedReason.LOG_FULL: 1}, 1.0)
    found = watch.check(1.0)
    assert "disk_full (2 since the start)" in found["detail"]
    assert "log_full" not in found["detail"]
