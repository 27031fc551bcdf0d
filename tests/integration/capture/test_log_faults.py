"""Disks that are full, broken or read-only: captures are shed and counted to the record, and nothing else gives.

The accounting that every test here ends with: appended = accepted + shed, and the accepted ones are read back.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.capture_records import make_exchange, make_record, read_all, segment_names
from tests.integration.capture.small_files import file_size_limit
from watchllm_proxy.capture.committer import Committer
from watchllm_proxy.capture.reader import LogBatch, LogReader
from watchllm_proxy.capture.writer import LogWriter
from watchllm_proxy.errors import CaptureLogError
from watchllm_proxy.outcomes import ShedReason

MIB = 1 << 20


class Disk:
    """Stands between the writer and the real disk: takes `room_bytes` more, or fails with `error_number`.

    Like a real one it takes what fits of a write that does not, and complains at the next.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room_bytes: int | None = None
        self.error_number: int | None = None
        self.sync_error_number: int | None = None
        self._pwritev, self._fdatasync = os.pwritev, os.fdatasync
        monkeypatch.setattr(os, "pwritev", self.pwritev)
        monkeypatch.setattr(os, "fdatasync", self.fdatasync)

    def pwritev(self, fd: int, buffers: Sequence[memoryview], offset: int) -> int:
        if self.error_number is not None:
            raise OSError(self.error_number, os.strerror(self.error_number))
        if self.room_bytes is None:
            return self._pwritev(fd, buffers, offset)
        if self.room_bytes == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fitting = b"".join(buffers)[: self.room_bytes]
        self.room_bytes -= len(fitting)
        return self._pwritev(fd, [fitting], offset)

    def fdatasync(self, fd: int) -> None:
        if self.sync_error_number is not None:
            raise OSError(self.sync_error_number, os.strerror(self.sync_error_number))
        self._fdatasync(fd)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "w0"


async def append_all(writer: LogWriter, bodies: Sequence[bytes]) -> dict[UUID, ShedReason | None]:
    """Append together; what became of each."""
    exchanges = [make_exchange(body) for body in bodies]
    outcomes = await asyncio.gather(*(writer.append_durable(exchange) for exchange in exchanges))
    return {exchange.exchange_id: outcome for exchange, outcome in zip(exchanges, outcomes, strict=True)}


def assert_exact(writer: LogWriter, directory: Path, outcomes: dict[UUID, ShedReason | None]) -> None:
    accepted = [id_ for id_, outcome in outcomes.items() if outcome is None]
    ids, last = read_all(directory)
    assert ids == accepted
    assert last.corrupt_frames == 0
    assert writer.accepted == len(accepted)
    assert writer.shed.total() == len(outcomes) - len(accepted)
    assert writer.buffered_bytes == 0


async def test_a_full_disk_sheds_and_recovers_by_itself(
    disk: Disk, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer = LogWriter(directory, max_bytes=64 * MIB)
    writer.open()
    outcomes = await append_all(writer, [b"before"])
    disk.room_bytes = 3000
    outcomes |= await append_all(writer, [bytes(500)] * 10)
    for _ in range(20):
        outcomes |= await append_all(writer, [b"no room"] * 3)
    assert writer.shed[ShedReason.DISK_FULL] > 60
    disk.room_bytes = None
    after = await append_all(writer, [b"after"] * 3)
    assert set(after.values()) == {None}
    await writer.close()
    assert_exact(writer, directory, outcomes | after)
    assert len(segment_names(directory)) <= 3, "a full disk must not fill with empty segments"
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"], "one line each way"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(
    rooms=st.lists(st.none() | st.integers(0, 6000), min_size=1, max_size=8),
    sizes=st.lists(st.integers(0, 2000), min_size=1, max_size=6),
    segment_bytes=st.sampled_from([1500, 4000, MIB]),
)
def test_counts_are_exact_whenever_the_disk_fills_and_empties(
    disk: Disk,
    tmp_path_factory: pytest.TempPathFactory,
    rooms: list[int | None],
    sizes: list[int],
    segment_bytes: int,
) -> None:
    directory = tmp_path_factory.mktemp("log") / "w0"
    disk.room_bytes = None
    committer = Committer.open(directory, segment_bytes=segment_bytes)
    accepted: list[UUID] = []
    for room_bytes in rooms:
        disk.room_bytes = room_bytes
        exchanges = [make_exchange(bytes(size)) for size in sizes]
        outcomes = committer.commit(
            [make_record(exchange) for exchange in exchanges], seal=room_bytes == 1
        ).outcomes
        assert set(outcomes) <= {None, ShedReason.DISK_FULL}
        accepted += [e.exchange_id for e, outcome in zip(exchanges, outcomes, strict=True) if outcome is None]
        ids, last = read_all(directory)
        assert (ids, last.corrupt_frames) == (accepted, 0)
    committer.close()


