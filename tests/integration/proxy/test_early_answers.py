"""An upstream that answers before the request has arrived: the answer is the client's at once, and the capture
gets of the request what comes."""

from __future__ import annotations

import asyncio

import pytest

from tests.fixtures.raw_upstream import Conversation, RawClient, answer, chunked
from tests.integration.proxy.conftest import Build, Rig, until
from watchllm_proxy.proxy import upload
from watchllm_proxy.records import Exchange, ExchangeEnd

REFUSAL = answer(b'{"error": {}}', start=b"HTTP/1.1 429 Too Many Requests")
PIECE = b"0123456789abcdef" * 4096
PIECES = 40
BODY = PIECE * PIECES

LENGTH, CHUNKED = b"Content-Length: %d" % len(BODY), b"Transfer-Encoding: chunked"
FRAMINGS = pytest.mark.parametrize("framing", [LENGTH, CHUNKED], ids=["length", "chunked"])


async def refuse(conversation: Conversation) -> None:
    """As soon as the head is here. Nothing of the body is ever read."""
    await conversation.send(REFUSAL)
    await conversation.until_closed()


async def refuse_and_hang_up(conversation: Conversation) -> None:
    await conversation.send(REFUSAL)
    conversation.close()


def head(framing: bytes, *fields: bytes) -> bytes:
    lines = (b"POST /v1/chat/completions HTTP/1.1", b"Host: proxy", b"Content-Type: application/json", framing)
    return b"\r\n".join((*lines, *fields)) + b"\r\n\r\n"


def framed(framing: bytes, piece: bytes) -> bytes:
    return chunked(piece) if framing == CHUNKED else piece


def end(framing: bytes) -> bytes:
    return b"0\r\n\r\n" if framing == CHUNKED else b""


async def ask_and_read_the_answer(client: RawClient, framing: bytes) -> None:
    """One piece of the body is under way when the answer comes."""
    await client.send(head(framing) + framed(framing, PIECE))
    got = await client.answer()
    assert got is not None
    assert (got.status, got.body, got.is_whole) == (429, b'{"error": {}}', True)
    assert got.value(b"connection") == b"close"


async def captured(rig: Rig) -> Exchange:
    (exchange,) = await rig.captured()
    assert (exchange.end, exchange.status) == (ExchangeEnd.COMPLETE, 429)
    assert exchange.response_body.content == b'{"error": {}}'
    return exchange


@FRAMINGS
async def test_what_the_client_goes_on_sending_is_captured(build: Build, framing: bytes) -> None:
    rig = await build(refuse, reads_bodies=False)
    async with rig.client() as client:
        await ask_and_read_the_answer(client, framing)
        assert rig.log.exchanges == [], "the rest may still come"
        (held,) = rig.log.held
        assert (held.status, held.request_body.content) == (429, PIECE), "what a kill would leave"
        for _ in range(PIECES - 1):
            await client.send(framed(framing, PIECE))
        await client.send(end(framing))
        body = (await captured(rig)).request_body
        assert (body.content == BODY, body.size_bytes, body.is_partial) == (True, len(BODY), False)
        assert await client.is_closed()


@FRAMINGS
async def test_a_client_that_reads_only_after_sending_gets_its_answer(build: Build, framing: bytes) -> None:
    """Closing on unread bytes would reset it: it would lose the answer."""
    rig = await build(refuse_and_hang_up, reads_bodies=False)
    async with rig.client() as client:
        await client.send(head(framing))
        await until(lambda: rig.upstream.open_connections == 0 and rig.upstream.connections == 1)
        for _ in range(PIECES):
            await client.send(framed(framing, PIECE))
        await client.send(end(framing))
        got = await client.answer()
        assert got is not None
        assert (got.status, got.is_whole) == (429, True)
        assert (await captured(rig)).request_body.content == BODY


@FRAMINGS
async def test_what_waits_for_an_upstream_that_does_not_read_is_captured(build: Build, framing: bytes) -> None:
    async def refuse_later(conversation: Conversation) -> None:
        conversation.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.wait_for(is_sent.wait(), 5)
        await conversation.send(REFUSAL)

    is_sent = asyncio.Event()
    rig = await build(refuse_later, reads_bodies=False)
    async with rig.client() as client:
        await client.send(head(framing) + b"".join(framed(framing, PIECE) for _ in range(PIECES)) + end(framing))
        is_sent.set()
        got = await client.answer()
        assert got is not None
        assert (await captured(rig)).request_body.content == BODY


