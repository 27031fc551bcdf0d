"""Kills writers of one capture log again and again; prints what they acknowledged and what a reader got.

    python -m tests.integration.capture.kill_harness DIRECTORY SEED KILLS

A process of its own, so that it may fork: each writer is a child that has everything imported already, and
writes the id of a record to a pipe once `append` or `append_durable` returned. A reader follows the log all the
while and releases segments, as a recorder does. Only children forked here are killed, by their pid.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from tests.capture_records import make_exchange
from watchllm_proxy import crash_points
from watchllm_proxy.capture.counts import read_log_counts
from watchllm_proxy.capture.reader import LogReader
from watchllm_proxy.capture.writer import LogWriter
from watchllm_proxy.records import LogPosition

MIB = 1 << 20
WRITER_POINTS = (
    "capture.copied",
    "capture.segment_noted",
    "capture.segment_created",
    "capture.written",
    "capture.synced",
    "capture.settled",
)
HITS_TO_KILL_AT = (1, 2, 3, 7)
CONCURRENT_APPENDS = 8


class Follower:
    """What a recorder does: read on from the noted position, release what is done."""

    def __init__(self, directory: Path) -> None:
        self.reader = LogReader(directory)
        self.position: LogPosition | None = None
        self.got: list[UUID] = []
        self.torn_tails = 0

    def catch_up(self) -> None:
        while True:
            batch = self.reader.read(self.position)
            self.torn_tails += batch.corrupt_frames
            self.position = batch.end
            if not batch.records:
                return
            self.got += [record.record_id for record in batch.records]


async def append_for_ever(directory: Path, acks: int) -> None:
    writer = LogWriter(directory, max_bytes=64 * MIB, segment_bytes=200_000, group_interval_s=0.001)
    writer.open()

    async def append(*, is_durable: bool) -> None:
        while True:
            exchange = make_exchange(random.randbytes(random.randrange(8000)))
            reason = await writer.append_durable(exchange) if is_durable else writer.append(exchange)
            assert reason is None
            os.write(acks, exchange.exchange_id.bytes)
            if not is_durable:
                await asyncio.sleep(random.uniform(0, 0.004))  # else it would outrun the disk

    await asyncio.gather(*(append(is_durable=n % 2 == 0) for n in range(CONCURRENT_APPENDS)))


def fork(child: Callable[[int], None]) -> tuple[int, int]:
    """Run `child` in a process of its own; its pid, and the reading end of the pipe it was given."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    try:
        os.close(reading)
        child(writing)
    finally:
        os._exit(1)  # a child that ends by itself has failed: it was to be killed


def end_of(pid: int, pipe: int) -> bytes:
    """All that the pipe held. Raises when the child was not killed."""
    content = b""
    while chunk := os.read(pipe, 65536):
        content += chunk
    os.close(pipe)
    _, status = os.waitpid(pid, 0)
    if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
        raise SystemExit(f"a child ended by itself: wait status {status}")
    return content


def kill_self_at(point: str, hit: int) -> None:
    left = hit

    def count_down() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    crash_points.arm(point, count_down)


def kill_writer_at_random(directory: Path, follower: Follower) -> bytes:
    pid, pipe = fork(lambda acks: asyncio.run(append_for_ever(directory, acks)))
    select.select([pipe], [], [], 10)  # the first acknowledgement
    kill_at = time.monotonic() + random.uniform(0, 0.05)
    while time.monotonic() < kill_at:
        follower.catch_up()
        if random.random() < 0.2 and follower.position:
            follower.reader.release(follower.position)
    os.kill(pid, signal.SIGKILL)
    return end_of(pid, pipe)


def kill_writer_at_point(directory: Path, point: str, hit: int) -> bytes:
    def child(acks: int) -> None:
        kill_self_at(point, hit)
        asyncio.run(append_for_ever(directory, acks))

    return end_of(*fork(child))


def kill_reader_releasing(follower: Follower) -> None:
    """Dead between two deletions."""

    def child(_: int) -> None:
        kill_self_at("capture.segment_released", 1)
        assert follower.position is not None
        follower.reader.release(follower.position)

    end_of(*fork(child))


def main(directory: Path, seed: int, kills: int) -> None:
    random.seed(seed)
    follower = Follower(directory)
    acks = b""
    for _ in range(kills):
        acks += kill_writer_at_random(directory, follower)
    for point in WRITER_POINTS:
        for hit in HITS_TO_KILL_AT:
            acks += kill_writer_at_point(directory, point, hit)
            follower.catch_up()
    kill_reader_releasing(follower)
    began = time.monotonic()
    last = LogWriter(directory, max_bytes=64 * MIB)
    last.open()
    reopened_s = time.monotonic() - began
    asyncio.run(last.close())
    follower.catch_up()
    acked = {acks[at : at + 16] for at in range(0, len(acks), 16)}
    got = [id_.bytes for id_ in follower.got]
    counted = read_log_counts(directory)
    result = {
        "miscounted": counted.accepted - len(got),
        "shed": sum(counted.shed.values()),
        "acked": len(acked),
        "lost": len(acked - set(got)),
        "doubled": len(got) - len(set(got)),
        "torn_tails": follower.torn_tails,
        "reopened_s": reopened_s,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
