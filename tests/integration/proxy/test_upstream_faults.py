"""What the client sees, and what is captured, when the upstream is bad."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.raw_upstream import (
    CHUNKED_HEAD,
    LAST_CHUNK,
    Conversation,
    Message,
    answer,
    chunked,
    request,
)
from tests.integration.proxy.conftest import Build, until
from watchllm_proxy.records import ExchangeEnd


def error_code(got: Message) -> str:
    assert got.value(b"content-type") == b"application/json"
    error = json.loads(got.body)["error"]
    assert set(error) == {"message", "type", "code", "param"}
    return str(error["code"])


async def silence(conversation: Conversation) -> None:
    await conversation.until_closed()


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
async def test_an_upstream_that_cannot_be_reached_is_502(build: Build, host: str) -> None:
    rig = await build(silence, upstream_url=f"http://{host}:{unused_port()}/v1")
    async with rig.client() as client:
        for _ in range(2):  # and the client's connection goes on
            got = await client.ask(request(body=b'{"model": "asked"}'))
            assert (got.status, error_code(got)) == (502, "upstream_unreachable")
    for captured in await rig.captured(2):
        assert (captured.end, captured.status) == (ExchangeEnd.UPSTREAM_UNREACHABLE, None)
        assert captured.request_body.content == b'{"model": "asked"}', "what was asked can be looked at"


async def test_where_one_address_of_the_upstream_is_broken_the_next_is_taken(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def say_ok(conversation: Conversation) -> None:
        await conversation.send(answer(b"ok"))

    rig = await build(say_ok, upstream_url="http://upstream.invalid:1/v1")
    working = ("127.0.0.1", rig.upstream.port)
    loop, asked = asyncio.get_running_loop(), []
    really = loop.getaddrinfo  # which uvloop asks for addresses as well

    async def resolve(host: str, port: int, **how: Any) -> list[tuple[Any, ...]]:
        if host != "upstream.invalid":
            return await really(host, port, **how)
        asked.append((host, port))
        broken = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", unused_port(), 0, 0))
        return [broken, (socket.AF_INET, socket.SOCK_STREAM, 6, "", working)]

    monkeypatch.setattr(loop, "getaddrinfo", resolve)
    async with rig.client() as client:
        assert (await client.ask(request())).status == 200
    assert asked == [("upstream.invalid", 1)], "by name, for each new connection: the address may change"


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", str(key), "-out", str(cert), "-days", "2", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    return cert, key


@pytest.fixture
def tls_upstream(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


async def test_a_certificate_that_nobody_vouches_for_is_502_and_gets_no_request(
    build: Build, tls_upstream: ssl.SSLContext
) -> None:
    rig = await build(silence, tls_upstream=tls_upstream)
    async with rig.client() as client:
        assert error_code(await client.ask(request())) == "upstream_unreachable"
    (captured,) = await rig.captured()
    assert "certificate" in (captured.error_detail or "")
    assert rig.upstream.requests == []


async def test_a_certificate_in_the_trust_store_is_taken(
    build: Build, tls_upstream: ssl.SSLContext, certificate: tuple[Path, Path]
) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.send(answer(b"x" * 300_000))

    trust = ssl.create_default_context(cafile=str(certificate[0]))
    rig = await build(script, tls_upstream=tls_upstream, tls=trust)
    async with rig.client() as client:
        for _ in range(2):
            assert (await client.ask(request())).body == b"x" * 300_000
    assert rig.upstream.connections == 1


async def test_plain_http_where_tls_is_spoken_is_502(build: Build) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.send(answer())

    rig = await build(script)
    secure = await build(silence, upstream_url=f"https://127.0.0.1:{rig.upstream.port}/v1", connect_timeout_s=2.0)
    async with secure.client() as client:
        assert error_code(await client.ask(request())) == "upstream_unreachable"


async def test_no_answer_in_time_is_504_and_the_request_is_not_sent_again(build: Build) -> None:
    rig = await build(silence, first_byte_timeout_s=0.2)
    async with rig.client() as client:
        got = await client.ask(request())
        assert (got.status, error_code(got)) == (504, "upstream_timeout")
        await rig.until_upstream_left()
    (captured,) = await rig.captured()
    assert (captured.end, captured.status) == (ExchangeEnd.UPSTREAM_TIMEOUT, None)
    assert captured.request_body.content == b'{"model": "m"}'
    assert len(rig.upstream.requests) == 1


async def test_a_stall_in_the_middle_is_cut_without_a_clean_end(build: Build) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.send(CHUNKED_HEAD + chunked(b"data: 1\n\n"))
        await conversation.until_closed()

    rig = await build(script, idle_timeout_s=0.2)
    async with rig.client() as client:
        got = await client.ask(request())
        assert (got.body, got.is_whole) == (b"data: 1\n\n", False)
        await rig.until_upstream_left()
    (captured,) = await rig.captured()
    assert (captured.end, captured.status) == (ExchangeEnd.UPSTREAM_STALLED, 200)
    assert captured.response_body.content == b"data: 1\n\n"


BROKEN = {
    "chunks without an end": (CHUNKED_HEAD + chunked(b"data: 1\n\n"), b""),
    "half a chunk": (CHUNKED_HEAD, b"ff\r\ndata: 1\n\n"),
    "less than the length": (b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n", b"data: 1\n\n"),
}


@pytest.mark.parametrize("with_reset", [False, True], ids=["fin", "rst"])
@pytest.mark.parametrize("case", BROKEN)
async def test_a_truncated_answer_looks_truncated_to_the_client(build: Build, case: str, with_reset: bool) -> None:
    async def script(conversation: Conversation) -> None:
        for piece in BROKEN[case]:
            await conversation.send(piece)
        await asyncio.sleep(0.05)
        if with_reset:
            conversation.reset()
        else:
            conversation.close()

    rig = await build(script)
    async with rig.client() as client:
        got = await client.ask(request())
        assert (got.body, got.is_whole) == (b"data: 1\n\n", False)
    (captured,) = await rig.captured()
    assert (captured.end, captured.response_body.content) == (ExchangeEnd.UPSTREAM_BROKEN, b"data: 1\n\n")


async def test_a_reset_of_an_answer_without_a_length_is_no_clean_end(build: Build) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.send(b"HTTP/1.1 200 OK\r\n\r\npart")
        await asyncio.sleep(0.05)
        conversation.reset()

    rig = await build(script)
    async with rig.client() as client:
        got = await client.ask(request())
        assert (got.body, got.is_whole) == (b"part", False)


@pytest.mark.parametrize("case", BROKEN)
async def test_a_truncated_answer_looks_truncated_to_an_http_10_client_too(build: Build, case: str) -> None:
    """What nginx speaks to us by default: it knows no chunks, so that only a reset tells it of a cut."""

    async def script(conversation: Conversation) -> None:
        for piece in BROKEN[case]:
            await conversation.send(piece)
        await asyncio.sleep(0.05)
        conversation.close()

    rig = await build(script)
    async with rig.client() as client:
        got = await client.ask(b"GET /v1/x HTTP/1.0\r\n\r\n")
        assert (got.body in {b"data: 1\n\n", b""}, got.is_whole) == (True, False)


@pytest.mark.parametrize("in_one_read", [False, True])
async def test_an_invalid_chunk_cuts_at_once(build: Build, in_one_read: bool) -> None:
    """M1: aiohttp's client would hang here for ever."""

    async def script(conversation: Conversation) -> None:
        if in_one_read:
            await conversation.send(CHUNKED_HEAD + chunked(b"data: 1\n\n") + b"zz\r\n")
        else:
            await conversation.send(CHUNKED_HEAD + chunked(b"data: 1\n\n"))
            await asyncio.sleep(0.05)
            await conversation.send(b"zz\r\n")
        await conversation.until_closed()

    rig = await build(script)
    async with rig.client() as client:
        started_s = time.monotonic()
        got = await client.ask(request())
        assert (got.body, got.is_whole) == (b"data: 1\n\n", False)
        await rig.until_upstream_left()
        assert time.monotonic() - started_s < 20
    (captured,) = await rig.captured()
    assert captured.end is ExchangeEnd.UPSTREAM_BROKEN


