"""The reader beside a living writer, across segments, after crashes and power losses."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.capture_records import make_exchange, make_record, read_all, segment_names
from watchllm_proxy.capture.committer import Committer
from watchllm_proxy.capture.frames import SEGMENT_HEADER_BYTES
from watchllm_proxy.capture.payload import unpack
from watchllm_proxy.capture.reader import LogReader
from watchllm_proxy.capture.writer import LogWriter
from watchllm_proxy.errors import CaptureLogError
from watchllm_proxy.records import LogPosition

MIB = 1 << 20


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "w0"


@pytest.fixture
def committer(directory: Path) -> Iterator[Committer]:
    """The writer's disk side alone: what one commit wrote is there when it returns."""
    committer = Committer.open(directory, segment_bytes=64 * MIB)
    yield committer
    committer.close()


@pytest.fixture
async def writer(directory: Path) -> AsyncIterator[LogWriter]:
    writer = LogWriter(directory, max_bytes=64 * MIB, segment_bytes=8000)
    writer.open()
    yield writer
    await writer.close()


def commit(committer: Committer, *bodies: bytes) -> list[UUID]:
    exchanges = [make_exchange(body) for body in bodies]
    assert set(committer.commit([make_record(exchange) for exchange in exchanges]).outcomes) <= {None}
    return [exchange.exchange_id for exchange in exchanges]


def newest(directory: Path) -> Path:
    return directory / segment_names(directory)[-1]


def test_a_log_that_is_not_there_or_empty_gives_an_empty_batch(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "missing"):
        reader = LogReader(directory)
        for start in (None, LogPosition(7, 99)):
            batch = reader.read(start)
            assert (batch.records, batch.corrupt_frames) == ((), 0)
            assert batch.end == (start or LogPosition(0, 0))
            assert reader.depth_bytes(start) == 0
        reader.release(LogPosition(7, 99))


async def test_a_reader_follows_a_living_writer(writer: LogWriter, directory: Path) -> None:
    reader = LogReader(directory)
    position: LogPosition | None = None
    sent: list[UUID] = []
    got: list[UUID] = []
    for n in range(300):
        exchange = make_exchange(bytes(n * 7))
        writer.append(exchange)
        sent.append(exchange.exchange_id)
        if n % 7 == 0:
            await writer.flush()
        if n % 5 == 0:
            batch = reader.read(position, max_records=20)
            got += [record.record_id for record in batch.records]
            assert batch.corrupt_frames == 0
            position = batch.end
            reader.release(position)
    await writer.flush()
    rest, last = read_all(directory, position)
    assert got + rest == sent
    assert reader.depth_bytes(last.end) == 0


async def test_a_payload_is_the_exchange_that_was_appended(writer: LogWriter, directory: Path) -> None:
    exchange = make_exchange(b"question", b"answer")
    await writer.append_durable(exchange)
    (record,) = LogReader(directory).read(None).records
    assert unpack(record.payload) == exchange
    assert type(record.payload) is bytes


def test_a_frame_on_its_way_is_not_there_yet(committer: Committer, directory: Path) -> None:
    """At every length that the last write can be caught at; nothing of it is counted as damage."""
    first = commit(committer, b"first")
    settled = newest(directory).read_bytes()
    second = commit(committer, b"second")
    whole = newest(directory).read_bytes()
    reader = LogReader(directory)
    for length in range(len(settled), len(whole)):
        os.truncate(newest(directory), length)
        batch = reader.read(None)
        assert [record.record_id for record in batch.records] == first
        assert (batch.end.offset_bytes, batch.corrupt_frames) == (len(settled), 0)
        newest(directory).write_bytes(whole)
        assert [record.record_id for record in reader.read(batch.end).records] == second


