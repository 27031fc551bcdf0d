"""The writer on a real disk: durable, bounded, locked, and exact in what it counts."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import stat
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.capture_records import make_exchange, read_all, segment_names
from watchllm_proxy.capture.reader import LogReader
from watchllm_proxy.capture.writer import LogWriter
from watchllm_proxy.errors import AlreadyRunning, CaptureLogError
from watchllm_proxy.outcomes import ShedReason

MIB = 1 << 20


async def until(condition: Callable[[], bool], step: Callable[[], Awaitable[object]] | None = None) -> None:
    """Wait for a condition; the test's own time limit ends a wait in vain."""
    while not condition():
        if step is not None:
            await step()
        await asyncio.sleep(0.01)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "data" / "capture" / "w0"


@pytest.fixture
async def writer(directory: Path) -> AsyncIterator[LogWriter]:
    writer = LogWriter(directory, max_bytes=64 * MIB)
    writer.open()
    yield writer
    await writer.close()


async def test_what_was_appended_is_read_back_in_order(writer: LogWriter, directory: Path) -> None:
    exchanges = [make_exchange(b"%d" % n) for n in range(500)]
    assert [writer.append(exchange) for exchange in exchanges] == [None] * 500
    await writer.flush()
    assert read_all(directory)[0] == [exchange.exchange_id for exchange in exchanges]
    assert (writer.accepted, writer.shed.total(), writer.buffered_bytes) == (500, 0, 0)


async def test_an_append_becomes_durable_by_itself(writer: LogWriter, directory: Path) -> None:
    writer.append(make_exchange())
    await until(lambda: writer.accepted == 1)
    assert len(read_all(directory)[0]) == 1


async def test_append_durable_returns_once_the_record_is_on_disk(writer: LogWriter, directory: Path) -> None:
    exchange = make_exchange()
    assert await writer.append_durable(exchange) is None
    assert read_all(directory)[0] == [exchange.exchange_id]


