"""How many were accepted and shed: over restarts and kills, to the record, for whoever looks."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.capture_records import make_exchange, read_all, segment_names
from watchllm_proxy.capture.accounts import records_taken
from watchllm_proxy.capture.counts import FILE_NAME, read_counts, read_log_counts
from watchllm_proxy.capture.payload import unpack
from watchllm_proxy.capture.reader import LogReader
from watchllm_proxy.capture.scanner import ids_of
from watchllm_proxy.capture.segments import list_segments
from watchllm_proxy.capture.writer import LogWriter
from watchllm_proxy.outcomes import CaptureCounts, ShedReason

MIB = 1 << 20
PROJECT = Path(__file__).resolve().parents[3]


def opened(directory: Path, **limits: int) -> LogWriter:
    writer = LogWriter(directory, **({"max_bytes": 64 * MIB} | limits))  # type: ignore[arg-type]
    writer.open()
    return writer


async def append(writer: LogWriter, *sizes: int) -> None:
    for size in sizes:
        writer.append(make_exchange(bytes(size)))
    await writer.flush()


async def test_counts_go_on_over_restarts_and_releases(tmp_path: Path) -> None:
    for times in range(1, 4):
        writer = opened(tmp_path / "w0", segment_bytes=20_000, buffer_bytes=100_000)
        await append(writer, *[5000] * 10, 200_000)
        assert read_log_counts(tmp_path / "w0").accepted == 10 * times, "while it writes"
        await writer.close()
        reader = LogReader(tmp_path / "w0")
        reader.release(reader.read(None, max_records=1000).end)
        assert len(segment_names(tmp_path / "w0")) == 1
        counts = read_log_counts(tmp_path / "w0")
        assert counts == CaptureCounts(10 * times, {ShedReason.TOO_LARGE: times})
        assert counts.captured == 11 * times


async def test_what_is_blanked_is_gone_from_the_disk_and_still_counts(tmp_path: Path) -> None:
    directory = tmp_path / "w0"
    writer = opened(directory)
    exchanges = [make_exchange(b"canary-%d" % number) for number in range(3)]
    for exchange in exchanges:
        writer.append(exchange)
    await writer.flush()
    reader = LogReader(directory)
    end = reader.read(None, max_records=2).end
    assert reader.blank(end) > 0
    assert reader.blank(end) == 0, "it is blank already"
    (segment,) = list_segments(directory)
    assert [b"canary-%d" % number in segment.path.read_bytes() for number in range(3)] == [False, False, True]
    assert records_taken(directory) == read_log_counts(directory).accepted == 3
    assert records_taken(directory, end) == 2
    assert ids_of([segment]) == {exchange.exchange_id for exchange in exchanges}, "none is taken up twice"
    assert [record.record_id for record in reader.read(end).records] == [exchanges[2].exchange_id]
    await writer.close()


async def test_the_counts_of_all_logs_add_up_wherever_they_are_asked_for(tmp_path: Path) -> None:
    one, other = opened(tmp_path / "w0"), opened(tmp_path / "w1", buffer_bytes=100_000)
    await append(one, 1, 2, 3)
    await append(other, 1, 200_000)
    other.give_up(ShedReason.BUFFER_FULL)
    expected = CaptureCounts(4, {ShedReason.TOO_LARGE: 1, ShedReason.BUFFER_FULL: 1})
    async with asyncio.timeout(5):
        while one.counts_of_all() != expected:
            await asyncio.sleep(0.005)
    assert other.counts_of_all() == read_counts(tmp_path) == expected
    await other.close()
    assert one.counts_of_all() == expected, "also of a worker that is gone"
    await one.close()
    assert one.counts_of_all() == read_counts(tmp_path) == expected


@pytest.mark.parametrize("damage", [b"", b"WLCOUNT1 and so on", bytes(500)])
async def test_a_damaged_file_counts_from_zero_and_stops_nobody(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "w0").mkdir()
    (tmp_path / "w0" / FILE_NAME).write_bytes(damage)
    assert read_counts(tmp_path) == CaptureCounts()
    writer = opened(tmp_path / "w0")
    await append(writer, 1)
    assert writer.counts_of_all().accepted == 1
    await writer.close()


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from tests.capture_records import make_exchange
from watchllm_proxy import crash_points
from watchllm_proxy.capture.writer import LogWriter
from watchllm_proxy.outcomes import ShedReason

async def main():
    point, hit = sys.argv[2], int(sys.argv[3])
    def count_down():
        nonlocal hit
        hit -= 1
        if not hit:
            os.kill(os.getpid(), signal.SIGKILL)
    crash_points.arm(point, count_down)
    writer = LogWriter(Path(sys.argv[1]), max_bytes=1 << 30, segment_bytes=9000, group_interval_s=0.001)
    writer.open()
    while True:
        writer.append(make_exchange(bytes(1000)))
        writer.give_up(ShedReason.BUFFER_FULL)
        os.write(1, b"x")
        await asyncio.sleep(0.0005)

asyncio.run(main())
"""

