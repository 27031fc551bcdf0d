"""Many streams at once, and readers too slow for theirs: what that does to the memory of a proxy worker.

Upstream and clients live in this process, the proxy in its own. Used by `python -m bench streams` and, shorter,
by tests/e2e/test_streams.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench import targets
from bench.entering import entered
from bench.processes import memory_mb

EVENT = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1795000000,"model":"slow","choices":'
    b'[{"index":0,"delta":{"content":"some words of an answer that comes slowly "},"finish_reason":null}]}\n\n'
)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
DONE = b"data: [DONE]\n\n"
FLOOD_PIECE = EVENT * 64
SAMPLE_INTERVAL_S = 1.0
SLOW_PIECE_BYTES = 4096
SLOW_PAUSE_S = 0.25


@dataclass(frozen=True, slots=True)
class Sample:
    """Of the worker: seconds since the first stream was asked for, and its memory."""

    at_s: float
    rss_mb: float
    pss_mb: float


@dataclass(slots=True)
class Course:
    """What happened. `idle` is the worker before the first stream, `samples` its memory from then on."""

    idle: Sample
    samples: list[Sample] = field(default_factory=list)
    finished: int = 0
    failed: int = 0
    most_at_once: int = 0
    received_bytes: int = 0
    is_over: bool = False  # the clients are about to leave: memory is not looked at any more

    def at(self, at_s: float) -> Sample:
        """The sample nearest to that second."""
        return min(self.samples, key=lambda sample: abs(sample.at_s - at_s))

    @property
    def peak(self) -> Sample:
        return max(self.samples, key=lambda sample: sample.rss_mb)

    def slope_mb_per_min(self, since_s: float) -> float:
        """Of the resident set, by least squares over the samples from `since_s` on."""
        chosen = [sample for sample in self.samples if sample.at_s >= since_s]
        mean_at = sum(sample.at_s for sample in chosen) / len(chosen)
        mean_rss = sum(sample.rss_mb for sample in chosen) / len(chosen)
        spread = sum((sample.at_s - mean_at) ** 2 for sample in chosen)
        together = sum((sample.at_s - mean_at) * (sample.rss_mb - mean_rss) for sample in chosen)
        return 60 * together / spread


@dataclass(frozen=True, slots=True)
class Plan:
    """`streams` open for `seconds`, each of `events` events `pause_s` apart; one that ends is asked for again."""

    streams: int
    seconds: float
    events: int
    pause_s: float
    ramp_up_s: float


Drive = Callable[[Course, int], Awaitable[None]]


def many_streams(plan: Plan) -> Course:
    return asyncio.run(_before_a_proxy(lambda course, port: _many(course, port, plan)))


def slow_readers(readers: int, seconds: float) -> Course:
    """Each reads 16 KB a second of an answer that the upstream sends as fast as it is taken."""
    return asyncio.run(_before_a_proxy(lambda course, port: _slow(course, port, readers, seconds)))


async def _before_a_proxy(drive: Drive) -> Course:
    server = await asyncio.start_server(_answer, "127.0.0.1", 0, backlog=2048)
    with tempfile.TemporaryDirectory(prefix="watchllm-bench-") as folder:
        upstream_port = server.sockets[0].getsockname()[1]
        async with server, entered(targets.proxy(Path(folder), upstream_port)) as target:
            worker = target.pids()[0]
            course = Course(idle=Sample(0.0, *memory_mb(worker)))
            sampling = asyncio.ensure_future(_sample(course, worker))
            try:
                await drive(course, target.port)
            finally:
                sampling.cancel()
    return course


async def _sample(course: Course, worker: int) -> None:
    began = time.monotonic()
    while not course.is_over:
        course.samples.append(Sample(time.monotonic() - began, *memory_mb(worker)))
        await asyncio.sleep(SAMPLE_INTERVAL_S)


# --- the clients ------------------------------------------------------------------------------------


async def _many(course: Course, port: int, plan: Plan) -> None:
    """Started one after another over the ramp-up, so that they also end one after another."""
    until = time.monotonic() + plan.seconds
    open_now = 0

    async def keep_reading(delay_s: float) -> None:
        nonlocal open_now
        await asyncio.sleep(delay_s)
        while time.monotonic() < until:
            open_now += 1
            course.most_at_once = max(course.most_at_once, open_now)
            try:
                size_bytes = await _read_stream(port, f"slow-{plan.events}-{plan.pause_s}")
                course.received_bytes += size_bytes
                course.finished += 1
            except (OSError, asyncio.IncompleteReadError):
                course.failed += 1
            open_now -= 1

    async with asyncio.TaskGroup() as task_group:
        for number in range(plan.streams):
            task_group.create_task(keep_reading(plan.ramp_up_s * number / plan.streams))
        await asyncio.sleep(plan.seconds)
        course.is_over = True


async def _read_stream(port: int, shape: str) -> int:
    """Ask for a stream and read it to its end; the bytes of its body. Raises where it is cut."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(_request(shape))
        await reader.readuntil(b"\r\n\r\n")
        size_bytes = 0
        while line := await reader.readuntil(b"\r\n"):
            piece_bytes = int(line, 16)
            await reader.readexactly(piece_bytes + 2)
            size_bytes += piece_bytes
            if piece_bytes == 0:
                break
        return size_bytes
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _slow(course: Course, port: int, readers: int, seconds: float) -> None:
    async def read_slowly() -> None:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_PIECE_BYTES)
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        with connection:
            await loop.sock_connect(connection, ("127.0.0.1", port))
            await loop.sock_sendall(connection, _request("flood"))
            course.most_at_once += 1
            while time.monotonic() < until:
                read = await loop.sock_recv(connection, SLOW_PIECE_BYTES)
                course.failed += not read
                course.received_bytes += len(read)
                await asyncio.sleep(SLOW_PAUSE_S)

    until = time.monotonic() + seconds
    async with asyncio.TaskGroup() as task_group:
        for _ in range(readers):
            task_group.create_task(read_slowly())
        await asyncio.sleep(seconds - SLOW_PAUSE_S)
        course.is_over = True


def _request(shape: str) -> bytes:
    body = json.dumps({"model": "slow", "stream": True, "user": shape, "messages": []}).encode()
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    ) + body


# --- the upstream -----------------------------------------------------------------------------------


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One answer after another, in the shape that the request's `user` asks for."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: *(\d+)", head)
            body = await reader.readexactly(int(length[1]) if length else 0)
            shape = str(json.loads(body).get("user", "")).split("-")
            if shape[0] == "slow":
                await _drip(writer, int(shape[1]), float(shape[2]))
            elif shape[0] == "flood":
                await _flood(writer)
            else:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
    writer.close()


async def _drip(writer: asyncio.StreamWriter, events: int, pause_s: float) -> None:
    writer.write(HEAD)
    for _ in range(events):
        writer.write(_chunk(EVENT))
        await writer.drain()
        await asyncio.sleep(pause_s)
    writer.write(_chunk(DONE) + b"0\r\n\r\n")


async def _flood(writer: asyncio.StreamWriter) -> None:
    """Without end: the reader leaves first."""
    writer.write(HEAD)
    while True:
        writer.write(_chunk(FLOOD_PIECE))
        await writer.drain()


def stream_bytes(plan: Plan) -> int:
    """Of the body of one whole stream."""
    return plan.events * len(EVENT) + len(DONE)


def _chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)