async def test_appends_that_wait_together_share_a_sync(writer: LogWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs: list[int] = []
    real_fdatasync = os.fdatasync

    def counted(fd: int) -> None:
        syncs.append(fd)
        real_fdatasync(fd)

    monkeypatch.setattr(os, "fdatasync", counted)
    results = await asyncio.gather(*(writer.append_durable(make_exchange()) for _ in range(200)))
    assert results == [None] * 200
    assert len(syncs) <= 2


async def test_a_big_group_does_not_wait_for_its_interval(directory: Path) -> None:
    writer = LogWriter(directory, max_bytes=64 * MIB, group_interval_s=3600)
    writer.open()
    for _ in range(3):
        writer.append(make_exchange(bytes(MIB // 2)))
    await until(lambda: writer.accepted >= 2)
    await writer.close()
    assert writer.accepted == 3


async def test_a_cancelled_append_durable_harms_nobody(writer: LogWriter) -> None:
    waiting = asyncio.ensure_future(writer.append_durable(make_exchange()))
    await until(lambda: writer.buffered_bytes > 0)
    waiting.cancel()
    assert await writer.append_durable(make_exchange()) is None
    await writer.flush()
    assert (writer.accepted, writer.buffered_bytes) == (2, 0)


async def test_flush_of_nothing_returns_at_once(writer: LogWriter) -> None:
    await writer.flush()
    assert writer.accepted == 0


async def test_closing_syncs_what_is_buffered_and_later_appends_are_shed(directory: Path) -> None:
    writer = LogWriter(directory, max_bytes=64 * MIB, group_interval_s=3600)
    writer.open()
    exchanges = [make_exchange() for _ in range(20)]
    for exchange in exchanges:
        writer.append(exchange)
    await writer.close()
    await writer.close()
    assert writer.append(make_exchange()) is ShedReason.IO_ERROR
    assert read_all(directory)[0] == [exchange.exchange_id for exchange in exchanges]
    assert (writer.accepted, dict(writer.shed)) == (20, {ShedReason.IO_ERROR: 1})


async def test_files_and_directories_are_private(writer: LogWriter, directory: Path, tmp_path: Path) -> None:
    await writer.append_durable(make_exchange())
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
    assert len(modes) == 3, "lock, counts, segment"
    assert set(modes.values()) == {0o600}
    made = [directory, directory.parent, directory.parent.parent]
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o700}


async def test_a_second_writer_is_told_who_has_the_directory(writer: LogWriter, directory: Path) -> None:
    with pytest.raises(AlreadyRunning, match=f"process {os.getpid()}"):
        LogWriter(directory, max_bytes=MIB).open()
    await writer.close()
    second = LogWriter(directory, max_bytes=MIB)
    second.open()
    await second.close()


async def test_a_directory_that_cannot_be_made_is_told_at_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CaptureLogError, match="cannot be opened"):
        LogWriter(tmp_path / "file" / "w0", max_bytes=MIB).open()


async def test_a_full_segment_is_followed_by_the_next(directory: Path) -> None:
    writer = LogWriter(directory, max_bytes=64 * MIB, segment_bytes=10_000)
    writer.open()
    exchanges = [make_exchange(bytes(1000 * (n % 5))) for n in range(40)]
    exchanges.insert(20, make_exchange(bytes(50_000)))  # larger than a segment: it has one of its own
    for exchange in exchanges:
        writer.append(exchange)
    await writer.close()
    assert read_all(directory)[0] == [exchange.exchange_id for exchange in exchanges]
    sizes = sorted(path.stat().st_size for path in directory.glob("*.log"))
    assert len(sizes) > 8
    assert sizes[-1] > 50_000
    assert sizes[-2] <= 10_000
    assert writer.bytes_on_disk == sum(sizes)


async def test_a_writer_leaves_the_segments_of_its_predecessor_as_they_are(directory: Path) -> None:
    ids = []
    for _ in range(3):
        writer = LogWriter(directory, max_bytes=64 * MIB)
        writer.open()
        exchange = make_exchange()
        await writer.append_durable(exchange)
        ids.append(exchange.exchange_id)
        before = {path.name: path.read_bytes() for path in directory.glob("*.log")}
        await writer.close()
        assert {path.name: path.read_bytes() for path in directory.glob("*.log")} == before
    assert read_all(directory)[0] == ids
    assert len(segment_names(directory)) == 3


async def test_a_directory_made_anew_continues_behind_all_old_positions(directory: Path) -> None:
    """The recorder's offset lives in a database; the log's disk may be lost without it."""
    writer = LogWriter(directory, max_bytes=64 * MIB)
    writer.open()
    await writer.append_durable(make_exchange())
    await writer.close()
    old_end = LogReader(directory).read(None).end
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()
    await until(lambda: time.time() > old_end.segment + 1)  # nobody replaces a disk within the same second
    exchange = make_exchange()
    writer = LogWriter(directory, max_bytes=64 * MIB)
    writer.open()
    await writer.append_durable(exchange)
    await writer.close()
    assert read_all(directory, old_end)[0] == [exchange.exchange_id]


async def test_the_buffer_is_bounded_and_what_it_refuses_is_counted(directory: Path) -> None:
    writer = LogWriter(directory, max_bytes=64 * MIB, buffer_bytes=100_000, group_interval_s=3600)
    writer.open()
    results = [writer.append(make_exchange(bytes(10_000))) for _ in range(30)]
    assert set(results) == {None, ShedReason.BUFFER_FULL}
    assert writer.buffered_bytes <= 100_000
    await writer.flush()
    assert writer.append(make_exchange(bytes(10_000))) is None
    await writer.close()
    assert writer.accepted == results.count(None) + 1
    assert writer.shed == {ShedReason.BUFFER_FULL: results.count(ShedReason.BUFFER_FULL)}


async def test_a_record_beyond_the_whole_buffer_is_too_large(directory: Path) -> None:
    writer = LogWriter(directory, max_bytes=64 * MIB, buffer_bytes=100_000)
    writer.open()
    assert writer.append(make_exchange(bytes(100_000))) is ShedReason.TOO_LARGE
    await writer.close()
    assert writer.shed == {ShedReason.TOO_LARGE: 1}


async def test_a_record_that_cannot_be_packed_costs_itself_only(writer: LogWriter, directory: Path) -> None:
    good = [make_exchange() for _ in range(2)]
    bad = dataclasses.replace(make_exchange(), started_at_us=2**80)
    results = await asyncio.gather(*(writer.append_durable(each) for each in (good[0], bad, good[1])))
    assert results == [None, ShedReason.INVALID, None]
    assert read_all(directory)[0] == [exchange.exchange_id for exchange in good]


async def test_a_full_log_sheds_and_goes_on_when_the_reader_has_released(directory: Path) -> None:
    """Also the segment being written is given up to the reader, for nothing else may be left to release."""
    writer = LogWriter(directory, max_bytes=100_000, segment_bytes=64 * MIB)
    writer.open()
    appended = 0
    while writer.append(make_exchange(bytes(10_000))) is None:
        appended += 1
        await writer.flush()
    assert writer.shed == {ShedReason.LOG_FULL: 1}
    assert writer.bytes_on_disk <= 100_000

    reader = LogReader(directory)
    ids, batch = read_all(directory)
    assert len(ids) == appended

    async def release() -> None:
        nonlocal batch
        batch = reader.read(batch.end)
        reader.release(batch.end)

    await until(lambda: writer.append(make_exchange(bytes(10_000))) is None, release)
    await writer.close()
    assert writer.accepted == appended + 1
    assert len(read_all(directory, batch.end)[0]) == 1
    assert len(segment_names(directory)) <= 2


async def test_an_idle_segment_is_ended_so_that_its_records_can_be_deleted(directory: Path) -> None:
    writer = LogWriter(directory, max_bytes=64 * MIB, segment_age_s=0.05)
    writer.open()
    await writer.append_durable(make_exchange())
    await until(lambda: len(segment_names(directory)) == 2)
    _, batch = read_all(directory)
    LogReader(directory).release(batch.end)
    assert len(segment_names(directory)) == 1
    assert LogReader(directory).depth_bytes(None) < 100
    await writer.append_durable(make_exchange())
    await until(lambda: len(segment_names(directory)) == 2)
    await writer.close()
