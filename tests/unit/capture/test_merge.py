"""Several logs read as one: in order of time, each log's own order kept, and exactly again by the same bounds."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.capture_records import make_exchange
from watchllm_proxy.capture.merge import MERGE_HOLDBACK_US, Batch, LogSet
from watchllm_proxy.capture.writer import LogWriter

NOW_US = 1_790_000_000_000_000
LATER_US = NOW_US + 60_000_000
EVERYTHING = {"max_records": 1000, "max_bytes": 1 << 30}


def write(root: Path, name: str, ended_at_us: list[int]) -> list[UUID]:
    """A log with one exchange for each instant, in this order; gives their ids."""

    async def append() -> list[UUID]:
        writer = LogWriter(root / name, max_bytes=1 << 30)
        writer.open()
        exchanges = [replace(make_exchange(), started_at_us=at_us, duration_us=0) for at_us in ended_at_us]
        for exchange in exchanges:
            assert writer.append(exchange) is None
        await writer.close()
        return [exchange.exchange_id for exchange in exchanges]

    return asyncio.run(append())


def ids(batch: Batch) -> list[UUID]:
    return [record.record_id for record in batch.records]


def test_records_of_two_logs_come_in_order_of_time(tmp_path: Path) -> None:
    a = write(tmp_path, "w0", [NOW_US, NOW_US + 20])
    b = write(tmp_path, "w1", [NOW_US + 10, NOW_US + 30])
    batch = LogSet(tmp_path).choose({}, LATER_US, **EVERYTHING)
    assert ids(batch) == [a[0], b[0], a[1], b[1]]


def test_a_clock_that_stepped_back_does_not_reorder_a_log(tmp_path: Path) -> None:
    a = write(tmp_path, "w0", [NOW_US + 50, NOW_US])
    b = write(tmp_path, "w1", [NOW_US + 60])
    assert ids(LogSet(tmp_path).choose({}, LATER_US, **EVERYTHING)) == [*a, *b]


def test_young_records_wait_for_the_other_log_and_nothing_else_waits(tmp_path: Path) -> None:
    (old,) = write(tmp_path, "w0", [NOW_US])
    (young,) = write(tmp_path, "w1", [LATER_US - MERGE_HOLDBACK_US + 1])
    logs = LogSet(tmp_path)
    first = logs.choose({}, LATER_US, **EVERYTHING)
    assert ids(first) == [old]
    second = logs.choose(first.bounds.ends, LATER_US + MERGE_HOLDBACK_US, **EVERYTHING)
    assert ids(second) == [young]


def test_one_log_alone_waits_for_nobody(tmp_path: Path) -> None:
    written = write(tmp_path, "w0", [NOW_US])
    assert ids(LogSet(tmp_path).choose({}, NOW_US, **EVERYTHING)) == written


def test_a_record_from_the_future_does_not_wait_for_the_clock(tmp_path: Path) -> None:
    write(tmp_path, "w0", [])
    (future,) = write(tmp_path, "w1", [LATER_US + 3_600_000_000])
    assert ids(LogSet(tmp_path).choose({}, LATER_US, **EVERYTHING)) == [future]


def test_no_logs_make_an_empty_batch(tmp_path: Path) -> None:
    batch = LogSet(tmp_path / "capture").choose({}, NOW_US, **EVERYTHING)
    assert batch.records == ()
    assert batch.bounds.ends == batch.bounds.starts == {}


times = st.lists(st.integers(NOW_US, NOW_US + 100), max_size=12)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(a=times, b=times, max_records=st.integers(1, 8), cuts=st.integers(0, 3))
def test_bounds_bring_the_same_batch_again_and_so_do_those_of_its_halves(
    tmp_path_factory: object, a: list[int], b: list[int], max_records: int, cuts: int
) -> None:
    root: Path = tmp_path_factory.mktemp("logs")  # type: ignore[attr-defined]
    written = set(write(root, "w0", a)) | set(write(root, "w1", b))
    logs, seen, position = LogSet(root), [], {}
    while True:
        batch = logs.choose(position, LATER_US, max_records=max_records, max_bytes=1 << 30)
        if not batch.records:
            break
        assert logs.read_again(batch.bounds).records == batch.records
        part = batch
        for _ in range(cuts):
            first, second = map(logs.read_again, part.halves())
            assert len(first.records) == len(part.records) // 2
            assert sorted(ids(first) + ids(second)) == sorted(ids(part))
            assert logs.read_again(second.bounds).records == second.records
            part = second
        seen += ids(batch)
        position = batch.bounds.ends
    assert len(seen) == len(written)
    assert set(seen) == written
