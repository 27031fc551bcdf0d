from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchllm_proxy.decode.sse import Event, SseParser, looks_like_events, parse_events

_LINE = st.one_of(
    st.sampled_from(
        ["", "data", "data:", "data: x", "event: error", ": OPENROUTER PROCESSING", "id: 1", "retry: 3", "x"]
    ),
    st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=20).map(
        lambda text: f"data: {text}"
    ),
)
_STREAM = st.lists(st.tuples(_LINE, st.sampled_from(["\n", "\r\n", "\r"])), max_size=30).map(
    lambda lines: "".join(line + end for line, end in lines).encode()
)


PIECES = (
    b"data: {}\n\n",
    b"data: ",
    b"data:x\n",
    b"data",
    b"\n",
    b"\n\n",
    b"\r\n",
    b"event: e\n",
    b": note\n\n",
    b"a b",
)


@given(_STREAM | st.binary(max_size=200), st.data())
def test_a_stream_cut_anywhere_gives_the_same_events(content: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=8)))
    parser = SseParser()
    events = [event for a, b in pairwise([0, *cuts, len(content)]) for event in parser.feed(content[a:b])]
    assert [*events, *parser.close()] == parse_events(content)


@given(st.lists(st.sampled_from(PIECES), max_size=12))
def test_a_whole_stream_gives_what_it_gives_piece_by_piece(pieces: list[bytes]) -> None:
    """Plain streams are read in another way: whatever stands in them, nobody can tell."""
    parser = SseParser()
    events = [event for piece in pieces for event in parser.feed(piece)]
    assert parse_events(b"".join(pieces)) == [*events, *parser.close()]


def test_byte_by_byte_is_as_good_as_whole() -> None:
    content = '\ufeffdata: {"a": "é漢"}\r\n\r\nevent: error\rdata: 1\rdata: 2\r\r: note\n\ndata: last'.encode()
    parser = SseParser()
    events = [event for byte in content for event in parser.feed(bytes([byte]))]
    assert [*events, *parser.close()] == [
        Event("", '{"a": "é漢"}'.encode()),
        Event("error", b"1\n2"),
        Event("", b"last"),
    ]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_all_three_line_ends_separate_events(line_end: str) -> None:
    content = line_end.join(["event: a", "data: 1", "", "data:2", "", ""]).encode()
    assert parse_events(content) == [Event("a", b"1"), Event("", b"2")]


def test_a_name_without_data_is_no_event_and_does_not_stick() -> None:
    assert parse_events(b"event: ping\n\ndata: x\n\n") == [Event("", b"x")]


def test_only_one_space_after_the_colon_belongs_to_the_syntax() -> None:
    assert parse_events(b"data:  x\n\n") == [Event("", b" x")]


def test_an_event_that_the_stream_broke_off_in_is_given_at_the_end() -> None:
    assert parse_events(b'data: {"a": 1}\n\ndata: {"b": ') == [Event("", b'{"a": 1}'), Event("", b'{"b": ')]


def test_a_five_megabyte_event_in_small_pieces_takes_linear_time() -> None:
    content = b"data: " + b"x" * 5_000_000 + b"\n\n"
    parser = SseParser()
    began = time.process_time()
    events = [e for at in range(0, len(content), 100) for e in parser.feed(content[at : at + 100])]
    assert time.process_time() - began < 10  # a fiftieth of it is taken; read again with each piece it is 125 GB
    assert [len(event.data) for event in events] == [5_000_000]


@pytest.mark.parametrize(
    "start", [b"data: x", b"\xef\xbb\xbfevent: x", b": note", b"\r\n\ndata:x", b"id: 4", b"retry: 1"]
)
def test_a_stream_is_told_by_its_first_bytes(start: bytes) -> None:
    assert looks_like_events(start)


@pytest.mark.parametrize("start", [b'{"data": 1}', b"<html>", b"", b"database"])
def test_other_bodies_are_no_stream(start: bytes) -> None:
    assert not looks_like_events(start)