def test_frames_that_come_while_a_segment_is_read_are_left_for_the_next_time(
    committer: Committer, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a header read, and the frame behind it found a moment later: that once counted as damage between."""
    _, second, third = commit(committer, b"first", b"second", b"third")
    whole = newest(directory).read_bytes()
    reader = LogReader(directory)
    second_position = reader.read(None).records[1].position
    real_pread = os.pread

    def pread_before_the_writer_goes_on(fd: int, count: int, offset: int) -> bytes:
        content = real_pread(fd, count, offset)
        if offset > 0:  # the frame's own header, not the segment's
            newest(directory).write_bytes(whole)
        return content

    for length in range(second_position.offset_bytes, len(whole)):
        os.truncate(newest(directory), length)
        with monkeypatch.context() as patch:
            patch.setattr(os, "pread", pread_before_the_writer_goes_on)
            batch = reader.read(second_position)
        newest(directory).write_bytes(whole)
        rest = reader.read(batch.end)
        ids = [record.record_id for record in (*batch.records, *rest.records)]
        assert (ids, batch.corrupt_frames, rest.corrupt_frames) == ([second, third], 0, 0), f"at {length}"


def test_a_torn_tail_of_an_earlier_segment_is_stepped_over_and_counted(directory: Path) -> None:
    committer = Committer.open(directory, segment_bytes=MIB)
    kept = commit(committer, b"kept")
    commit(committer, b"torn")
    committer.close()
    os.truncate(newest(directory), newest(directory).stat().st_size - 1)
    assert LogReader(directory).read(None).corrupt_frames == 0
    successor = Committer.open(directory, segment_bytes=MIB)
    kept += commit(successor, b"later")
    successor.close()
    batch = LogReader(directory).read(None)
    assert [record.record_id for record in batch.records] == kept
    assert batch.corrupt_frames == 1


@pytest.mark.parametrize("left_bytes", [0, 1, 32, 40])
def test_after_a_power_loss_took_unsynced_bytes_the_reader_goes_on_at_the_next_segment(
    directory: Path, left_bytes: int
) -> None:
    """The reader may have been there already: pages are readable before they are synced."""
    committer = Committer.open(directory, segment_bytes=MIB)
    commit(committer, b"one", b"two")
    noted = LogReader(directory).read(None).end
    os.truncate(newest(directory), left_bytes)
    committer.close()
    waiting = LogReader(directory).read(noted)
    assert (waiting.records, waiting.end) == ((), noted)
    successor = Committer.open(directory, segment_bytes=MIB)
    later = commit(successor, b"later")
    successor.close()
    ids, _ = read_all(directory, noted)
    assert ids == later


def test_the_end_moves_to_the_next_segment_as_soon_as_there_is_one(committer: Committer, directory: Path) -> None:
    commit(committer, b"one")
    reader = LogReader(directory)
    first_segment = reader.read(None).end.segment
    committer.commit([], seal=True)
    batch = reader.read(None)
    assert batch.end == LogPosition(first_segment + 1, SEGMENT_HEADER_BYTES)
    reader.release(batch.end)
    assert len(segment_names(directory)) == 1


def test_release_deletes_what_lies_before_and_never_the_newest(committer: Committer, directory: Path) -> None:
    for n in range(4):
        commit(committer, b"%d" % n)
        if n < 3:
            committer.commit([], seal=True)
    reader = LogReader(directory)
    names = segment_names(directory)
    records = reader.read(None).records
    reader.release(records[2].position)
    assert segment_names(directory) == names[2:]
    assert [record.record_id for record in reader.read(None).records] == [r.record_id for r in records[2:]]
    reader.release(LogPosition(2**50, 0))
    assert segment_names(directory) == names[3:]


def test_a_start_in_a_segment_that_is_gone_goes_on_at_the_next(committer: Committer, directory: Path) -> None:
    commit(committer, b"one")
    start = LogReader(directory).read(None).end
    committer.commit([], seal=True)
    later = commit(committer, b"two")
    (directory / segment_names(directory)[0]).unlink()
    assert [record.record_id for record in LogReader(directory).read(start).records] == later


def test_depth_is_what_is_still_to_be_read(committer: Committer, directory: Path) -> None:
    commit(committer, b"one", b"two")
    committer.commit([], seal=True)
    commit(committer, b"three")
    reader = LogReader(directory)
    sizes = [(directory / name).stat().st_size for name in segment_names(directory)]
    assert reader.depth_bytes(None) == sum(sizes)
    assert reader.depth_bytes(LogPosition(0, 0)) == sum(sizes)
    second = reader.read(None).records[1].position
    assert reader.depth_bytes(second) == sum(sizes) - second.offset_bytes
    assert reader.depth_bytes(reader.read(None).end) == 0


def test_the_first_record_comes_whatever_its_size(committer: Committer, directory: Path) -> None:
    big, small = commit(committer, bytes(100_000), b"small")
    reader = LogReader(directory)
    batch = reader.read(None, max_bytes=1)
    assert [record.record_id for record in batch.records] == [big]
    assert [record.record_id for record in reader.read(batch.end, max_bytes=1).records] == [small]


def test_a_segment_of_a_newer_format_stops_the_reader_and_says_so(committer: Committer, directory: Path) -> None:
    commit(committer, b"one")
    header = struct.pack("<8sH6x16s", b"WATCHLLM", 2, bytes(16))
    with newest(directory).open("r+b") as file:
        file.write(header + struct.pack("<I", zlib.crc32(header)))
    with pytest.raises(CaptureLogError, match="format 2; this watchllm reads format 1"):
        LogReader(directory).read(None)


def test_two_segments_of_one_number_are_refused(committer: Committer, directory: Path) -> None:
    name = segment_names(directory)[0]
    (directory / f"{name[:13]}{'0' * 32}.log").touch()
    with pytest.raises(CaptureLogError, match="share a number"):
        LogReader(directory).read(None)


def test_files_of_others_in_the_directory_are_let_be(committer: Committer, directory: Path) -> None:
    ids = commit(committer, b"one")
    (directory / "notes.log").write_text("mine")
    assert read_all(directory)[0] == ids
    LogReader(directory).release(LogPosition(2**50, 0))
    assert (directory / "notes.log").exists()


# --- properties: one log of many segments, with damage in it, for all examples ---


@pytest.fixture
def damaged_log(directory: Path) -> Path:
    """Thirty records in about ten segments; one frame is corrupt, one segment ends torn, one is empty."""
    committer = Committer.open(directory, segment_bytes=3000)
    for n in range(30):
        commit(committer, bytes(n * 17 % 500))
    committer.close()
    names = segment_names(directory)
    assert len(names) > 6
    corrupt = directory / names[1]
    content = bytearray(corrupt.read_bytes())
    content[100] ^= 0xFF
    corrupt.write_bytes(content)
    torn = directory / names[3]
    os.truncate(torn, torn.stat().st_size - 5)
    os.truncate(directory / names[5], 0)
    return directory


on_one_log = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


@on_one_log
@given(max_records=st.integers(1, 40), max_bytes=st.integers(1, 10_000))
def test_batches_of_any_size_give_the_same_records(damaged_log: Path, max_records: int, max_bytes: int) -> None:
    whole = LogReader(damaged_log).read(None)
    assert 15 < len(whole.records) < 30
    assert whole.corrupt_frames == 2
    ids, last = read_all(damaged_log, max_records=max_records, max_bytes=max_bytes)
    assert ids == [record.record_id for record in whole.records]
    assert last.end == whole.end


@on_one_log
@given(data=st.data())
def test_a_batch_read_again_by_its_bounds_is_the_same_batch(damaged_log: Path, data: st.DataObject) -> None:
    reader = LogReader(damaged_log)
    start: LogPosition | None = None
    while True:
        max_records, max_bytes = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 5000))
        batch = reader.read(start, max_records=max_records, max_bytes=max_bytes)
        assert reader.read(start, until=batch.end) == batch
        assert reader.read(start, until=batch.end, max_records=1, max_bytes=1) == batch
        if not batch.records:
            break
        start = batch.end


def test_a_batch_is_the_same_again_when_the_log_has_grown_since(committer: Committer, directory: Path) -> None:
    reader = LogReader(directory)
    commit(committer, b"one", b"two")
    batch = reader.read(None)
    commit(committer, b"three")
    committer.commit([], seal=True)
    commit(committer, b"four")
    assert reader.read(None, until=batch.end) == batch


def test_a_replay_ends_where_it_must_though_a_power_loss_took_its_records(
    committer: Committer, directory: Path
) -> None:
    """Waiting for them would stop the recorder for ever."""
    kept, _ = commit(committer, b"one", b"two")
    reader = LogReader(directory)
    batch = reader.read(None)
    os.truncate(newest(directory), newest(directory).stat().st_size - 1)
    again = reader.read(None, until=batch.end)
    assert [record.record_id for record in again.records] == [kept]
    assert (again.end, again.corrupt_frames) == (batch.end, 1)
