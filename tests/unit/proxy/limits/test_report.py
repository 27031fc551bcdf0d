"""What the stores know, on its way to the workers: whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from watchllm_proxy.proxy.limits.report import NOTHING_KNOWN, UsageReport, changed_at, read_report, write_report

REPORT = UsageReport("2026-11", {"acme": 12, "other": 0}, frozenset({"acme"}), frozenset({"key-1", "key-2"}))


def test_a_report_arrives_as_it_was_written(tmp_path: Path) -> None:
    directory = tmp_path / "usage"
    assert changed_at(directory) is None
    assert read_report(directory) == NOTHING_KNOWN
    for report in (REPORT, NOTHING_KNOWN):
        write_report(directory, report)
        assert read_report(directory) == report
        assert changed_at(directory) is not None
    assert [path.name for path in directory.iterdir()] == ["report.json"]


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"month": "2026-11"}', '{"month": 1, "elsewhere": []}', "nonsense"]
)
def test_what_is_no_report_is_said_to_be_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "report.json").write_text(content)
    with pytest.raises(ValueError, match=r".*"):
        read_report(tmp_path)
