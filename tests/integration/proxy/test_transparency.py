"""What passes is the same on both sides, byte for byte, however the upstream cuts it."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import random
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.raw_upstream import (
    CHUNKED_HEAD,
    LAST_CHUNK,
    Conversation,
    Field,
    Message,
    answer,
    chunked,
    request,
)
from tests.integration.decode.wire import answer_bytes, read_wire, request_bytes
from tests.integration.proxy.conftest import Build

FRAMING = {b"transfer-encoding", b"content-length", b"connection", b"keep-alive"}
OURS = {b"x-watchllm-request-id", b"x-watchllm-run-id"}


def end_to_end(fields: list[Field]) -> list[Field]:
    return [one for one in fields if one[0].lower() not in FRAMING | OURS]


@pytest.mark.shared
async def test_recorded_answers_pass_unchanged_at_any_cut(build: Build, shared: Path) -> None:
    """Plain, SSE, gzip and binary, with and without a length; every seventh answer cut into single bytes."""
    chance = random.Random(20261122)
    records = [one for one in read_wire(shared / "data" / "wire") if _is_usable(one)]
    picked = chance.sample(records, 560) + [one for one in records if one["response_body"].startswith("base64:")]
    kinds = {_kind(one) for one in picked}
    assert kinds >= {"plain", "sse", "gzip", "binary"}
    current: dict[str, Any] = {}

    async def script(conversation: Conversation) -> None:
        for piece in current["pieces"]:
            conversation.writer.write(piece)
            if chance.random() < 0.3:
                await asyncio.sleep(0)
        await conversation.writer.drain()

    rig = await build(script)
    async with rig.client() as client:
        for index, record in enumerate(picked):
            fields, body = _answer_of(record)
            status_line = b"HTTP/1.1 %d Said So" % record["status"]
            wire = _on_the_wire(status_line, fields, body, is_chunked=index % 3 > 0, chance=chance)
            current["pieces"] = _cut(wire, chance, into_bytes=index % 7 == 0 and len(wire) < 5_000)
            sent = request_bytes(record)
            got = await client.ask(request(record["method"] or "POST", body=sent))
            assert got.is_whole
            assert got.start == status_line
            assert end_to_end(got.fields) == end_to_end(fields)
            assert got.body == body
            assert rig.upstream.requests[-1].body == sent
            captured = rig.log.exchanges[-1]
            assert captured.response_body.size_bytes == len(body)
            assert captured.response_body.content in {body, b""}
            assert captured.request_body.content == sent
    assert len(rig.log.exchanges) == len(picked) >= 500
    assert rig.upstream.connections == 1


def _is_usable(record: dict[str, Any]) -> bool:
    return record["response_fidelity"] in {"raw", "base64-binary"} and record["status"] not in {204, 304}


def _kind(record: dict[str, Any]) -> str:
    if record["response_body"].startswith("base64:"):
        return "binary"
    if any(name.lower() == "content-encoding" for name in record["response_headers"]):
        return "gzip"
    return "sse" if record["streaming"] else "plain"


def _answer_of(record: dict[str, Any]) -> tuple[list[Field], bytes]:
    """The recordings hold decoded bodies: those that came compressed are compressed again."""
    fields = [
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in record["response_headers"].items()
        if name.lower().encode() not in FRAMING
    ]
    body = answer_bytes(record)
    return fields, gzip.compress(body, 1, mtime=0) if _kind(record) == "gzip" else body


def _on_the_wire(
    start: bytes, fields: list[Field], body: bytes, *, is_chunked: bool, chance: random.Random
) -> bytes:
    if not is_chunked:
        return answer(body, start=start, fields=tuple(fields))
    lines = [start, *(b"%s: %s" % one for one in fields), b"Transfer-Encoding: chunked", b"", b""]
    return b"\r\n".join(lines) + chunked(*_cut(body, chance)) + LAST_CHUNK


def _cut(data: bytes, chance: random.Random, *, into_bytes: bool = False) -> list[bytes]:
    if into_bytes:
        return [data[index : index + 1] for index in range(len(data))]
    cuts = sorted(chance.sample(range(len(data) + 1), min(len(data), chance.randrange(12))))
    return [data[a:b] for a, b in itertools.pairwise([0, *cuts, len(data)]) if a < b]


async def test_headers_of_an_answer_keep_their_order_case_and_repeats(build: Build) -> None:
    fields = (
        (b"SET-cookie", b"a=1"),
        (b"x-lower", b"\xe9\xff latin"),
        (b"X-A", b"1"),
        (b"Set-Cookie", b"b=2"),
        (b"X-Empty", b""),
        (b"x-a", b"2"),
        (b"Date", b"yesterday"),
        (b"Server", b"theirs"),
    )

    async def script(conversation: Conversation) -> None:
        await conversation.send(answer(b"", start=b"HTTP/1.1 299 Odd  Reason \xe9", fields=fields))

    rig = await build(script)
    async with rig.client() as client:
        got = await client.ask(request())
    assert got.start == b"HTTP/1.1 299 Odd  Reason \xe9"
    assert end_to_end(got.fields) == list(fields)
    (captured,) = await rig.captured()
    assert captured.response_headers[0] == ("SET-cookie", "[stripped]")
    assert captured.response_headers[1] == ("x-lower", "éÿ latin")


async def test_a_request_passes_without_what_is_ours_or_hop_by_hop_and_with_nothing_added(build: Build) -> None:
    rig = await build(say_ok)
    fields = (
        (b"x-First", b"1"),
        (b"Connection", b"X-Hop, keep-alive"),
        (b"X-Hop", b"gone"),
        (b"Keep-Alive", b"timeout=5"),
        (b"Proxy-Authorization", b"Basic eA=="),
        (b"TE", b"trailers"),
        (b"Trailer", b"X-T"),
        (b"X-Run-Id", b"run 7"),
        (b"X-Session-Id", b"s"),
        (b"X-WatchLLM-Tags", b"a=b"),
        (b"traceparent", b"00-1-2-3"),
        (b"x-client-session-id", b"kept"),
        (b"X-First", b"2 \xff"),
        (b"Authorization", b"Bearer sk-mine-12345678"),
    )
    async with rig.client() as client:
        got = await client.ask(request(target="/v1/chat/completions?a=%20b&&c#"[:-1], fields=fields))
    seen = rig.upstream.requests[0]
    assert seen.start == b"POST /api/v1/chat/completions?a=%20b&&c HTTP/1.1"
    assert seen.fields == [
        (b"Host", b"127.0.0.1:%d" % rig.upstream.port),
        (b"x-First", b"1"),
        (b"x-client-session-id", b"kept"),
        (b"X-First", b"2 \xff"),
        (b"Authorization", b"Bearer sk-mine-12345678"),
        (b"Content-Length", b"14"),
    ]
    (captured,) = await rig.captured()
    assert got.value(b"X-WatchLLM-Run-Id") == b"run 7"
    assert got.value(b"X-WatchLLM-Request-Id") == str(captured.exchange_id).encode()
    assert ("X-Run-Id", "run 7") in captured.request_headers
    assert ("Authorization", "[stripped]") in captured.request_headers


async def say_ok(conversation: Conversation) -> None:
    await conversation.send(answer())


async def test_hop_by_hop_headers_of_an_answer_stay_behind(build: Build) -> None:
    fields = (
        (b"Connection", b"close, X-Secret-Hop"),
        (b"X-Secret-Hop", b"1"),
        (b"Keep-Alive", b"timeout=9"),
        (b"Proxy-Authenticate", b"Basic"),
        (b"Upgrade", b"h2c"),
        (b"X-Kept", b"1"),
    )

    async def script(conversation: Conversation) -> None:
        await conversation.send(answer(fields=fields))
        conversation.close()

    rig = await build(script)
    async with rig.client() as client:
        for _ in range(2):  # the client's connection goes on, though the upstream's does not
            got = await client.ask(request())
            assert end_to_end(got.fields) == [(b"X-Kept", b"1")]
    assert rig.upstream.connections == 2


@pytest.mark.parametrize(
    ("method", "wire", "body"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", b""),
        ("GET", b"HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n", b""),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n", b""),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end", b"until the end"),
        ("GET", b"HTTP/1.0 200 OK\r\n\r\nold", b"old"),
    ],
)
async def test_answers_end_where_rfc_9112_says(build: Build, method: str, wire: bytes, body: bytes) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.send(wire)
        if b"Length" not in wire and body:
            conversation.close()

    rig = await build(script)
    async with rig.client() as client:
        for _ in range(2):
            got = await client.ask(request(method, "/v1/models", body=None), has_body=method != "HEAD")
            assert (got.status, got.body, got.is_whole) == (int(wire[9:12]), body, True)
            assert got.value(b"content-length") == _length_in(wire)


def _length_in(wire: bytes) -> bytes | None:
    _, found, rest = wire.partition(b"Content-Length: ")
    return rest.partition(b"\r\n")[0] if found else None


async def test_interim_answers_and_trailers_pass(build: Build) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        await conversation.send(CHUNKED_HEAD + chunked(b"abc") + b"0\r\nX-Sum: 3\r\nX-Sum: 4\r\n\r\n")

    rig = await build(script)
    async with rig.client() as client:
        early = await client.ask(request())
        got = await client.answer()
    assert early.start == b"HTTP/1.1 103 Early Hints"
    assert got is not None
    assert (got.body, got.trailers) == (b"abc", [(b"X-Sum", b"3"), (b"X-Sum", b"4")])


@pytest.mark.parametrize("status", [301, 302, 307, 308, 402, 429, 500, 503, 529, 799])
async def test_statuses_pass_and_redirects_are_not_followed(build: Build, status: int) -> None:
    fields = ((b"Location", b"http://127.0.0.1:1/elsewhere"), (b"Retry-After", b"7"))

    async def script(conversation: Conversation) -> None:
        await conversation.send(answer(b"", start=b"HTTP/1.1 %d" % status, fields=fields))

    rig = await build(script)
    async with rig.client() as client:
        got = await client.ask(request())
    assert got.status == status
    assert end_to_end(got.fields) == list(fields)
    assert len(rig.upstream.requests) == 1


async def test_an_event_is_passed_on_before_the_next_one_exists(build: Build) -> None:
    go_on = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        await conversation.send(CHUNKED_HEAD + chunked(b"data: 1\n\n"))
        await go_on.wait()
        await conversation.send(chunked(b"data: 2\n\n") + LAST_CHUNK)

    rig = await build(script)
    async with rig.client() as client:
        await client.send(request())
        await client.reader.readuntil(b"data: 1\n\n\r\n")
        go_on.set()
        assert await client.reader.readuntil(LAST_CHUNK) == chunked(b"data: 2\n\n") + LAST_CHUNK


@pytest.mark.parametrize("size", [9_000, 64_000])
async def test_large_headers_of_an_answer_pass(build: Build, size: int) -> None:
    fields = (*((b"X-%d" % index, b"v") for index in range(200)), (b"X-Large", b"x" * size))

    async def script(conversation: Conversation) -> None:
        await conversation.send(answer(fields=fields))

    rig = await build(script)
    async with rig.client() as client:
        got = await client.ask(request())
    assert end_to_end(got.fields) == list(fields)


async def test_malformed_event_streams_and_bad_utf_8_pass(build: Build) -> None:
    stream = b"\xef\xbb\xbfdata: a\rdata: \xff\xfe\n: c\n\ndata: [DONE]\n\ndata: [DONE]" + b"x" * 100_000 + b"\0"

    async def script(conversation: Conversation) -> None:
        await conversation.send(CHUNKED_HEAD + chunked(stream[:9], stream[9:]) + LAST_CHUNK)

    rig = await build(script)
    async with rig.client() as client:
        assert (await client.ask(request())).body == stream
    (captured,) = await rig.captured()
    assert captured.response_body.content == stream


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        b'{"a": NaN, "a": 1e999, "b": "\\ud800"}',
        b"[" * 100_000,
    ],
    ids=["empty", "half", "bom", "utf-16", "odd-values", "deep"],
)
async def test_what_is_no_json_passes_and_is_captured_as_it_is(build: Build, body: bytes) -> None:
    rig = await build(say_ok)
    async with rig.client() as client:
        await client.ask(request(body=body))
    assert rig.upstream.requests[0].body == body
    (captured,) = await rig.captured()
    assert captured.request_body.content == body


async def test_pipelined_requests_are_answered_in_order(build: Build) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.send(answer(conversation.request.body))

    rig = await build(script)
    bodies = [b"%d" % index for index in range(500)]
    async with rig.client() as client:
        sending = asyncio.ensure_future(client.send(b"".join(request(body=body) for body in bodies)))
        answers: list[Message | None] = [await client.answer() for _ in bodies]
        await sending
    assert [one.body if one else None for one in answers] == bodies


async def test_http_1_0_clients_get_an_answer_that_ends_with_the_connection(build: Build) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.send(CHUNKED_HEAD + chunked(b"abc", b"def") + LAST_CHUNK)

    rig = await build(script)
    async with rig.client() as client:
        got = await client.ask(b"GET /v1/models HTTP/1.0\r\n\r\n")
    assert (got.value(b"transfer-encoding"), got.value(b"connection")) == (None, b"close")
    assert got.body == b"abcdef"


@pytest.mark.parametrize(
    ("destination", "is_page"),
    [(b"document", True), (b"iframe", True), (b"Object", True), (b"empty", False), (None, False)],
)
async def test_what_an_upstream_answers_is_no_page_of_the_dashboard_s_origin(
    build: Build, destination: bytes | None, is_page: bool
) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.send(answer(b"<script>alert(1)</script>"))

    rig = await build(script)
    said = [] if destination is None else [b"Sec-Fetch-Dest: " + destination]
    async with rig.client() as client:
        got = await client.ask(b"\r\n".join([b"GET /v1/files/1/content HTTP/1.1", b"Host: a", *said, b"", b""]))
    assert got.values(b"content-security-policy") == ([b"sandbox"] if is_page else [])
    assert got.values(b"x-content-type-options") == ([b"nosniff"] if is_page else [])
    assert got.body == b"<script>alert(1)</script>"
    assert rig.upstream.requests[0].value(b"sec-fetch-dest") == destination
