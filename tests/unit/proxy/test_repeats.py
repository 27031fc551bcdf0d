"""Repeated warnings are few, and nothing is silently left out."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from watchllm_proxy.proxy import repeats
from watchllm_proxy.proxy.repeats import RepeatedWarning


def test_a_warning_comes_once_in_a_while_and_tells_what_was_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1000.0
    monkeypatch.setattr(repeats.time, "monotonic", lambda: now_s)
    warnings = RepeatedWarning()
    with capture_logs() as lines:
        for _ in range(500):
            warnings.warn("failed", "stalled", exchange_id="1")
        warnings.warn("failed", "broken")
        now_s += repeats.INTERVAL_S
        warnings.warn("failed", "stalled")
    assert [(line["kind"], line["left_out"]) for line in lines] == [("stalled", 0), ("broken", 0), ("stalled", 499)]
