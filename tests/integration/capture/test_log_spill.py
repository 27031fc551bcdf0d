"""Bodies that go to the disk before their exchange ends: recorded whole, then gone; shed where they cannot be."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.capture_records import make_exchange
from tests.integration.capture.small_files import file_size_limit
from watchllm_proxy.capture.payload import unpack
from watchllm_proxy.capture.reader import LogReader
from watchllm_proxy.capture.spill import DIRECTORY, Spill
from watchllm_proxy.capture.writer import LogWriter
from watchllm_proxy.outcomes import ShedReason
from watchllm_proxy.records import Body, Exchange

MIB = 1 << 20
PROJECT = Path(__file__).resolve().parents[3]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "w0"


@pytest.fixture
async def writer(directory: Path) -> AsyncIterator[LogWriter]:
    writer = LogWriter(directory, max_bytes=512 * MIB)
    writer.open()
    yield writer
    await writer.close()


class Released:
    """How much memory a spill said is free again."""

    def __init__(self) -> None:
        self.memory_bytes = 0

    def __call__(self, memory_bytes: int) -> None:
        self.memory_bytes += memory_bytes


def files(directory: Path) -> list[Path]:
    return sorted((directory / DIRECTORY).glob("*"))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.002)


async def spilled(writer: LogWriter, content: bytes, released: Callable[[int], None] = lambda _: None) -> Spill:
    spill = writer.spill(released)
    spill.add([content[:5], content[5:]], len(content))
    await until(lambda: spill.written_bytes == len(content))
    return spill


def ended(request: bytes, response: bytes, request_size: int, response_size: int) -> Exchange:
    """What the tee appends: of each body what came behind its spilled beginning, and the size of the whole."""
    exchange = make_exchange()
    return replace(exchange, request_body=Body(request, request_size), response_body=Body(response, response_size))


def recorded(directory: Path) -> list[Exchange]:
    batch = LogReader(directory).read(None, max_bytes=1 << 30)
    assert batch.corrupt_frames == 0
    return [unpack(record.payload) for record in batch.records]


async def test_what_was_spilled_is_recorded_whole_and_its_files_are_gone(
    writer: LogWriter, directory: Path
) -> None:
    released = Released()
    request = await spilled(writer, b"What is the ", released)
    response = await spilled(writer, b"It is sunn", released)
    assert released.memory_bytes == 22
    assert writer.bytes_on_disk >= 22
    assert [path.stat().st_mode & 0o777 for path in files(directory)] == [0o600] * 2
    tails = b"".join(request.seal()) + b"weather?", b"".join(response.seal()) + b"y."
    exchange = ended(*tails, 20, 12)
    before = writer.append(make_exchange()), writer.append(exchange, (request, response))
    assert before == (None, None)
    assert writer.append(make_exchange()) is None
    await writer.flush()
    _, got, _ = recorded(directory)
    assert got.exchange_id == exchange.exchange_id
    assert (got.request_body, got.response_body) == (Body(b"What is the weather?", 20), Body(b"It is sunny.", 12))
    assert files(directory) == []
    assert (writer.accepted, writer.shed, writer.unprotected) == (3, {}, 0)
    assert writer.bytes_on_disk == sum(path.stat().st_size for path in directory.glob("*.log"))


async def test_what_is_still_on_its_way_to_the_disk_is_not_waited_for(writer: LogWriter, directory: Path) -> None:
    spill = writer.spill(lambda _: None)
    for piece in (b"one ", b"two ", b"three "):
        spill.add([piece], len(piece))
    assert spill.written_bytes == 0
    tail = b"".join(spill.seal())
    assert tail == b"one two three "
    assert writer.append(ended(b"", tail + b"four", 0, 18), (None, spill)) is None
    await writer.flush()
    (got,) = recorded(directory)
    assert got.response_body.content == b"one two three four"
    assert files(directory) == []


@pytest.mark.parametrize("seed", range(5))
async def test_however_pieces_and_writes_fall_together_the_body_is_whole(
    writer: LogWriter, directory: Path, seed: int
) -> None:
    chance = random.Random(seed)
    bodies = {}

    async def stream() -> None:
        spill, content = writer.spill(lambda _: None), b""
        for _ in range(20):
            piece = chance.randbytes(chance.randrange(1, 5000))
            content += piece
            spill.add([piece], len(piece))
            await asyncio.sleep(chance.choice((0, 0, 0.001)))
        exchange = ended(b"", b"".join(spill.seal()), 0, len(content))
        bodies[exchange.exchange_id] = content
        assert writer.append(exchange, (None, spill)) is None

    await asyncio.gather(*(stream() for _ in range(30)))
    await writer.flush()
    assert {one.exchange_id: one.response_body.content for one in recorded(directory)} == bodies
    assert files(directory) == []


async def test_captures_given_up_leave_no_files(writer: LogWriter, directory: Path) -> None:
    one, other = await spilled(writer, b"given up"), await spilled(writer, b"refused")
    writer.discard(one)
    tail = other.seal()
    too_large = ended(b"".join(tail) + bytes(65 * MIB), b"", 65 * MIB + 7, 0)
    assert writer.append(too_large, (other, None)) is ShedReason.TOO_LARGE
    await until(lambda: files(directory) == [])
    await until(lambda: writer.bytes_on_disk == sum(path.stat().st_size for path in directory.glob("*.log")))


async def test_spilled_bytes_count_against_the_size_of_the_log(directory: Path) -> None:
    writer = LogWriter(directory, max_bytes=100_000)
    writer.open()
    spill = await spilled(writer, bytes(60_000))
    other = writer.spill(lambda _: None)
    other.add([bytes(60_000)], 60_000)
    assert other.failure is ShedReason.LOG_FULL
    tail = b"".join(spill.seal())
    assert writer.append(ended(tail, b"", 60_000, 0), (spill, None)) is ShedReason.LOG_FULL, (
        "it would be there twice"
    )
    await until(lambda: files(directory) == [])
    await writer.close()
    assert writer.shed == {ShedReason.LOG_FULL: 1}


async def test_a_full_disk_fails_the_spill_and_frees_its_memory(writer: LogWriter, directory: Path) -> None:
    released = Released()
    small = await spilled(writer, bytes(1000))
    with file_size_limit(5000):
        spill = writer.spill(released)
        spill.add([bytes(6000)], 6000)
        await until(lambda: spill.failure is not None)
    assert (spill.failure, released.memory_bytes) == (ShedReason.DISK_FULL, 6000)
    assert small.failure is None
    writer.discard(spill, small)
    await until(lambda: files(directory) == [])


async def test_a_disk_without_room_for_the_record_sheds_it_and_it_alone(
    writer: LogWriter, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spill = await spilled(writer, bytes(10_000))
    tail = b"".join(spill.seal())
    with monkeypatch.context() as patch:

        def full(fd: int, buffers: list[memoryview], offset: int) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        patch.setattr(os, "pwritev", full)
        assert writer.append(ended(tail, b"", 10_000, 0), (spill, None)) is None
        await writer.flush()
    assert (writer.shed, files(directory)) == ({ShedReason.DISK_FULL: 1}, [])
    assert await writer.append_durable(make_exchange()) is None


async def test_a_file_that_somebody_deleted_costs_its_own_exchange_only(
    writer: LogWriter, directory: Path
) -> None:
    spill = await spilled(writer, b"gone")
    spill.path.unlink()
    first, last = make_exchange(), make_exchange()
    outcomes = [
        writer.append(first),
        writer.append(ended(b"".join(spill.seal()), b"", 4, 0), (spill, None)),
        writer.append(last),
    ]
    assert outcomes == [None] * 3
    await writer.flush()
    assert [one.exchange_id for one in recorded(directory)] == [first.exchange_id, last.exchange_id]
    assert (writer.accepted, writer.shed) == (2, {ShedReason.IO_ERROR: 1})


async def test_a_hundred_megabytes_are_recorded_in_little_memory(writer: LogWriter, directory: Path) -> None:
    spill = writer.spill(lambda _: None)
    for _ in range(100):
        spill.add([bytes(MIB)], MIB)
        await until(lambda: not spill.unwritten_bytes)
    exchange = ended(b"", b"".join(spill.seal()), 0, 100 * MIB)
    tracemalloc.start()
    try:
        assert writer.append(exchange, (None, spill)) is None
        await writer.flush()
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 8 * MIB
    (got,) = recorded(directory)
    assert got.response_body.content == bytes(100 * MIB)
    assert (writer.accepted, writer.unprotected) == (1, 0)


async def test_what_a_killed_process_was_in_the_middle_of_is_swept_away(directory: Path) -> None:
    (directory / DIRECTORY).mkdir(parents=True)
    (directory / DIRECTORY / "0123").write_bytes(b"half a stream")
    writer = LogWriter(directory, max_bytes=MIB)
    writer.open()
    assert files(directory) == []
    await writer.close()


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from tests.integration.capture.test_log_spill import ended, spilled
from watchllm_proxy import crash_points
from watchllm_proxy.capture.writer import LogWriter

async def main():
    writer = LogWriter(Path(sys.argv[1]), max_bytes=1 << 30, group_interval_s=0.01)
    writer.open()
    if sys.argv[2] != "appended":
        crash_points.arm(sys.argv[2], lambda: os.kill(os.getpid(), signal.SIGKILL))
    request, response = await spilled(writer, b"asked and "), await spilled(writer, b"answered and ")
    response.add([b"still on its way, "], 18)
    tails = b"".join(request.seal()) + b"asked", b"".join(response.seal()) + b"over"
    assert writer.append(ended(*tails, 15, 35), (request, response)) is None
    if sys.argv[2] == "appended":
        os.kill(os.getpid(), signal.SIGKILL)
    await writer.flush()

asyncio.run(main())
"""


POINTS = ["appended", "capture.written", "capture.synced", "capture.settled", "capture.unspilled"]


@pytest.mark.parametrize("point", POINTS)
async def test_a_kill_after_the_append_loses_nothing_of_it_and_doubles_nothing(
    directory: Path, point: str
) -> None:
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", KILLED, str(directory), point], cwd=PROJECT, check=False
    )
    assert done.returncode == -9
    for _ in range(2):
        writer = LogWriter(directory, max_bytes=MIB)
        writer.open()
        await writer.close()
    (got,) = recorded(directory)
    assert got.request_body == Body(b"asked and asked", 15)
    assert got.response_body == Body(b"answered and still on its way, over", 35)
    assert files(directory) == []


async def test_a_spill_that_died_with_its_disk_is_shed_at_the_next_start(directory: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(directory), "appended"]
    await asyncio.to_thread(subprocess.run, command, cwd=PROJECT, check=False)
    shutil.rmtree(directory / DIRECTORY)
    writer = LogWriter(directory, max_bytes=MIB)
    writer.open()
    await writer.close()
    assert recorded(directory) == []
    assert (writer.accepted, writer.recovered, writer.shed) == (0, 1, {ShedReason.IO_ERROR: 1})
