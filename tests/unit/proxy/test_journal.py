"""Repeated warnings are few, and nothing is silently left out."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from watchllm_proxy.proxy import journal
from watchllm_proxy.proxy.journal import RepeatedWarning, report_bug


def test_a_warning_comes_once_in_a_while_and_tells_what_was_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1000.0
    monkeypatch.setattr(journal.time, "monotonic", lambda: now_s)
    warnings = RepeatedWarning()
    with capture_logs() as lines:
        for _ in range(500):
            warnings.warn("failed", "stalled", exchange_id="1")
        warnings.warn("failed", "broken")
        now_s += journal.INTERVAL_S
        warnings.warn("failed", "stalled")
    assert [(line["kind"], line["left_out"]) for line in lines] == [
        ("stalled", 0),
        ("broken", 0),
        ("stalled", 499),
    ]


def test_a_bug_is_told_without_its_words_and_values() -> None:
    def fail(secret: str) -> None:
        raise ValueError(secret)

    with capture_logs() as lines:
        try:
            fail("canary")
        except ValueError as exc:
            report_bug(exc, exchange_id="7")
    assert (lines[0]["error"], lines[0]["exchange_id"]) == ("ValueError", "7")
    assert "in fail" in "".join(lines[0]["trace"])
    assert "canary" not in "".join(lines[0]["trace"]).replace('fail("canary")', "")
