from __future__ import annotations

import json
import tracemalloc

import pytest

from watchllm_proxy.decode.canonical import UnfaithfulJson, dump, parse


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "unexpected end of data|empty"),
        (b"{", "unexpected end"),
        (b"[NaN]", "unexpected character"),
        (b"[1e999]", "infinity"),
        (b'["\\ud800"]', "surrogate"),
        (b'\xef\xbb\xbf{"a": 1}', "BOM"),
        ('{"a": 1}'.encode("utf-16"), "."),
        (b'["\xff"]', "UTF-8"),
        (b"[" * 100_000 + b"]" * 100_000, "depth limit"),
        (b"[" * 300 + b"]" * 300, "nested deeper than 254"),
        (b'{"a": 1, "a": 2}', "same key twice"),
        (b'{"a": 1, "\\u0061": 2}', "same key twice"),
        (b'[{"k": "\\u0022\\u0022"}, {"a": 1, "a": 2}]', "same key twice"),  # the quotes count up again
        (b'{"n": 18446744073709551616}', "64 bits"),
        (b'{"n": -9223372036854775809}', "64 bits"),
        (b'{"n": %s}' % (b"9" * 300), "64 bits"),
    ],
)
def test_what_cannot_be_kept_exactly_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(UnfaithfulJson, match=reason):
        parse(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"n": 18446744073709551615, "m": -9223372036854775808}',
        b'{"text": "12345678901234567890 is a long number"}',
        b'{"f": 0.1234567890123456789012345}',
        b'{"q": "\\u0022", "e": "\\"", "nul": "\\u0000"}',
        b"[" * 254 + b"]" * 254,
        '{"text": "é漢😀"}'.encode(),
    ],
)
def test_what_only_looks_odd_is_kept(raw: bytes) -> None:
    assert json.loads(dump(parse(raw))) == json.loads(raw)


def test_equal_bodies_have_equal_bytes() -> None:
    assert dump(parse(b'{"b": 1, "a": "\\u00e9"}')) == dump(parse('{ "a":"é",\n"b":1 }'.encode()))


def test_what_is_written_holds_no_more_memory_than_it_is_long() -> None:
    """Messages are kept by the ten thousand."""
    tracemalloc.start()
    try:
        kept = [dump({"content": "x" * 300, "number": number}) for number in range(100)]
        taken_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken_bytes < 2 * sum(map(len, kept))