INVALID_HEADS = {
    "nothing": b"",
    "no http": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "http/2": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "nul": b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
    "status below 100": b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
    "length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
    "endless length": b"HTTP/1.1 200 OK\r\nContent-Length: " + b"0" * 5000 + b"3\r\n\r\nabc",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    "unknown coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "upgrade": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "folded": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "bare lf": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "too large": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000,
    "endless interim": b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" * 10_000,
}


@pytest.mark.parametrize("case", INVALID_HEADS)
async def test_what_is_no_answer_is_502(build: Build, case: str) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.send(INVALID_HEADS[case])
        conversation.close()

    rig = await build(script)
    async with rig.client() as client:
        got = await client.ask(request())
        while got.status == 103:
            following = await client.answer()
            assert following is not None
            got = following
        assert (got.status, error_code(got)) == (502, "upstream_invalid_response")
    (captured,) = await rig.captured()
    assert (captured.end, captured.status) == (ExchangeEnd.UPSTREAM_INVALID, None)
    await rig.until_upstream_left()


SURPLUS = {
    "body longer than its length": answer(b"abc") + b"def",
    "a second answer": answer(b"abc") + answer(b"evil"),
    "bytes behind the last chunk": CHUNKED_HEAD + chunked(b"abc") + LAST_CHUNK + b"x",
    "a body to a 304": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\nabc",
}


