"""The upstream connection tells the same answer however its bytes are cut."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchllm_proxy.errors import UpstreamError
from watchllm_proxy.proxy.headers import Field
from watchllm_proxy.proxy.upstream import Framing, UpstreamConnection
from watchllm_proxy.records import ExchangeEnd


class Told:
    """A receiver that notes what it is told, bodies joined."""

    def __init__(self) -> None:
        self.interim: list[int] = []
        self.heads: list[tuple[int, bytes, list[Field], Framing]] = []
        self.body = b""
        self.ends: list[object] = []

    def response_interim(self, status: int, reason: bytes, fields: list[Field]) -> None:
        self.interim.append(status)

    def response_head(self, status: int, reason: bytes, fields: list[Field], framing: Framing) -> None:
        self.heads.append((status, reason, list(fields), framing))

    def response_body(self, chunk: bytes) -> None:
        self.body += chunk

    def response_flush(self) -> None:
        pass

    def response_end(self, trailers: list[Field]) -> None:
        self.ends.append(list(trailers))

    def response_failed(self, error: UpstreamError) -> None:
        self.ends.append(error.end)


class Wire(asyncio.Transport):
    """A transport that only knows whether it is open."""

    def __init__(self) -> None:
        super().__init__()
        self.is_shut = False

    def is_closing(self) -> bool:
        return self.is_shut

    def abort(self) -> None:
        self.is_shut = True


def converse(pieces: list[bytes], *, is_head_request: bool = False, eof: bool = False) -> tuple[Told, bool]:
    """Feed an answer; what was told, and whether the connection is fit for another."""
    reusable: list[UpstreamConnection] = []
    connection = UpstreamConnection(idle=reusable.append, closed=lambda _: None)
    connection.connection_made(Wire())
    told = Told()
    connection.begin(told, is_head_request=is_head_request)
    connection.is_request_sent = True
    for piece in pieces:
        connection.data_received(piece)
    if eof:
        connection.connection_lost(None)
    return told, bool(reusable) and connection.is_open


ANSWERS = {
    "length": b"HTTP/1.1 200 OK\r\nX-A: \r\nX-B:  b  c \r\nContent-Length: 6\r\n\r\nabcdef",
    "chunked": b"HTTP/1.1 200 \r\nTransfer-Encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n3\r\ndef\r\n0\r\nT: 1\r\n\r\n",
    "interim": b"HTTP/1.1 103 E\r\nL: a\r\n\r\nHTTP/1.1 100 C\r\n\r\nHTTP/1.1 200 K\r\nContent-Length: 1\r\n\r\na",
    "none": b"HTTP/1.1 204 No Content\r\n\r\n",
    "not modified": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
    "no reason": b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
    "latin": b"HTTP/1.1 500 \xe9\xe8\r\nX: \xff\r\nContent-Length: 0\r\n\r\n",
}
WHOLE = {name: converse([wire]) for name, wire in ANSWERS.items()}


@pytest.mark.parametrize("name", ANSWERS)
@given(data=st.data())
@settings(max_examples=60)
def test_any_cut_tells_the_same(name: str, data: st.DataObject) -> None:
    wire = ANSWERS[name]
    cuts = sorted(data.draw(st.sets(st.integers(1, len(wire) - 1), max_size=12)))
    pieces = [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
    told, is_reusable = converse(pieces)
    whole, _ = WHOLE[name]
    assert vars(told) == vars(whole)
    assert is_reusable
    assert len(told.ends) == 1


def test_names_values_reasons_and_trailers_are_as_sent() -> None:
    assert WHOLE["length"][0].heads[0][1:3] == (
        b"OK",
        [(b"X-A", b""), (b"X-B", b"b  c"), (b"Content-Length", b"6")],
    )
    assert WHOLE["chunked"][0].ends == [[(b"T", b"1")]]
    assert WHOLE["interim"][0].interim == [103, 100]


@given(st.binary(max_size=200), st.sampled_from(sorted(ANSWERS)), st.integers(0, 80))
def test_no_bytes_raise_and_every_exchange_ends_once_the_connection_has(junk: bytes, name: str, cut: int) -> None:
    told, _ = converse([ANSWERS[name][:cut], junk], eof=True)
    assert len(told.ends) == 1


@pytest.mark.parametrize("cut", range(1, len(ANSWERS["chunked"])))
def test_an_answer_that_stops_early_never_ends_well(cut: int) -> None:
    told, is_reusable = converse([ANSWERS["chunked"][:cut]], eof=True)
    assert told.ends in ([ExchangeEnd.UPSTREAM_INVALID], [ExchangeEnd.UPSTREAM_BROKEN])
    assert not is_reusable


def test_the_answer_to_head_ends_with_its_head() -> None:
    told, is_reusable = converse([ANSWERS["length"].partition(b"abc")[0]], is_head_request=True)
    assert (told.heads[0][3], told.ends) == (Framing.NONE, [[]])
    assert not is_reusable


def test_an_answer_without_a_length_ends_with_the_connection() -> None:
    wire = b"HTTP/1.1 200 OK\r\n\r\nabc"
    assert converse([wire])[0].ends == []
    told, is_reusable = converse([wire], eof=True)
    assert (told.body, told.ends, is_reusable) == (b"abc", [[]], False)


@pytest.mark.parametrize("last", [b"Connection: close\r\n", b""])
def test_a_connection_is_reused_only_if_the_upstream_keeps_it(last: bytes) -> None:
    _, is_reusable = converse([b"HTTP/1.1 200 OK\r\n" + last + b"Content-Length: 0\r\n\r\n"])
    assert is_reusable is (last == b"")
    assert converse([b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"])[1] is False


def test_an_answer_to_half_a_request_ends_the_connection() -> None:
    reusable: list[UpstreamConnection] = []
    connection = UpstreamConnection(idle=reusable.append, closed=lambda _: None)
    connection.connection_made(Wire())
    told = Told()
    connection.begin(told, is_head_request=False)
    connection.data_received(ANSWERS["length"])
    assert (len(told.ends), reusable, connection.is_open) == (1, [], False)
