from __future__ import annotations

import pytest

from tests.unit.decode.exchanges import decoded, stream
from watchllm_proxy.decode.lenient import Read, read_json


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"logprob": -Infinity, "top": NaN}', {"logprob": None, "top": None}),
        (b'{"content": "\\ud83d"}', {"content": "?"}),
        (b'{"content": "a\xffb"}', {"content": "a\ufffdb"}),
    ],
)
def test_what_is_nearly_json_is_read_and_told(data: bytes, value: object) -> None:
    assert read_json(data) == Read(value, is_exact=False)


@pytest.mark.parametrize("data", [b"", b"OK", b'{"a": ', b"[" * 100_000, b"9" * 5_000, b"<html>"])
def test_what_is_no_json_is_not_read(data: bytes) -> None:
    assert read_json(data) is None


def test_json_is_read_exactly() -> None:
    assert read_json('{"a": "é😀"}'.encode()) == Read({"a": "é😀"}, is_exact=True)


def test_half_a_character_does_not_cost_an_answer() -> None:
    chunks = [
        b'data: {"choices": [{"index": 0, "delta": {"content": "%s"}}]}\n\n' % t for t in (b"a", b"\\ud83d", b"b")
    ]
    call = decoded(answer=b"".join(chunks))
    assert call.answer is not None
    assert call.answer.text == "a?b"
    assert call.opaque_reason == "answer: 1 of 3 events are not quite JSON objects"
    assert call.raw_response == b"".join(chunks)


def test_an_infinite_log_probability_does_not_cost_an_answer() -> None:
    body = b'{"choices": [{"index": 0, "message": {"content": "hi"}, "logprobs": {"x": -Infinity}}]}'
    call = decoded(answer=body)
    assert call.answer is not None
    assert call.answer.text == "hi"
    assert call.opaque_reason == "answer is not quite JSON: something in it was replaced"


def test_an_ordinary_stream_is_not_told() -> None:
    assert decoded(answer=stream({"choices": [{"index": 0, "delta": {"content": "x"}}]})).opaque_reason is None