@pytest.mark.parametrize("case", SURPLUS)
async def test_a_connection_that_sent_too_much_is_not_used_again(build: Build, case: str) -> None:
    async def script(conversation: Conversation) -> None:
        is_first = len(rig.upstream.requests) == 1
        await conversation.send(SURPLUS[case] if is_first else answer(b"clean"))

    rig = await build(script)
    async with rig.client() as client:
        await client.ask(request())
        assert (await client.ask(request())).body == b"clean"
    assert rig.upstream.connections == 2


async def test_bytes_on_an_idle_connection_close_it(build: Build) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.send(answer(b"%d" % conversation.connection))
        await asyncio.sleep(0.05)
        await conversation.send(answer(b"evil"))

    rig = await build(script)
    async with rig.client() as client:
        assert (await client.ask(request())).body == b"1"
        await rig.until_upstream_left()
        assert (await client.ask(request())).body == b"2"


async def test_a_stale_connection_is_replaced_once_and_the_client_notices_nothing(build: Build) -> None:
    async def script(conversation: Conversation) -> None:
        if len(rig.upstream.requests) == 2:
            conversation.reset()  # as if it had been closing when the request came
        else:
            await conversation.send(answer(conversation.request.body))

    rig = await build(script)
    async with rig.client() as client:
        assert (await client.ask(request(body=b"one"))).body == b"one"
        assert (await client.ask(request(body=b"two"))).body == b"two"
    assert [one.body for one in rig.upstream.requests] == [b"one", b"two", b"two"]
    first, second = await rig.captured(2)
    assert (first.end, second.end) == (ExchangeEnd.COMPLETE, ExchangeEnd.COMPLETE)
    assert second.request_body.content == b"two"


async def test_a_fresh_connection_that_breaks_is_not_tried_again(build: Build) -> None:
    async def script(conversation: Conversation) -> None:
        conversation.reset()

    rig = await build(script)
    async with rig.client() as client:
        assert error_code(await client.ask(request())) == "upstream_invalid_response"
    assert len(rig.upstream.requests) == 1


async def test_a_reused_connection_that_breaks_late_is_not_tried_again(build: Build) -> None:
    """It may have been at work on the request: a second one could cost a second time."""

    async def script(conversation: Conversation) -> None:
        if len(rig.upstream.requests) == 2:
            await asyncio.sleep(1.1)
            conversation.close()
        else:
            await conversation.send(answer())

    rig = await build(script)
    async with rig.client() as client:
        await client.ask(request())
        assert (await client.ask(request())).status == 502
    assert len(rig.upstream.requests) == 2


async def test_an_answer_to_half_a_request_passes_and_ends_the_connection(build: Build) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.send(answer(b"too much", start=b"HTTP/1.1 413 Too Large"))
        await conversation.until_closed()

    rig = await build(script, reads_bodies=False)
    async with rig.client() as client:
        got = await client.ask(b"POST /v1/files HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nsome")
        assert (got.status, got.body, got.value(b"connection")) == (413, b"too much", b"close")
    await rig.until_upstream_left()
    (captured,) = await rig.captured()
    assert (captured.end, captured.status) == (ExchangeEnd.COMPLETE, 413)


async def test_after_a_thousand_mixed_aborts_every_answer_belongs_to_its_request(build: Build) -> None:
    chance = random.Random(31)

    async def script(conversation: Conversation) -> None:
        body = conversation.request.body
        match body[:1]:
            case b"a":
                await conversation.send(answer(body))
            case b"b":
                await conversation.send(CHUNKED_HEAD + chunked(body))
                conversation.close()
            case b"c":
                await conversation.send(CHUNKED_HEAD + chunked(body) + b"zz\r\n")
            case b"d":
                await conversation.send(CHUNKED_HEAD + chunked(body[:3]))
                await asyncio.sleep(0.002)
                await conversation.send(chunked(body[3:]) + LAST_CHUNK)
            case _:
                await conversation.send(answer(body) + b"surplus")

    rig = await build(script)

    async def one(index: int) -> None:
        body = b"%c-%d" % (chance.choice(b"aaaabcdde"), index)
        async with rig.client() as client:
            await client.send(request(body=body))
            if chance.random() < 0.3:
                await asyncio.sleep(chance.random() * 0.004)
                client.reset()
                return
            got = await client.answer()
            assert got is not None
            assert got.body == body
            assert got.is_whole is (body[:1] not in b"bc")

    for start in range(0, 1000, 25):
        await asyncio.gather(*(one(index) for index in range(start, start + 25)))
    await until(lambda: not rig.server._handler.relays)
    assert rig.server._handler.budget.used_bytes == 0
