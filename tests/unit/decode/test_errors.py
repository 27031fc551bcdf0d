from __future__ import annotations

from typing import Any

import pytest

from tests.unit.decode.exchanges import MESSAGES, decoded, stream
from watchllm_proxy.records import CallError, ExchangeEnd

_TEXT = {"choices": [{"index": 0, "delta": {"content": "Hel"}}]}
_FINISH = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (
            429,
            {"error": {"type": "rate_limit_error", "message": "slow down", "code": None}},
            CallError("rate_limit_error", "slow down"),
        ),
        (402, {"error": {"code": 402, "message": "no credits"}}, CallError("http_402", "no credits", "402")),
        (
            400,
            {"error": {"code": "400", "message": "m", "metadata": {"error_type": "invalid_request"}}},
            CallError("invalid_request", "m", "400"),
        ),
        (
            400,
            {"error": {"code": "content_filter", "message": "m"}},
            CallError("content_filter", "m", "content_filter"),
        ),
        (500, {"error": "overloaded"}, CallError("http_500", "overloaded")),
        (401, {"detail": "Invalid API Key"}, CallError("http_401", "Invalid API Key")),
        (422, {"detail": [{"loc": ["body"]}]}, CallError("http_422", "[{'loc': ['body']}]")),
        (404, {"message": "no such model", "type": "not_found"}, CallError("not_found", "no such model")),
        (502, b"<html>Bad gateway</html>", CallError("http_502", "<html>Bad gateway</html>")),
        (500, b"", CallError("http_500", "the upstream answered without a body")),
        (503, b"null", CallError("http_503", "None")),
        # under 200
        (200, {"error": {"message": "filtered", "type": None, "code": "f"}}, CallError("f", "filtered", "f")),
        (200, {"error": {"message": "m", "code": 429}}, CallError("http_429", "m", "429")),
        (200, {"choices": [{"error": {"message": "m", "code": 502}}]}, CallError("http_502", "m", "502")),
        (200, b"", CallError("empty_answer", "the upstream answered 200 without a body")),
    ],
)
def test_every_shape_of_error_is_read(status: int, body: Any, error: CallError) -> None:
    call = decoded(answer=body, status=status)
    assert call.error == error
    assert call.opaque_reason is None


def test_a_successful_answer_may_hold_a_null_error() -> None:
    assert decoded("/v1/responses", answer={"error": None, "output": []}).error is None


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"error": {"message": "m", "code": 502}, "choices": []}\n\n',
        b'data: {"error": {"message": "m", "code": "502"}, "choices": [{"finish_reason": "error"}]}\n\n',
        b'event: error\ndata: {"error": {"message": "m", "code": 502}}\n\n',
        b'event: error\ndata: {"message": "m", "code": 502}\n\n',
    ],
)
def test_an_error_in_the_middle_of_a_stream_keeps_what_came_before(event: bytes) -> None:
    call = decoded(answer=stream(_TEXT) + event)
    assert call.error == CallError("http_502", "m", "502")
    assert call.answer is not None
    assert call.answer.text == "Hel"
    assert call.is_failed


def test_an_error_event_may_be_no_json() -> None:
    call = decoded(answer=b"event: error\ndata: upstream gone\n\n")
    assert call.error == CallError("error", "upstream gone")


@pytest.mark.parametrize("end", [end for end in ExchangeEnd if end is not ExchangeEnd.COMPLETE])
def test_an_exchange_that_did_not_end_well_failed(end: ExchangeEnd) -> None:
    call = decoded(answer=stream(_TEXT), end=end, error_detail="after 3 s")
    assert call.error == CallError(end.value, "after 3 s")
    assert decoded(end=end, status=None).error is not None


def test_a_client_that_leaves_after_the_last_word_got_its_answer() -> None:
    assert decoded(answer=stream(_TEXT, _FINISH), end=ExchangeEnd.CLIENT_ABORTED).error is None
    assert decoded(answer=stream(_TEXT), end=ExchangeEnd.CLIENT_ABORTED).error is not None
    assert decoded(answer=stream(_TEXT, _FINISH), end=ExchangeEnd.UPSTREAM_BROKEN).error is not None


def test_the_upstreams_own_words_come_before_ours() -> None:
    call = decoded(status=429, answer={"error": {"type": "t", "message": "m"}}, end=ExchangeEnd.UPSTREAM_BROKEN)
    assert call.error == CallError("t", "m")


def test_anthropics_error_is_read() -> None:
    body = {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}}
    assert decoded(MESSAGES, status=401, answer=body).error == CallError(
        "authentication_error", "invalid x-api-key"
    )


def test_a_long_message_is_shortened() -> None:
    error = decoded(status=500, answer=b"x" * 100_000).error
    assert error is not None
    assert len(error.message) < 5_000
