"""Counts of a worker: seen by others as they grow, kept over its death, and never a reason to fail."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchllm_proxy.proxy.limits.counts import (
    Counted,
    DayCounts,
    SiblingCounts,
    Usage,
    WorkerCounts,
    read_snapshot,
)
from watchllm_proxy.proxy.limits.months import DAY_S, Month

NOVEMBER = Month(2026, 11)


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def usage_of(directory: Path, worker: str, now_s: float) -> Usage:
    opened = Usage(directory, worker)
    opened.open(now_s)
    return opened


def totals(path: Path) -> dict[tuple[str, date], tuple[int, ...]]:
    found = read_snapshot(path, NOVEMBER)
    assert found is not None
    return {(each.project_id, each.day): each.counts for each in found.days}


def test_each_outcome_is_counted_by_project_and_day(tmp_path: Path) -> None:
    counts = WorkerCounts(tmp_path / "w0", NOVEMBER)
    counts.count("acme", 1, Counted.PASSED)
    counts.count("acme", 1, Counted.PASSED, Counted.PASSED_OVER_QUOTA)
    counts.count("acme", 2, Counted.PASSED)
    for outcome in (Counted.REFUSED_QUOTA, Counted.REFUSED_RATE, Counted.REFUSED_CAP, Counted.REFUSED_SHARE):
        counts.count("other", 30, outcome)
    assert (counts.passed("acme"), counts.passed("other"), counts.passed("nobody")) == (3, 0, 0)
    assert totals(tmp_path / "w0") == {
        ("acme", date(2026, 11, 1)): (2, 1, 0, 0, 0, 0),
        ("acme", date(2026, 11, 2)): (1, 0, 0, 0, 0, 0),
        ("other", date(2026, 11, 30)): (0, 0, 1, 1, 1, 1),
    }


def test_a_worker_that_died_goes_on_where_it_was_under_the_same_id(tmp_path: Path) -> None:
    first = WorkerCounts(tmp_path / "w0", NOVEMBER)
    first.count("acme", 1, Counted.PASSED)
    first.count("acme", 2, Counted.PASSED)
    before = read_snapshot(tmp_path / "w0", NOVEMBER)
    second = WorkerCounts(tmp_path / "w0", NOVEMBER)  # the first was never closed
    second.count("acme", 2, Counted.PASSED)
    after = read_snapshot(tmp_path / "w0", NOVEMBER)
    assert second.passed("acme") == 3
    assert before is not None
    assert after is not None
    assert after.source == before.source
    assert [each.counts[Counted.PASSED] for each in after.days] == [1, 2]


def test_a_file_made_anew_counts_under_another_id(tmp_path: Path) -> None:
    sources = set()
    for _ in range(2):
        WorkerCounts(tmp_path / "w0", NOVEMBER).count("acme", 1, Counted.PASSED)
        found = read_snapshot(tmp_path / "w0", NOVEMBER)
        assert found is not None
        sources.add(found.source)
        (tmp_path / "w0").unlink()
    assert len(sources) == 2


@pytest.mark.parametrize(
    "damage", [b"", b"WLUSAGE1", b"x" * 32_768, b"\0" * 32_768], ids=["empty", "cut", "x", "zeros"]
)
def test_a_damaged_file_is_begun_anew(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "w0").write_bytes(damage)
    counts = WorkerCounts(tmp_path / "w0", NOVEMBER)
    counts.count("acme", 1, Counted.PASSED)
    assert totals(tmp_path / "w0") == {("acme", date(2026, 11, 1)): (1, 0, 0, 0, 0, 0)}


def test_a_file_of_another_month_is_not_taken_for_this_ones(tmp_path: Path) -> None:
    WorkerCounts(tmp_path / "w0", NOVEMBER).count("acme", 1, Counted.PASSED)
    assert read_snapshot(tmp_path / "w0", NOVEMBER.next) is None
    with pytest.raises(ValueError, match="month"):
        SiblingCounts(tmp_path / "w0", NOVEMBER.next)
    assert WorkerCounts(tmp_path / "w0", NOVEMBER.next).passed("acme") == 0


def test_another_worker_sees_each_request_at_once_however_many_projects_there_are(tmp_path: Path) -> None:
    own, seen = WorkerCounts(tmp_path / "w0", NOVEMBER), SiblingCounts(tmp_path / "w0", NOVEMBER)
    for number in range(1_000):  # beyond the first file's room, twice
        own.count(f"project-{number}", 1, Counted.PASSED)
        if seen.is_outgrown:
            seen = SiblingCounts(tmp_path / "w0", NOVEMBER)
        assert seen.passed(f"project-{number}") == 1
    own.count("project-0", 2, Counted.PASSED)
    assert seen.passed("project-0") == 2
    assert seen.passed("nobody") == 0
    assert len(totals(tmp_path / "w0")) == 1_001
    assert WorkerCounts(tmp_path / "w0", NOVEMBER).passed("project-999") == 1


def test_without_room_on_the_disk_it_counts_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    early = WorkerCounts(tmp_path / "w0", NOVEMBER)
    monkeypatch.setattr(os, "posix_fallocate", full)
    for number in range(600):
        early.count(f"project-{number}", 1, Counted.PASSED)
    assert {early.passed(f"project-{number}") for number in range(600)} == {1}
    late = WorkerCounts(tmp_path / "w1", NOVEMBER)
    late.count("acme", 1, Counted.PASSED)
    assert late.passed("acme") == 1
    assert not (tmp_path / "w1").exists()


def test_where_no_directory_can_be_made_it_counts_in_memory(tmp_path: Path) -> None:
    (tmp_path / "2026-11").write_text("in the way")
    usage = usage_of(tmp_path, "w0", at("2026-11-05T12:00:00"))
    usage.count(at("2026-11-05T12:00:00"), "acme", Counted.PASSED)
    assert usage.passed(at("2026-11-05T12:00:00"), "acme") == 1


# --- workers of one machine -------------------------------------------------------------------------


def test_the_machines_total_is_that_of_all_its_workers_gone_ones_too(tmp_path: Path) -> None:
    now = at("2026-11-05T12:00:00")
    gone = usage_of(tmp_path, "w2", now)
    gone.count(now, "acme", Counted.PASSED)
    first, second = usage_of(tmp_path, "w0", now), usage_of(tmp_path, "w1", now)
    first.look_around(now)
    for worker in (first, second, first):
        worker.count(now, "acme", Counted.PASSED)
    assert first.passed(now, "acme") == second.passed(now, "acme") == 4


def test_a_month_begins_at_nothing_for_each_worker_at_its_own_first_request(tmp_path: Path) -> None:
    """The race at the turn: one worker is over it, the other is not yet; each counts as its clock says."""
    before, after = at("2026-11-30T23:59:59.9"), at("2026-12-01T00:00:00.1")
    first, second = usage_of(tmp_path, "w0", before), usage_of(tmp_path, "w1", before)
    for worker in (first, second, first):
        worker.look_around(before)
    for _ in range(3):
        first.count(before, "acme", Counted.PASSED)
        second.count(before, "acme", Counted.PASSED)
    assert first.passed(after, "acme") == 0
    first.count(after, "acme", Counted.PASSED)
    second.count(before, "acme", Counted.PASSED)
    assert second.passed(before, "acme") == 7
    assert second.passed(after, "acme") == 1
    second.count(after, "acme", Counted.PASSED)
    assert first.passed(after, "acme") == 2
    assert totals(tmp_path / "2026-11" / "w1") == {("acme", date(2026, 11, 30)): (4, 0, 0, 0, 0, 0)}


def test_the_next_months_file_is_there_before_its_first_request(tmp_path: Path) -> None:
    usage = usage_of(tmp_path, "w0", at("2026-11-30T23:50:00"))
    usage.look_around(at("2026-11-30T23:58:59"))
    assert not (tmp_path / "2026-12").exists()
    usage.look_around(at("2026-11-30T23:59:01"))
    assert (tmp_path / "2026-12" / "w0").exists()
    assert usage.month == NOVEMBER


def test_a_clock_that_is_put_back_counts_where_it_says(tmp_path: Path) -> None:
    usage = usage_of(tmp_path, "w0", at("2026-12-01T00:00:01"))
    usage.count(at("2026-12-01T00:00:01"), "acme", Counted.PASSED)
    usage.count(at("2026-11-30T23:59:59"), "acme", Counted.PASSED)
    usage.count(at("2026-12-01T00:00:02"), "acme", Counted.PASSED)
    assert usage.passed(at("2026-12-01T00:00:02"), "acme") == 2
    assert usage.passed(at("2026-11-30T23:59:59"), "acme") == 1


def test_what_is_no_workers_file_is_passed_over(tmp_path: Path) -> None:
    now = at("2026-11-05T12:00:00")
    usage = usage_of(tmp_path, "w0", now)
    (tmp_path / "2026-11" / "notes").write_text("not a count")
    (tmp_path / "2026-11" / "directory").mkdir()
    usage.look_around(now)
    assert usage.passed(now, "acme") == 0


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 40 * DAY_S), st.sampled_from(Counted)), max_size=60),
    st.integers(0, 60),
)
def test_any_requests_in_any_order_add_up_over_a_restart(
    tmp_path_factory: pytest.TempPathFactory, requests: list[tuple[str, int, Counted]], restart_after: int
) -> None:
    directory = tmp_path_factory.mktemp("usage")
    start = NOVEMBER.starts_s
    usage = usage_of(directory, "w0", start)
    for number, (project, offset_s, outcome) in enumerate(requests):
        if number == restart_after:
            usage = usage_of(directory, "w0", start + offset_s)
        usage.count(start + offset_s, project, outcome)
    found: dict[tuple[str, date, int], int] = {}
    for month in (NOVEMBER, NOVEMBER.next):
        path = directory / month.name / "w0"
        snapshot = read_snapshot(path, month) if path.exists() else None
        for each in snapshot.days if snapshot else ():
            for outcome in Counted:
                key = (each.project_id, each.day, outcome)
                found[key] = found.get(key, 0) + each.counts[outcome]
    expected: dict[tuple[str, date, int], int] = {}
    for project, offset_s, outcome in requests:
        key = (project, datetime.fromtimestamp(start + offset_s, UTC).date(), outcome)
        expected[key] = expected.get(key, 0) + 1
    assert {key: count for key, count in found.items() if count} == expected


def test_a_days_record_is_what_postgres_gets(tmp_path: Path) -> None:
    WorkerCounts(tmp_path / "w0", NOVEMBER).count("acme", 22, Counted.PASSED)
    found = read_snapshot(tmp_path / "w0", NOVEMBER)
    assert found is not None
    assert found.days == (DayCounts("acme", date(2026, 11, 22), (1, 0, 0, 0, 0, 0)),)


def test_all_directories_are_for_our_user_alone(tmp_path: Path) -> None:
    Usage(tmp_path / "usage", "w0").open(0.0)
    made = [path for path in tmp_path.rglob("*") if path.is_dir()]
    assert {path.stat().st_mode & 0o777 for path in made} == {0o700}
    assert len(made) == 2
