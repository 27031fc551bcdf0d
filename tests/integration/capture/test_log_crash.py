"""A writer that died is followed by one that finds what it had taken, wherever its commit was."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import UUID

import pytest

from tests.capture_records import make_exchange, make_record, read_all, segment_names
from watchllm_proxy import crash_points
from watchllm_proxy.capture.committer import Committer, Record, _lay_out
from watchllm_proxy.capture.crash_buffer import FILE_NAME
from watchllm_proxy.capture.reader import LogReader
from watchllm_proxy.capture.writer import LogWriter
from watchllm_proxy.errors import CaptureLogError
from watchllm_proxy.outcomes import ShedReason
from watchllm_proxy.records import LogPosition

MIB = 1 << 20


class Dead(BaseException):
    """The process is killed here."""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "w0"


@pytest.fixture
def shared_memory(tmp_path: Path) -> Path:
    place = tmp_path / "shm"
    place.mkdir()
    return place


@pytest.fixture
def committer(directory: Path, shared_memory: Path) -> Committer:
    """Dies in the test."""
    return Committer.open(directory, segment_bytes=3000, shared_memory=shared_memory)


def die(committer: Committer) -> None:
    """What the kernel does for a process that is gone; and nothing that a process would do itself."""
    committer.buffer.close(is_done=False)
    committer._lock.release()


def kept(committer: Committer, bodies: int) -> list[Record]:
    records = []
    for n in range(bodies):
        record = make_record(make_exchange(b"%d" % n))
        slot = committer.buffer.keep(record.record_id, record.payload, record.payload_bytes)
        assert slot is not None
        records.append(record._replace(slot=slot))
    return records


def ids(records: list[Record]) -> list[UUID]:
    return [record.record_id for record in records]


def reopen(directory: Path, shared_memory: Path) -> list[ShedReason | None]:
    """The next process, which ends as it should."""
    successor = Committer.open(directory, segment_bytes=3000, shared_memory=shared_memory)
    successor.close()
    assert list(shared_memory.iterdir()) == []
    return successor.recovered


async def test_what_was_appended_and_never_committed_is_there_after_the_restart(
    directory: Path, shared_memory: Path
) -> None:
    first = LogWriter(directory, max_bytes=64 * MIB, group_interval_s=3600, shared_memory=shared_memory)
    first.open()
    exchanges = [make_exchange(b"%d" % n) for n in range(100)]
    assert {first.append(exchange) for exchange in exchanges} == {None}
    assert read_all(directory)[0] == []
    die(first._committer)

    second = LogWriter(directory, max_bytes=64 * MIB, shared_memory=shared_memory)
    second.open()
    assert read_all(directory)[0] == [exchange.exchange_id for exchange in exchanges]
    assert (second.recovered, second.accepted, second.shed.total()) == (100, 100, 0)
    later = make_exchange()
    await second.append_durable(later)
    await second.close()
    assert read_all(directory)[0][100:] == [later.exchange_id]
    assert second.unprotected == 0


@pytest.mark.parametrize("point", ["capture.written", "capture.synced", "capture.segment_created"])
@pytest.mark.parametrize("is_released", [False, True])
def test_a_commit_cut_anywhere_is_finished_and_not_repeated(
    committer: Committer,
    directory: Path,
    shared_memory: Path,
    monkeypatch: pytest.MonkeyPatch,
    point: str,
    is_released: bool,
) -> None:
    """Also when a reader was quick and what it read is deleted already."""
    records = kept(committer, 20)  # of several segments
    committer.buffer.swap()
    committer._abandon = lambda: None  # type: ignore[method-assign] # the dead do not tidy up
    left = 2

    def count_down() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Dead

    monkeypatch.setitem(crash_points._armed, point, count_down)
    with pytest.raises(Dead):
        committer.commit(records)
    monkeypatch.delitem(crash_points._armed, point)
    got, last = read_all(directory)
    assert 0 < len(got) < 20
    if is_released:
        LogReader(directory).release(last.end)
    die(committer)

    assert reopen(directory, shared_memory) == [None] * (20 - len(got))
    assert got + read_all(directory, last.end)[0] == ids(records)


def test_a_commit_that_was_done_is_not_repeated(
    committer: Committer, directory: Path, shared_memory: Path
) -> None:
    records = kept(committer, 20)
    committer.buffer.swap()
    committer.commit(records)
    later = kept(committer, 3)
    die(committer)
    assert reopen(directory, shared_memory) == [None] * 3
    assert read_all(directory)[0] == ids(records) + ids(later)


@pytest.mark.parametrize("point", ["capture.segment_created", "capture.written", "capture.synced"])
def test_a_successor_that_dies_while_it_recovers_is_no_loss_either(
    committer: Committer, directory: Path, shared_memory: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """Some of the records were in the log, in a segment that is deleted between the two attempts."""
    records = kept(committer, 3)
    assert committer._active is not None
    committer._active.append(*_lay_out(committer._active, records[:1], 3000))  # and not settled yet
    die(committer)

    def dead() -> None:
        raise Dead

    monkeypatch.setitem(crash_points._armed, point, dead)
    with pytest.raises(Dead):
        Committer.open(directory, segment_bytes=3000, shared_memory=shared_memory)
    monkeypatch.delitem(crash_points._armed, point)
    got, last = read_all(directory)
    LogReader(directory).release(last.end)
    assert len(segment_names(directory)) == 1

    reopen(directory, shared_memory)
    assert got + read_all(directory, last.end)[0] == ids(records)


def test_where_nobody_can_tell_what_is_in_the_log_the_rest_is_shed_and_counted(
    committer: Committer, directory: Path, shared_memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(committer, 3)
    die(committer)

    def unreadable(_: object) -> set[UUID]:
        raise CaptureLogError("a newer format")

    monkeypatch.setattr("watchllm_proxy.capture.committer.ids_of", unreadable)
    assert reopen(directory, shared_memory) == [ShedReason.IO_ERROR] * 3
    assert read_all(directory)[0] == []


def test_a_directory_that_was_made_anew_gets_nothing_of_its_namesake(
    committer: Committer, directory: Path, shared_memory: Path
) -> None:
    kept(committer, 3)
    die(committer)
    for path in directory.iterdir():
        path.unlink()
    assert reopen(directory, shared_memory) == []
    assert read_all(directory, LogPosition(0, 0))[0] == []


async def test_without_shared_memory_the_log_directory_serves(directory: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "not there"
    first = LogWriter(directory, max_bytes=64 * MIB, group_interval_s=3600, shared_memory=elsewhere)
    first.open()
    assert first.crash_buffer_path == directory / FILE_NAME
    exchange = make_exchange()
    first.append(exchange)
    die(first._committer)
    second = LogWriter(directory, max_bytes=64 * MIB, shared_memory=elsewhere)
    second.open()
    await second.close()
    assert read_all(directory)[0] == [exchange.exchange_id]
    assert not (directory / FILE_NAME).exists()


async def test_what_has_no_room_in_the_crash_buffer_is_taken_all_the_same_and_counted(
    directory: Path, shared_memory: Path
) -> None:
    writer = LogWriter(directory, max_bytes=256 * MIB, group_interval_s=3600, shared_memory=shared_memory)
    writer.open()
    big = make_exchange(bytes(17 * MIB))
    assert writer.append(big) is None
    small = make_exchange()
    assert writer.append(small) is None
    assert writer.unprotected == 1
    await writer.close()
    assert read_all(directory)[0] == [big.exchange_id, small.exchange_id]


async def test_protected_records_stay_so_over_many_commits(directory: Path, shared_memory: Path) -> None:
    writer = LogWriter(directory, max_bytes=64 * MIB, group_interval_s=0.0001, shared_memory=shared_memory)
    writer.open()
    for n in range(300):
        writer.append(make_exchange(bytes(1000 * (n % 50))))
        if n % 7 == 0:
            await asyncio.sleep(0.001)
    assert writer.unprotected == 0
    await writer.close()
    assert writer.accepted == 300
