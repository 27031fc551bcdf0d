"""Clients that leave, dawdle, flood or smuggle."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import json
import time

import psutil
import pytest

from tests.fixtures.raw_upstream import (
    CHUNKED_HEAD,
    LAST_CHUNK,
    Conversation,
    RawClient,
    answer,
    chunked,
    request,
)
from tests.integration.proxy.conftest import Build, Rig, until
from watchllm_proxy.outcomes import ShedReason
from watchllm_proxy.records import ExchangeEnd


async def say_ok(conversation: Conversation) -> None:
    await conversation.send(answer(conversation.request.body))


async def silence(conversation: Conversation) -> None:
    await conversation.until_closed()


# --- the client leaves -----------------------------------------------------------------------------


@pytest.mark.parametrize("with_reset", [False, True], ids=["fin", "rst"])
@pytest.mark.parametrize("phase", ["before the answer", "after the head", "between events", "inside a length"])
async def test_the_upstream_is_closed_when_the_client_leaves(build: Build, phase: str, with_reset: bool) -> None:
    said = {
        "before the answer": b"",
        "after the head": CHUNKED_HEAD,
        "between events": CHUNKED_HEAD + chunked(b"data: 1\n\n"),
        "inside a length": b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\ndata: 1\n\n",
    }[phase]

    async def script(conversation: Conversation) -> None:
        await conversation.send(said)
        await conversation.until_closed()

    rig = await build(script)
    async with rig.client() as client:
        await client.send(request())
        await until(lambda: len(rig.upstream.requests) == 1)
        if said:
            await client.reader.readuntil(b"\n\n" if b"data" in said else b"\r\n\r\n")
        if with_reset:
            client.reset()
    await rig.until_upstream_left()
    (captured,) = await rig.captured()
    assert captured.end is ExchangeEnd.CLIENT_ABORTED
    assert captured.status == (200 if said else None)
    assert captured.response_body.content == (b"data: 1\n\n" if b"data" in said else b"")
    assert captured.request_body.content == b'{"model": "m"}'


async def test_a_client_that_leaves_while_it_sends_is_captured_with_what_came(build: Build) -> None:
    rig = await build(silence)
    async with rig.client() as client:
        await client.send(b"POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf")
        await until(lambda: rig.upstream.open_connections == 1)
    await rig.until_upstream_left()
    (captured,) = await rig.captured()
    assert (captured.end, captured.request_body.content) == (ExchangeEnd.CLIENT_ABORTED, b"half")
    assert rig.upstream.requests == []


# --- slow clients ----------------------------------------------------------------------------------


async def test_a_slow_reader_slows_the_upstream_and_takes_no_memory(build: Build) -> None:
    sent_bytes = 0

    async def script(conversation: Conversation) -> None:
        nonlocal sent_bytes
        await conversation.send(CHUNKED_HEAD)
        for _ in range(400):
            await conversation.send(chunked(b"x" * 262_144))
            sent_bytes += 262_144
        await conversation.send(LAST_CHUNK)

    rig = await build(script, capture_body_bytes=1000)
    async with rig.client() as client:
        await client.send(request())
        await client.reader.readexactly(1000)
        before_bytes = psutil.Process().memory_info().rss
        await _until_steady(lambda: sent_bytes)
        assert sent_bytes < 30_000_000, "all else waits in the kernels' buffers"
        assert psutil.Process().memory_info().rss - before_bytes < 16_000_000
        while not (await client.reader.read(1 << 20)).endswith(LAST_CHUNK):
            pass
    (captured,) = await rig.captured()
    assert (captured.end, captured.response_body.size_bytes) == (ExchangeEnd.COMPLETE, 400 * 262_144)


async def _until_steady(value: object, quiet_s: float = 0.3) -> None:
    """Wait until `value()` has not changed for a while."""
    assert callable(value)
    seen, since_s = value(), time.monotonic()
    while time.monotonic() - since_s < quiet_s:
        await asyncio.sleep(0.02)
        if value() != seen:
            seen, since_s = value(), time.monotonic()


async def test_a_reader_that_stopped_reading_is_cut_in_the_end(build: Build) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.send(CHUNKED_HEAD)
        while not conversation.writer.is_closing():
            await conversation.send(chunked(b"x" * 65_536))

    rig = await build(script, idle_timeout_s=0.3, capture_body_bytes=1000)
    async with rig.client() as client:
        await client.send(request())
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        (captured,) = await rig.captured()
        assert captured.end is ExchangeEnd.CLIENT_ABORTED
        await rig.until_upstream_left()


async def test_a_head_that_never_ends_is_408(build: Build) -> None:
    rig = await build(say_ok, header_timeout_s=0.2)
    async with rig.client() as client:
        got = await client.ask(b"POST /v1/x HTTP/1.1\r\nHost: a\r\nX-Slow")
        assert got.status == 408
        assert await client.is_closed()
    async with rig.client() as client:  # drips do not help
        await client.send(b"POST /v1/x HTTP/1.1\r\n")
        started_s = time.monotonic()
        while time.monotonic() - started_s < 20 and not client.reader.at_eof():
            client.writer.write(b"x")
            await asyncio.sleep(0.02)
            if rig.server._clients is not None and rig.server._clients.connection_count == 0:
                break
        assert time.monotonic() - started_s < 20, "each byte gave it more time"
    assert rig.upstream.connections == 0


async def test_a_second_head_that_never_ends_is_408(build: Build) -> None:
    rig = await build(say_ok, header_timeout_s=0.2)
    async with rig.client() as client:
        await client.ask(request())
        await asyncio.sleep(0.3)  # idle is no offence
        assert (await client.ask(b"POST /v1/x HTTP/1.1\r\nHost: a\r\nX-Slow")).status == 408


async def test_a_head_of_many_long_headers_is_431_before_it_is_whole(build: Build) -> None:
    """Nobody needs a key to send a head: 28 MB of each were held, for every connection."""
    rig = await build(silence)
    field = b"X: " + b"x" * 60_000 + b"\r\n"
    async with rig.client() as client:
        await client.send(b"GET /v1/x HTTP/1.1\r\nHost: a\r\n" + 5 * field)
        got = await client.ask(field)
        assert (got.status, json.loads(got.body)["error"]["code"]) == (431, "request_head_too_large")
        assert await client.is_closed()
    assert rig.upstream.connections == 0


async def test_such_a_head_behind_a_request_under_way_ends_both(build: Build) -> None:
    rig = await build(silence)
    async with rig.client() as client:
        await client.send(request())
        await until(lambda: rig.upstream.open_connections == 1)
        await client.send(b"GET /v1/x HTTP/1.1\r\nHost: a\r\n" + 5 * (b"X: " + b"x" * 60_000 + b"\r\n"))
        assert await client.is_closed()
    await rig.until_upstream_left()


async def test_a_body_that_stops_is_408_and_the_upstream_is_freed(build: Build) -> None:
    rig = await build(silence, body_progress_timeout_s=0.2)
    async with rig.client() as client:
        got = await client.ask(b"POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf")
        assert (got.status, got.value(b"connection")) == (408, b"close")
        await rig.until_upstream_left()
    (captured,) = await rig.captured()
    assert (captured.end, captured.request_body.content) == (ExchangeEnd.CLIENT_ABORTED, b"half")


# --- large bodies ----------------------------------------------------------------------------------


async def test_a_body_over_the_limit_by_its_length_is_413_before_anything_goes_up(build: Build) -> None:
    rig = await build(say_ok, max_body_bytes=1000)
    async with rig.client() as client:
        got = await client.ask(b"POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n")
        assert (got.status, got.value(b"connection")) == (413, b"close")
    assert rig.upstream.connections == 0


async def test_a_chunked_body_over_the_limit_is_413_and_no_whole_request_goes_up(build: Build) -> None:
    rig = await build(say_ok, max_body_bytes=1000)
    async with rig.client() as client:
        head = b"POST /v1/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        got = await client.ask(head + chunked(b"x" * 600, b"x" * 600) + LAST_CHUNK)
        assert (got.status, got.value(b"connection")) == (413, b"close")
    assert rig.upstream.requests == []


@pytest.mark.slow
async def test_a_body_of_100_mb_is_streamed(build: Build) -> None:
    hashed = hashlib.sha256()

    async def script(conversation: Conversation) -> None:
        left_bytes = size_bytes
        while left_bytes:
            piece = await conversation.reader.read(min(left_bytes, 1 << 18))
            hashed.update(piece)
            left_bytes -= len(piece)
        await conversation.send(answer())

    size_bytes = 100_000_000
    rig = await build(script, reads_bodies=False, capture_body_bytes=1_000_000)
    piece = bytes(range(250)) * 4000
    sent = hashlib.sha256()
    async with rig.client() as client:
        await client.send(b"POST /v1/files HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size_bytes)
        before_bytes = psutil.Process().memory_info().rss
        peak_bytes = 0
        for _ in range(size_bytes // len(piece)):
            sent.update(piece)
            await client.send(piece)
            peak_bytes = max(peak_bytes, psutil.Process().memory_info().rss)
        got = await client.answer()
    assert got is not None
    assert got.status == 200
    assert hashed.digest() == sent.digest()
    assert peak_bytes - before_bytes < 20_000_000
    (captured,) = await rig.captured()
    assert (captured.request_body.size_bytes, captured.request_body.sha256) == (size_bytes, sent.hexdigest())
    assert len(captured.request_body.content) == 1_000_000


async def test_a_chunked_upload_passes_as_it_arrives(build: Build) -> None:
    rig = await build(say_ok)
    async with rig.client() as client:
        await client.send(
            b"POST /v1/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"one,")
        )
        await until(lambda: rig.upstream.open_connections == 1)
        await client.send(chunked(b"two") + b"0\r\nX-Trailer: 1\r\n\r\n")
        got = await client.answer()
    assert got is not None
    assert got.body == b"one,two"
    assert rig.upstream.requests[0].value(b"transfer-encoding") == b"chunked"
    assert rig.upstream.requests[0].trailers == []


async def test_extensions_of_chunks_end_here_whatever_their_length(build: Build) -> None:
    rig = await build(say_ok)
    async with rig.client() as client:
        await client.send(b"POST /v1/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        await client.send(b"3;" + b"e" * 500_000 + b"\r\nabc\r\n0;e=e\r\n\r\n")
        got = await client.answer()
    (sent,) = rig.upstream.requests
    assert got is not None
    assert (got.body, sent.body) == (b"abc", b"abc"), "a size with something behind it would not have been read"


async def test_an_empty_chunked_upload_passes(build: Build) -> None:
    rig = await build(say_ok)
    async with rig.client() as client:
        head = b"POST /v1/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert (await client.ask(head + LAST_CHUNK)).body == b""
        assert (await client.ask(head + chunked(b"a", b"b") + LAST_CHUNK)).body == b"ab"


async def test_expect_100_continue_is_answered_before_the_body(build: Build) -> None:
    rig = await build(say_ok)
    async with rig.client() as client:
        await client.send(b"POST /v1/x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert (await client.ask(b"body")).body == b"body"
    assert rig.upstream.requests[0].value(b"expect") is None


async def test_a_broken_chunk_of_an_upload_is_400_at_once(build: Build) -> None:
    """aiohttp's parser leaves whoever reads that body waiting for ever."""
    rig = await build(silence)
    async with rig.client() as client:
        await client.send(
            b"POST /v1/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"one")
        )
        await until(lambda: rig.upstream.open_connections == 1)
        got = await client.ask(b"zz\r\n")
        assert got.status == 400
    await rig.until_upstream_left()
    assert rig.upstream.requests == []


