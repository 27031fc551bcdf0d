"""Who has an answer to its end has an exchange that is captured: the capture comes before the last bytes."""

from __future__ import annotations

import asyncio

import pytest

from tests.fixtures.raw_upstream import (
    CHUNKED_HEAD,
    LAST_CHUNK,
    Conversation,
    Message,
    answer,
    chunked,
    read_message,
    request,
)
from tests.integration.proxy.conftest import Build, Rig
from watchllm_proxy.proxy.client import ClientConnection
from watchllm_proxy.records import ExchangeEnd


class Wire:
    """What went out to the clients, and how many exchanges were captured by then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rig: Rig | None = None
        self.sent: list[tuple[bytes, int]] = []
        send = ClientConnection.send

        def noted(connection: ClientConnection, parts: list[bytes]) -> None:
            assert self.rig is not None
            self.sent.append((b"".join(parts), len(self.rig.log.exchanges)))
            send(connection, parts)

        monkeypatch.setattr(ClientConnection, "send", noted)

    async def answer_sent_uncaptured(self, *, has_body: bool = True) -> Message | None:
        """What a client could read of its answer before anything was captured."""
        reader = asyncio.StreamReader()
        reader.feed_data(b"".join(data for data, captured in self.sent if captured == 0))
        reader.feed_eof()
        return await read_message(reader, is_answer=True, has_body=has_body)


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    return Wire(monkeypatch)


PIECES = (b"data: {}\n\n", b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("method", "pieces"),
    [
        pytest.param("POST", [answer()], id="json"),
        pytest.param("POST", [answer(b"x" * 300_000)[:-9], b"x" * 9], id="json in pieces"),
        pytest.param("POST", [CHUNKED_HEAD, *map(chunked, PIECES), LAST_CHUNK], id="events"),
        pytest.param("POST", [CHUNKED_HEAD, chunked(*PIECES) + LAST_CHUNK], id="events in one piece"),
        pytest.param("GET", [b"HTTP/1.1 200 OK\r\n\r\n", b"until ", b"the end"], id="until the end"),
        pytest.param("GET", [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"], id="empty"),
        pytest.param("GET", [b"HTTP/1.1 204 No Content\r\n\r\n"], id="204"),
        pytest.param("HEAD", [b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"], id="head"),
    ],
)
async def test_an_answer_is_captured_before_it_is_whole(
    build: Build, wire: Wire, method: str, pieces: list[bytes]
) -> None:
    async def script(conversation: Conversation) -> None:
        for piece in pieces:
            await conversation.send(piece)
            await asyncio.sleep(0.01)  # so that it is a read of its own, mostly
        if b"until " in pieces:
            conversation.close()

    wire.rig = await build(script)
    async with wire.rig.client() as client:
        got = await client.ask(request(method), has_body=method != "HEAD")
        assert got.is_whole
        assert [one.end for one in wire.rig.log.exchanges] == [ExchangeEnd.COMPLETE]
        uncaptured = await wire.answer_sent_uncaptured(has_body=method != "HEAD")
        assert uncaptured is None or not uncaptured.is_whole


async def test_an_answer_that_ends_with_the_connection_is_captured_before_that(build: Build) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.send(CHUNKED_HEAD + chunked(*PIECES) + LAST_CHUNK)

    rig = await build(script)
    async with rig.client() as client:
        got = await client.ask(request().replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert got.body == b"".join(PIECES)
        assert [one.end for one in rig.log.exchanges] == [ExchangeEnd.COMPLETE]


async def hang(conversation: Conversation) -> None:
    await conversation.until_closed()


async def say_nonsense(conversation: Conversation) -> None:
    await conversation.send(b"nonsense\r\n\r\n")


@pytest.mark.parametrize(
    ("script", "settings", "status", "end"),
    [
        (hang, {"first_byte_timeout_s": 0.1}, 504, ExchangeEnd.UPSTREAM_TIMEOUT),
        (say_nonsense, {}, 502, ExchangeEnd.UPSTREAM_INVALID),
        (hang, {"upstream_url": "http://127.0.0.1:9"}, 502, ExchangeEnd.UPSTREAM_UNREACHABLE),
    ],
)
async def test_our_own_answer_is_captured_before_it_goes_out(
    build: Build, wire: Wire, script: object, settings: dict[str, object], status: int, end: ExchangeEnd
) -> None:
    wire.rig = await build(script, **settings)
    async with wire.rig.client() as client:
        got = await client.ask(request())
        assert (got.status, [one.end for one in wire.rig.log.exchanges]) == (status, [end])
        assert await wire.answer_sent_uncaptured() is None


async def test_a_refusal_in_the_middle_of_a_body_is_captured_before_it_goes_out(build: Build, wire: Wire) -> None:
    wire.rig = await build(hang, body_progress_timeout_s=0.1)
    async with wire.rig.client() as client:
        got = await client.ask(request(body=b"12345678")[:-4])
        assert (got.status, len(wire.rig.log.exchanges)) == (408, 1)
        assert await wire.answer_sent_uncaptured() is None


async def test_a_bug_in_the_capture_does_not_keep_an_answer_back(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.send(answer())

    rig = await build(script)
    monkeypatch.setattr(rig.log, "append", lambda *_: 1 / 0)
    async with rig.client() as client:
        for _ in range(2):
            got = await client.ask(request())
            assert (got.status, got.is_whole) == (200, True)