@FRAMINGS
async def test_a_client_that_leaves_has_what_it_sent_captured(build: Build, framing: bytes) -> None:
    rig = await build(refuse, reads_bodies=False)
    async with rig.client() as client:
        await ask_and_read_the_answer(client, framing)
    body = (await captured(rig)).request_body
    assert (body.content, body.sha256) == (PIECE, None)
    assert body.is_partial
    assert body.is_truncated
    assert body.size_bytes == (len(BODY) if framing == LENGTH else len(PIECE)), "as announced, or what came"


@FRAMINGS
async def test_a_client_that_sends_no_more_is_waited_for_a_while(
    build: Build, framing: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "LINGER_S", 0.1)
    rig = await build(refuse, reads_bodies=False)
    async with rig.client() as client:
        await ask_and_read_the_answer(client, framing)
        await client.send(framed(framing, PIECE))
        exchange = await captured(rig)
    assert (exchange.request_body.content, exchange.request_body.is_partial) == (PIECE * 2, True)
    assert exchange.duration_us < 100_000, "the exchange was over with its answer"


async def test_a_client_that_sends_for_ever_is_not_listened_to_for_ever(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "REST_S", 0.2)
    rig = await build(refuse, reads_bodies=False)
    async with rig.client() as client:
        await ask_and_read_the_answer(client, CHUNKED)
        while not rig.log.exchanges:
            await client.send(framed(CHUNKED, b"x"))
            await asyncio.sleep(0.01)
    assert (await captured(rig)).request_body.is_partial


async def test_more_than_a_request_may_hold_is_not_listened_to(build: Build) -> None:
    rig = await build(refuse, reads_bodies=False, max_body_bytes=3 * len(PIECE))
    async with rig.client() as client:
        await ask_and_read_the_answer(client, CHUNKED)
        for _ in range(3):
            await client.send(framed(CHUNKED, PIECE))
        body = (await captured(rig)).request_body
    assert body.is_partial
    assert 3 * len(PIECE) < body.size_bytes <= 4 * len(PIECE)


async def test_broken_chunks_after_the_answer_end_the_capture_at_once(build: Build) -> None:
    rig = await build(refuse, reads_bodies=False)
    async with rig.client() as client:
        await ask_and_read_the_answer(client, CHUNKED)
        await client.send(b"no chunk\r\n")
        body = (await captured(rig)).request_body
    assert (body.content, body.is_partial) == (PIECE, True)


async def test_a_proxy_that_stops_captures_what_came(build: Build) -> None:
    rig = await build(refuse, reads_bodies=False)
    async with rig.client() as client:
        await ask_and_read_the_answer(client, LENGTH)
        await rig.server.stop()
        assert len(rig.log.exchanges) == 1
        assert (await captured(rig)).request_body.content == PIECE


@pytest.mark.parametrize("expects", [True, False])
async def test_without_an_upstream_the_body_is_captured_if_the_client_sends_it(
    build: Build, expects: bool
) -> None:
    rig = await build(refuse, upstream_url="http://127.0.0.1:9/v1")
    async with rig.client() as client:
        await client.send(head(LENGTH, *([b"Expect: 100-continue"] if expects else [])))
        got = await client.answer()
        assert got is not None
        assert got.status == 502
        if not expects:
            await client.send(BODY)
        (exchange,) = await rig.captured()
    assert exchange.end is ExchangeEnd.UPSTREAM_UNREACHABLE
    body = exchange.request_body
    assert (len(body.content), body.size_bytes, body.is_partial) == (
        0 if expects else len(BODY),
        len(BODY),
        expects,
    )


async def test_a_body_cut_by_its_client_is_captured_as_cut(build: Build) -> None:
    async def silence(conversation: Conversation) -> None:
        await conversation.until_closed()

    rig = await build(silence, reads_bodies=False)
    async with rig.client() as client:
        await client.send(head(LENGTH) + PIECE)
        await until(lambda: rig.upstream.connections == 1)
    (exchange,) = await rig.captured()
    assert exchange.end is ExchangeEnd.CLIENT_ABORTED
    body = exchange.request_body
    assert (body.content, body.size_bytes, body.is_partial) == (PIECE, len(BODY), True)