# --- refused before anything goes upstream -----------------------------------------------------------

POST = b"POST /v1/x HTTP/1.1\r\nHost: a\r\n"
GET = b"GET /v1/x HTTP/1.1\r\nHost: a\r\n"
HOST = b" HTTP/1.1\r\nHost: a\r\n"
LENGTH = b"Content-Length: 3\r\n"
CODED = b"Transfer-Encoding: chunked\r\n"
WEBSOCKET = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
END = b"\r\n"

REFUSED = {
    "length and chunks": (POST + LENGTH + CODED + END, 400),
    "chunks and length": (POST + CODED + LENGTH + END, 400),
    "two lengths": (POST + LENGTH + b"Content-Length: 4\r\n\r\nabc", 400),
    "two equal lengths": (POST + LENGTH + LENGTH + b"\r\nabc", 400),
    "length list": (POST + b"Content-Length: 3, 3\r\n\r\nabc", 400),
    "signed length": (POST + b"Content-Length: +3\r\n\r\nabc", 400),
    "endless length": (POST + b"Content-Length: " + b"0" * 5000 + b"3\r\n\r\nabc", 400),
    "hex length": (POST + b"Content-Length: 0x3\r\n\r\nabc", 400),
    "other coding": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + LAST_CHUNK, 400),
    "coding not last": (POST + b"Transfer-Encoding: chunked, identity\r\n\r\n" + LAST_CHUNK, 400),
    "two codings": (POST + CODED + CODED + END + LAST_CHUNK, 400),
    "coding with vertical tab": (POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + LAST_CHUNK, 400),
    "chunks in 1.0": (b"POST /v1/x HTTP/1.0\r\n" + CODED + END + LAST_CHUNK, 400),
    "hex prefix in a chunk": (POST + CODED + b"\r\n0x3\r\nabc\r\n" + LAST_CHUNK, 400),
    "bare lf": (b"GET /v1/x HTTP/1.1\nHost: a\n\n", 400),
    "nul": (GET + b"X: a\0b\r\n\r\n", 400),
    "bare cr": (GET + b"X: a\rb\r\n\r\n", 400),
    "folded": (GET + b"X: a\r\n b\r\n\r\n", 400),
    "empty name": (GET + b": a\r\n\r\n", 400),
    "space before colon": (GET + b"X : a\r\n\r\n", 400),
    "high byte in a name": (GET + b"X-\xe9: a\r\n\r\n", 400),
    "two hosts": (GET + b"Host: a\r\n" + END, 400),
    "no host": (b"GET /v1/x HTTP/1.1\r\n\r\n", 400),
    "two authorizations": (GET + b"Authorization: Bearer a\r\nauthorization: Bearer b\r\n\r\n", 400),
    "two api keys": (GET + b"X-Api-Key: a\r\nx-api-key: b\r\n\r\n", 400),
    "http/2": (b"GET /v1/x HTTP/2.0\r\nHost: a\r\n\r\n", 400),
    "http/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "http/0.9": (b"GET /v1/x\r\n\r\n", 400),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "absolute form": (b"GET http://evil.test/v1/x" + HOST + END, 400),
    "two slashes": (b"GET //evil.test/v1/x" + HOST + END, 400),
    "slashes inside": (b"GET /v1//x" + HOST + END, 400),
    "at": (b"GET @evil.test/v1/x" + HOST + END, 400),
    "at in the path": (b"GET /v1/@evil.test/x" + HOST + END, 400),
    "backslash": (b"GET /v1/\\evil.test" + HOST + END, 400),
    "dots": (b"GET /v1/../admin" + HOST + END, 400),
    "encoded dots": (b"GET /v1/%2e%2E/admin" + HOST + END, 400),
    "dots behind an encoded slash": (b"GET /v1/a%2f..%2Fadmin" + HOST + END, 400),
    "dots with a parameter": (b"GET /v1/..;a=b/admin" + HOST + END, 400),
    "dots encoded twice": (b"GET /v1/%252e%252e/admin" + HOST + END, 400),
    "a slash encoded twice": (b"GET /v1/a%252f..%252Fadmin" + HOST + END, 400),
    "one dot": (b"GET /v1/./x" + HOST + END, 400),
    "fragment": (b"GET /v1/x#y" + HOST + END, 400),
    "raw utf-8": ("GET /v1/é HTTP/1.1\r\nHost: a\r\n\r\n".encode(), 400),
    "asterisk": (b"OPTIONS *" + HOST + END, 400),
    "connect": (b"CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n", 405),
    "trace": (b"TRACE /v1/x" + HOST + END, 405),
    "websocket": (b"GET /v1/realtime" + HOST + WEBSOCKET + END, 501),
    "h2c": (GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n" + END, 501),
    "bogus expectation": (POST + b"Expect: a-miracle\r\n" + LENGTH + b"\r\nabc", 417),
    "long line": (b"GET /v1/" + b"x" * 70_000 + HOST + END, 431),
    "long header": (GET + b"X: " + b"x" * 70_000 + b"\r\n\r\n", 431),
    "many headers": (GET + b"X: a\r\n" * 300 + END, 431),
    "reported run without an intake": (b"POST /v1/agent-runs" + HOST + b"Content-Length: 0\r\n\r\n", 501),
    "reported trace": (b"POST /v1/traces" + HOST + b"Content-Length: 0\r\n\r\n", 501),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
async def test_what_two_parsers_could_read_in_two_ways_is_refused_once_and_goes_nowhere(
    build: Build, case: str
) -> None:
    rig = await build(silence)
    wire, status = REFUSED[case]
    async with rig.client() as client:
        got = await client.ask(wire + b"GET /v1/smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
        assert got.status == status
        assert set(json.loads(got.body)["error"]) == {"message", "type", "code", "param"}
        assert b"evil" not in got.body, "an answer of ours repeats nothing"
        assert got.value(b"server") is None
        assert got.value(b"x-watchllm-request-id") is not None
        assert await client.is_closed(), "one answer, and the connection ends"
    assert rig.upstream.requests == []
    assert rig.log.exchanges == []
    assert (await _get(rig, "/healthz"))[0] == 200


async def _get(rig: Rig, target: str) -> tuple[int, bytes]:
    async with rig.client() as client:
        got = await client.ask(request("GET", target, body=None))
        return got.status, got.body


# --- overload --------------------------------------------------------------------------------------


async def test_over_the_admission_limit_the_answer_is_503_at_once_and_it_recovers(build: Build) -> None:
    release = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        await release.wait()
        await say_ok(conversation)

    rig = await build(script, max_requests=2)

    async def ask() -> int:
        async with rig.client() as client:
            return (await client.ask(request())).status

    waiting = [asyncio.ensure_future(ask()) for _ in range(2)]
    await until(lambda: len(rig.upstream.requests) == 2)
    async with rig.client() as client:
        for _ in range(3):
            got = await client.ask(request())
            assert (got.status, got.value(b"retry-after")) == (503, b"1")
        assert (await _get(rig, "/healthz"))[0] == 200
        release.set()
        assert await asyncio.gather(*waiting) == [200, 200]
        assert (await client.ask(request())).status == 200


async def test_connections_over_the_descriptor_limit_get_503(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watchllm_proxy.proxy.server._room_for_connections", lambda: 3)
    rig = await build(say_ok)
    async with rig.client() as a, rig.client() as b, rig.client() as c:
        for client in (a, b, c):
            assert (await client.ask(request())).status == 200
        async with rig.client() as one_too_many:
            got = await one_too_many.answer()
            assert got is not None
            assert (got.status, got.value(b"retry-after")) == (503, b"1")
            assert await one_too_many.is_closed()
    assert (await _get(rig, "/healthz"))[0] == 200


async def test_captures_over_the_memory_budget_are_shed_and_counted_while_requests_pass(build: Build) -> None:
    rig = await build(say_ok, capture_memory_bytes=10_000)
    async with rig.client() as client:
        assert (await client.ask(request(body=b"x" * 20_000))).body == b"x" * 20_000
        assert (await client.ask(request(body=b"small"))).body == b"small"
    (captured,) = await rig.captured()
    assert captured.request_body.content == b"small"
    assert rig.log.shed == {ShedReason.BUFFER_FULL: 1}
    assert rig.server._handler.budget.used_bytes == 0


async def test_three_hundred_streams_at_once_all_reach_the_upstream(build: Build) -> None:
    release = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        await conversation.send(CHUNKED_HEAD + chunked(conversation.request.body))
        await release.wait()
        await conversation.send(LAST_CHUNK)

    rig = await build(script)

    async def ask(index: int) -> bytes:
        async with rig.client() as client:
            return (await client.ask(request(body=b"%d" % index))).body

    asking = [asyncio.ensure_future(ask(index)) for index in range(300)]
    await until(lambda: len(rig.upstream.requests) == 300, 20)
    release.set()
    assert await asyncio.gather(*asking) == [b"%d" % index for index in range(300)]


async def test_a_client_that_says_close_is_closed(build: Build) -> None:
    rig = await build(say_ok)
    async with rig.client() as client:
        got = await client.ask(request(fields=((b"Connection", b"close"),)))
        assert got.value(b"connection") == b"close"
        assert await client.is_closed()


async def test_connections_come_and_go_without_a_trace(build: Build) -> None:
    rig = await build(say_ok)

    async def knock(index: int) -> None:
        async with RawClient.connect(rig.server.port) as client:
            if index % 2:
                assert (await client.ask(request())).status == 200

    before = psutil.Process().num_fds()
    for _ in range(10):
        await asyncio.gather(*(knock(index) for index in range(50)))
    clients = rig.server._clients
    assert clients is not None
    await until(lambda: clients.connection_count == 0)
    await until(lambda: psutil.Process().num_fds() <= before + 2 * rig.upstream.open_connections)


async def test_a_client_that_leaves_while_nobody_reads_its_body_is_noticed(build: Build) -> None:
    async def script(conversation: Conversation) -> None:
        conversation.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(3600)

    rig = await build(script, reads_bodies=False, capture_body_bytes=1000)
    async with rig.client() as client:
        await client.send(b"POST /v1/files HTTP/1.1\r\nHost: a\r\nContent-Length: 200000000\r\n\r\n")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                while True:
                    await client.send(b"x" * 1_000_000)
        client.reset()
        await until(lambda: len(rig.log.exchanges) == 1, 3)
    (captured,) = await rig.captured()
    assert captured.end is ExchangeEnd.CLIENT_ABORTED


async def test_an_answer_begun_before_a_drain_says_that_the_connection_ends(build: Build) -> None:
    release = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        await release.wait()
        await say_ok(conversation)

    rig = await build(script)
    async with rig.client() as client:
        await client.send(request())
        await until(lambda: len(rig.upstream.requests) == 1)
        draining = asyncio.ensure_future(rig.server.drain())
        await asyncio.sleep(0)
        release.set()
        got = await client.answer()
        await draining
    assert got is not None
    assert (got.status, got.value(b"connection")) == (200, b"close")


async def test_without_descriptors_for_the_upstream_the_answer_is_503_and_it_recovers(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = await build(say_ok)

    async def fail(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    async with rig.client() as client:
        with monkeypatch.context() as patch:
            patch.setattr("aiohappyeyeballs.start_connection", fail)
            got = await client.ask(request())
            assert (got.status, got.value(b"retry-after")) == (503, b"1")
        assert (await client.ask(request())).status == 200
    refused, _ = await rig.captured(2)
    assert refused.end is ExchangeEnd.UPSTREAM_UNREACHABLE


async def test_a_flood_of_connections_is_shed_and_leaves_nothing_behind(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watchllm_proxy.proxy.server._room_for_connections", lambda: 4)
    rig = await build(say_ok)

    async def knock() -> int:
        with contextlib.suppress(ConnectionError):
            async with rig.client() as client:
                await client.send(request())
                got = await client.answer()
                return got.status if got is not None else 0
        return 0

    statuses = await asyncio.gather(*(knock() for _ in range(100)))
    assert set(statuses) <= {0, 200, 503}
    assert statuses.count(200) >= 4
    clients = rig.server._clients
    assert clients is not None
    await until(lambda: clients.connection_count == 0)
    assert await knock() == 200