HELD = """
import asyncio, os, signal, sys
from dataclasses import replace
from pathlib import Path
from tests.capture_records import make_exchange
from watchllm_proxy.capture.writer import LogWriter
from watchllm_proxy.records import Body

async def main():
    writer = LogWriter(Path(sys.argv[1]), max_bytes=1 << 30, segment_bytes=9000, group_interval_s=0.001)
    writer.open()
    names = (b"growing", b"ended", b"given up", b"refused")
    growing, ended, given_up, refused = (make_exchange(name) for name in names)
    for exchange in (growing, ended, given_up, refused):
        writer.hold(exchange)
    for _ in range(20):
        await writer.append_durable(make_exchange(bytes(2000)))
    writer.append(make_exchange(bytes(2000)))
    writer.release(given_up.exchange_id)
    writer.append(replace(ended, status=429))
    writer.append(replace(refused, response_body=Body(bytes(65 << 20), 65 << 20)))
    if sys.argv[2] == "flushed":
        await writer.flush()
        writer.append(make_exchange(bytes(2000)))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.mark.parametrize("when", ["at once", "flushed"])
async def test_what_is_held_survives_a_kill_once_and_only_in_its_last_form(tmp_path: Path, when: str) -> None:
    command = [sys.executable, "-c", HELD, str(tmp_path / "w0"), when]
    await asyncio.to_thread(subprocess.run, command, cwd=PROJECT, check=False)
    for _ in range(2):
        await opened(tmp_path / "w0").close()
    records = LogReader(tmp_path / "w0").read(None).records
    found = [unpack(record.payload) for record in records]
    special = {one.request_body.content: one.status for one in found if len(one.request_body.content) < 100}
    assert special == {b"growing": 200, b"ended": 429}
    assert len(found) == len({one.exchange_id for one in found}) == 23 + (when == "flushed")
    assert read_log_counts(tmp_path / "w0").accepted == len(found)


POINTS = ("copied", "segment_noted", "segment_created", "written", "synced", "settled", "unspilled")


def killed(directory: Path, point: str, hit: int) -> int:
    """How many times the process said that it shed one."""
    command = [sys.executable, "-c", KILLED, str(directory), f"capture.{point}", str(hit)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, check=False, timeout=60)
    assert done.returncode == -9, done.stderr.decode()
    return len(done.stdout)


async def test_after_kills_the_counts_are_those_of_the_log(tmp_path: Path) -> None:
    shed = 0
    chance = random.Random(5)
    for point in POINTS:
        shed += await asyncio.to_thread(killed, tmp_path / "w0", point, chance.randrange(2, 12))
    writer = opened(tmp_path / "w0")
    ids, _ = read_all(tmp_path / "w0")
    counts = writer.counts_of_all()
    assert counts.accepted == len(ids) == len(set(ids)) > 0
    assert shed <= counts.shed[ShedReason.BUFFER_FULL] <= shed + len(POINTS), "killed before it could say so"
    assert counts.recovered > 0
    await writer.close()
    assert read_log_counts(tmp_path / "w0") == counts
