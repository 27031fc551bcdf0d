"""What /readyz tells of the parts behind the proxy."""

from __future__ import annotations

from watchllm_proxy.health import StoresAway, checks
from watchllm_proxy.recorder import RecorderStats


def test_a_recorder_is_not_ready_before_it_has_taken_up_what_the_last_one_left() -> None:
    stats = RecorderStats()
    assert "starting" in (checks(stats, StoresAway())["recorder"] or "")
    stats.is_starting = False
    assert checks(stats, StoresAway())["recorder"] is None
