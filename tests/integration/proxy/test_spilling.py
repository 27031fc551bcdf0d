"""Captures of what lasts or grows go to the disk, and no stream notices; with a real capture log."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fixtures.raw_upstream import (
    CHUNKED_HEAD,
    LAST_CHUNK,
    Conversation,
    RawClient,
    RawUpstream,
    chunked,
    request,
)
from tests.integration.proxy.conftest import until
from watchllm_proxy.capture.payload import unpack
from watchllm_proxy.capture.reader import LogReader
from watchllm_proxy.capture.writer import LogWriter
from watchllm_proxy.outcomes import ShedReason
from watchllm_proxy.proxy import tee
from watchllm_proxy.proxy.auth import KeyRing
from watchllm_proxy.proxy.server import ProxyServer
from watchllm_proxy.records import Exchange
from watchllm_proxy.settings import load

MIB = 1 << 20
PIECE = random.Random(7).randbytes(48 * 1024)
PIECES = 24


class Stand:
    """A proxy with a capture log on the disk, before an upstream whose streams go on when `gate` is set."""

    def __init__(self, folder: Path) -> None:
        self.log = LogWriter(folder / "w0", max_bytes=512 * MIB)
        self.folder = folder / "w0"
        self.gate = asyncio.Event()

    async def answer(self, conversation: Conversation) -> None:
        await conversation.send(CHUNKED_HEAD)
        for number in range(PIECES):
            await conversation.send(chunked(PIECE))
            if number == PIECES // 2:
                await self.gate.wait()
        await conversation.send(LAST_CHUNK)

    @property
    def used_bytes(self) -> int:
        return self.server._handler.budget.used_bytes

    def spilled(self) -> list[Path]:
        return list((self.folder / "spill").glob("*"))

    def held_open(self) -> list[Path]:
        found = [Path("/proc/self/fd", name).resolve() for name in os.listdir("/proc/self/fd")]
        return [path for path in found if path.parent.name == "spill"]

    async def recorded(self) -> list[Exchange]:
        await self.log.flush()
        batch = await asyncio.to_thread(LogReader(self.folder).read, None, max_bytes=512 * MIB)
        return [unpack(record.payload) for record in batch.records]


@pytest.fixture
async def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stand]:
    monkeypatch.setattr(tee, "CALM_BYTES", 64 * 1024)
    stand = Stand(tmp_path)
    stand.log.open()
    upstream = RawUpstream(stand.answer)
    await upstream.start()
    settings = load(
        {}, upstream_url=f"http://127.0.0.1:{upstream.port}/v1", allow_anonymous=True, port=0, data_dir=tmp_path
    )
    stand.server = ProxyServer(settings, log=stand.log, keys=KeyRing())
    await stand.server.start()
    yield stand
    stand.gate.set()
    await stand.server.stop()
    await stand.log.close()
    await upstream.stop()


async def read_whole(port: int) -> bool:
    async with RawClient.connect(port) as client:
        got = await client.ask(request(body=PIECE))
        return got.is_whole and got.body == PIECE * PIECES


async def test_streams_that_last_are_on_disk_and_recorded_whole(stand: Stand) -> None:
    streams = asyncio.gather(*(read_whole(stand.server.port) for _ in range(8)))
    await until(lambda: stand.log.bytes_on_disk > 8 * (PIECES // 2) * len(PIECE))
    await until(lambda: stand.used_bytes < 8 * 2 * tee.SPILLED_BYTES)
    assert len(stand.spilled()) == 16, "requests wait as long as their answers"
    assert not stand.held_open(), "ten thousand streams must not hold as many files"
    stand.gate.set()
    assert all(await streams)
    recorded = await stand.recorded()
    assert [one.request_body.content == PIECE for one in recorded] == [True] * 8
    assert [one.response_body.content == PIECE * PIECES for one in recorded] == [True] * 8
    assert (stand.spilled(), stand.used_bytes, stand.log.shed) == ([], 0, {})


async def test_a_disk_that_fills_up_under_a_stream_sheds_its_capture_and_counts_it(stand: Stand) -> None:
    stand.log._max_bytes = 200_000
    stand.gate.set()
    assert await read_whole(stand.server.port)
    await until(lambda: stand.spilled() == [])
    assert (await stand.recorded(), stand.log.shed, stand.used_bytes) == ([], {ShedReason.LOG_FULL: 1}, 0)