@pytest.mark.parametrize("error_number", [errno.EIO, errno.EROFS])
async def test_a_broken_disk_sheds_and_recovers_by_itself(disk: Disk, directory: Path, error_number: int) -> None:
    writer = LogWriter(directory, max_bytes=64 * MIB)
    writer.open()
    outcomes = await append_all(writer, [b"before"])
    disk.error_number = error_number
    during = await append_all(writer, [b"during"] * 5)
    assert set(during.values()) == {ShedReason.IO_ERROR}
    disk.error_number = None
    after = await append_all(writer, [b"after"])
    await writer.close()
    assert_exact(writer, directory, outcomes | during | after)


async def test_a_failed_sync_is_never_taken_for_durable(disk: Disk, directory: Path) -> None:
    """A second fdatasync would succeed without having written anything: the segment is left instead."""
    writer = LogWriter(directory, max_bytes=64 * MIB)
    writer.open()
    outcomes = await append_all(writer, [b"before"])
    first = segment_names(directory)
    disk.sync_error_number = errno.EIO
    during = await append_all(writer, [b"during"] * 5)
    assert set(during.values()) == {ShedReason.IO_ERROR}
    disk.sync_error_number = None
    after = await append_all(writer, [b"after"])
    await writer.close()
    assert_exact(writer, directory, outcomes | during | after)
    assert first < segment_names(directory)


async def test_a_reader_that_saw_bytes_before_their_sync_failed_misses_nothing_after(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = LogWriter(directory, max_bytes=64 * MIB)
    writer.open()
    reader = LogReader(directory)
    seen: list[LogBatch] = []

    def fail_after_the_reader_came(fd: int) -> None:
        seen.append(reader.read(None))
        raise OSError(errno.EIO, "gone")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail_after_the_reader_came)
        assert await writer.append_durable(make_exchange()) is ShedReason.IO_ERROR
    assert len(seen[0].records) == 1
    exchange = make_exchange()
    assert await writer.append_durable(exchange) is None
    await writer.close()
    assert [r.record_id for r in reader.read(seen[0].end).records] == [exchange.exchange_id]


async def test_a_proxy_starts_on_a_full_disk_and_captures_once_there_is_room(disk: Disk, directory: Path) -> None:
    disk.room_bytes = 0
    writer = LogWriter(directory, max_bytes=64 * MIB)
    writer.open()
    outcomes = await append_all(writer, [b"no room"])
    disk.room_bytes = None
    outcomes |= await append_all(writer, [b"room"])
    await writer.close()
    assert list(outcomes.values()) == [ShedReason.DISK_FULL, None]
    assert_exact(writer, directory, outcomes)


def test_a_proxy_on_a_broken_disk_is_told_at_start_and_holds_no_lock(disk: Disk, directory: Path) -> None:
    disk.error_number = errno.EROFS
    with pytest.raises(CaptureLogError, match="cannot be written: Read-only file system"):
        LogWriter(directory, max_bytes=MIB).open()
    disk.error_number = None
    Committer.open(directory, segment_bytes=MIB).close()


async def test_a_write_that_the_kernel_cuts_short_leaves_whole_records_only(directory: Path) -> None:
    writer = LogWriter(directory, max_bytes=64 * MIB)
    writer.open()
    with file_size_limit(5000):
        outcomes = await append_all(writer, [bytes(1000)] * 5)
        assert list(outcomes.values()) == [None] * 3 + [ShedReason.DISK_FULL] * 2
        outcomes |= await append_all(writer, [bytes(10_000)])
        outcomes |= await append_all(writer, [bytes(1000)])
        await writer.close()
    assert list(outcomes.values()) == [None] * 3 + [ShedReason.DISK_FULL] * 3 + [None]
    assert_exact(writer, directory, outcomes)
    assert len(segment_names(directory)) == 2


async def test_a_bug_in_the_writers_thread_costs_its_group_only_and_is_told(
    directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    writer = LogWriter(directory, max_bytes=64 * MIB)
    writer.open()
    outcomes = await append_all(writer, [b"before"])
    with monkeypatch.context() as patch:
        patch.setattr("watchllm_proxy.capture.frames.encode_frame_header", lambda *_: 1 / 0)
        broken = await append_all(writer, [b"secret words"] * 2)
    assert set(broken.values()) == {ShedReason.INVALID}
    assert "ZeroDivisionError" in caplog.text
    outcomes |= broken | await append_all(writer, [b"after"])
    await writer.close()
    assert_exact(writer, directory, outcomes)
