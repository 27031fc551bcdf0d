from __future__ import annotations

import gzip
import json
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.decode.exchanges import CHAT, MESSAGES, RESPONSES, as_bytes, decoded, exchange, stream
from watchllm_proxy.decode import call as call_module
from watchllm_proxy.decode import decode
from watchllm_proxy.records import Api, Exchange, ExchangeEnd

_ANSWER = {"id": "chatcmpl-1", "model": "m", "choices": [{"index": 0, "message": {"content": "hi"}}]}

# The vocabulary of all dialects, so that random bodies come near to meaning something.
_TYPES = """
    a text error function_call tool_use message reasoning response.completed ping user message_start message_delta
    content_block_start content_block_delta response.output_item.added response.output_text.delta
    response.function_call_arguments.delta thinking tool assistant
"""
_FIELDS = """
    choices delta message messages content tool_calls function name arguments id index usage prompt_tokens user
    prompt_tokens_details cost error code type role text input output response item output_index content_block
    partial_json summary system tools metadata conversation stream model reasoning_details function_call status
    citation annotations thinking finish_reason stop_reason incomplete_details prompt cost_details content_index
"""
_WORDS = st.sampled_from(_TYPES.split())
_KEYS = st.sampled_from(_FIELDS.split())
_LEAF = st.none() | st.booleans() | st.integers() | st.floats() | _WORDS | st.text(max_size=3)
_JSON = st.recursive(
    _LEAF, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=6), max_leaves=25
)
_BODY = st.dictionaries(_KEYS, _JSON, max_size=6).map(as_bytes)
_STREAM = st.lists(st.dictionaries(_KEYS, _JSON, max_size=6), max_size=6).map(lambda events: stream(*events))
_ANY_BODY = st.binary(max_size=60) | _BODY | _STREAM | _JSON.map(as_bytes)
_TARGET = st.sampled_from([CHAT, RESPONSES, MESSAGES, "/v1/completions", "/v1/embeddings", "/v1/files", "//", ""])
_HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            ["content-encoding", "x-run-id", "x-litellm-tags", "baggage", "cf-aig-metadata", "traceparent"]
        )
        | st.text(max_size=8),
        st.sampled_from(["gzip", "br", "zstd", "deflate", '{"a":', "a=b,c"]) | st.text(max_size=12),
    ),
    max_size=4,
).map(tuple)


@given(
    _TARGET,
    _ANY_BODY,
    _ANY_BODY,
    _HEADERS,
    _HEADERS,
    st.sampled_from(ExchangeEnd),
    st.sampled_from([None, 200, 404]),
)
def test_no_exchange_is_too_odd(
    target: str,
    request_body: bytes,
    answer: bytes,
    headers: Any,
    answer_headers: Any,
    end: ExchangeEnd,
    status: Any,
) -> None:
    call = decoded(
        target, request_body, answer, headers=headers, response_headers=answer_headers, end=end, status=status
    )
    assert "internal" not in (call.opaque_reason or ""), call.opaque_reason
    json.loads(call.response_metadata)


def test_everything_about_the_exchange_itself_is_carried_over() -> None:
    call = decoded(answer=_ANSWER)
    assert (call.call_id, call.project_id, call.api) == (UUID(int=1), "default", Api.CHAT_COMPLETIONS)
    assert (call.started_at_us, call.ended_at_us) == (1_790_000_000_000_000, 1_790_000_000_000_900)
    assert (call.request_bytes, call.response_bytes) == (30, len(json.dumps(_ANSWER)))
    assert call.time_to_first_token_us is None
    assert (call.raw_request, call.raw_response) == (None, None)


def test_the_first_token_is_timed_in_streams_only() -> None:
    event = stream({"choices": [{"index": 0, "delta": {"content": "x"}}]})
    assert decoded(answer=event).time_to_first_token_us == 250
    refused = decoded(request={"messages": [], "stream": True}, answer={"error": {"message": "no"}}, status=400)
    assert refused.is_stream
    assert refused.time_to_first_token_us is None


def test_a_stream_without_content_type_and_without_being_asked_for_is_a_stream() -> None:
    call = decoded(answer=stream({"choices": [{"index": 0, "delta": {"content": "x"}}]}))
    assert call.is_stream
    assert call.answer is not None


def test_json_under_a_streams_content_type_is_read() -> None:
    header = (("content-type", "text/event-stream"),)
    call = decoded(request={"messages": [], "stream": True}, answer=_ANSWER, response_headers=header)
    assert call.answer is not None
    assert call.answer.text == "hi"


@pytest.mark.parametrize(
    ("request_body", "reason"),
    [
        (b"", "request body is empty"),
        (b"not json", "request body is not JSON"),
        (b"[1]", "request body is not a JSON object"),
        (b'{"a": 1, "a": 2}', "not quite JSON: an object has the same key twice"),
        (b"[" * 100_000, "depth limit"),
    ],
)
def test_a_request_that_cannot_be_understood_keeps_its_bytes_and_its_answer(
    request_body: bytes, reason: str
) -> None:
    call = decoded(request=request_body, answer=_ANSWER)
    assert call.opaque_reason is not None
    assert reason in call.opaque_reason
    assert call.raw_request == request_body
    assert call.raw_response is None
    assert call.answer is not None
    assert call.response_id == "chatcmpl-1"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b'"half \\ud83d of it"', "half ? of it"),
        (b'"a", "x": NaN', "a"),
        (b'"a", "seed": 123456789012345678901', "a"),
    ],
)
def test_a_request_that_is_nearly_json_has_its_conversation_and_keeps_its_bytes(content: bytes, text: str) -> None:
    body = b'{"model": "m", "messages": [{"role": "user", "content": ' + content + b"}]}"
    call = decoded(request=body, answer=_ANSWER)
    assert (call.opaque_reason or "").startswith("request body is not quite JSON: ")
    assert [message.text for message in call.messages] == [text]
    assert (call.request_model, call.raw_request) == ("m", body)


def test_what_an_answer_had_half_of_is_the_same_when_it_is_sent_back() -> None:
    said = b'{"role": "assistant", "content": "half \\ud83d"}'
    answered = decoded(request={"messages": []}, answer=b'{"choices": [{"index": 0, "message": ' + said + b"}]}")
    sent_back = decoded(request=b'{"model": "m", "messages": [' + said + b"]}", answer=_ANSWER)
    assert answered.answer is not None
    assert sent_back.messages[0].content_hash == answered.answer.content_hash


def test_an_answer_that_cannot_be_understood_keeps_its_bytes_and_its_request() -> None:
    call = decoded(request={"model": "m", "messages": [{"role": "user", "content": "q"}]}, answer=b"OK")
    assert call.opaque_reason == "answer is not JSON"
    assert call.raw_response == b"OK"
    assert call.raw_request is None
    assert call.messages[0].text == "q"


def test_an_event_that_is_no_json_does_not_cost_the_others() -> None:
    content = stream({"choices": [{"index": 0, "delta": {"content": "x"}}]}) + b"data: oops\n\n"
    call = decoded(answer=content)
    assert call.opaque_reason == "answer: 1 of 2 events are not quite JSON objects"
    assert call.raw_response == content
    assert call.answer is not None
    assert call.answer.text == "x"


def test_bytes_that_are_no_utf8_are_replaced_in_an_event() -> None:
    call = decoded(answer=b'data: {"choices": [{"index": 0, "delta": {"content": "a\xffb"}}]}\n\n')
    assert call.answer is not None
    assert call.answer.text == "a\ufffdb"
    assert call.opaque_reason == "answer: 1 of 1 events are not quite JSON objects"
    assert call.raw_response is not None


def test_a_cut_request_is_marked_and_its_answer_read() -> None:
    call = decoded(request={"model": "m", "messages": []}, answer=_ANSWER, request_limit=10)
    assert call.is_truncated
    assert call.opaque_reason == "request body cut at the capture limit"
    assert call.answer is not None
    same = decoded(request={"model": "m", "messages": []}, request_limit=10)
    assert same.request_hash == call.request_hash


def test_a_request_that_never_came_whole_is_not_taken_for_any_other() -> None:
    whole = exchange(request={"model": "m", "messages": []}, answer=_ANSWER)
    body = replace(whole.request_body, content=whole.request_body.content[:10], is_partial=True)
    call = decode(replace(whole, request_body=body))
    assert call.is_truncated
    assert call.opaque_reason == "request body had not arrived when the exchange ended"
    assert call.raw_request == body.content
    assert call.request_hash == b"", "equal hashes are told as retries"
    assert call.answer is not None


def test_a_cut_stream_gives_what_came() -> None:
    content = stream(*({"id": "c", "choices": [{"index": 0, "delta": {"content": t}}]} for t in ("a", "b", "c")))
    call = decoded(answer=content, answer_limit=len(content) - 20)
    assert call.is_truncated
    assert call.opaque_reason is None
    assert call.answer is not None
    assert call.answer.text == "ab"


def test_a_cut_json_answer_is_not_opaque_where_the_end_tells_why() -> None:
    call = decoded(answer=b'{"id": "x", "choi', end=ExchangeEnd.UPSTREAM_BROKEN)
    assert call.opaque_reason is None
    assert call.error is not None


def test_compressed_requests_are_read() -> None:
    body = gzip.compress(as_bytes({"model": "m", "messages": [{"role": "user", "content": "q"}]}))
    call = decoded(request=body, headers=(("content-encoding", "gzip"),))
    assert call.messages[0].text == "q"


def test_equal_bodies_have_equal_request_hashes() -> None:
    one = decoded(request=b'{"model":"m","messages":[{"role":"user","content":"q"}]}')
    same = decoded(request=b'{ "messages": [{"content": "q", "role": "user"}], "model": "m" }')
    other = decoded(request=b'{"model":"m","messages":[{"role":"user","content":"r"}]}')
    assert one.request_hash == same.request_hash
    assert one.request_hash != other.request_hash
    assert len(one.request_hash) == 16


def test_raw_bytes_are_kept_where_they_are_asked_for() -> None:
    sent = exchange(answer=_ANSWER)
    call = decode(sent, keep_raw=True)
    assert (call.raw_request, call.raw_response) == (sent.request_body.content, sent.response_body.content)


def test_other_apis_are_kept_without_being_read() -> None:
    call = decoded("/v1/images/generations", {"prompt": "a cat"}, {"id": "img_1", "data": [{"b64_json": "…"}]})
    assert call.api is Api.OTHER
    assert (call.response_id, call.issued_ids) == ("img_1", ("img_1",))
    assert call.messages == ()
    assert call.opaque_reason is None
    assert decoded("/v1/models", b"", {"data": []}, method="GET").opaque_reason is None


def test_openrouters_generation_id_stands_in_for_a_missing_response_id() -> None:
    call = decoded(answer=b"", response_headers=(("X-Generation-Id", "gen-1"),), end=ExchangeEnd.CLIENT_ABORTED)
    assert call.response_id == "gen-1"


def test_long_metadata_is_left_out_and_named() -> None:
    body = {**_ANSWER, "system_fingerprint": "fp", "prompt_logprobs": list(range(20_000)), "provider": "Azure"}
    call = decoded(answer=body)
    assert json.loads(call.response_metadata) == {"system_fingerprint": "fp", "left_out": ["prompt_logprobs"]}
    assert call.provider_name == "Azure"


def test_a_bug_of_ours_becomes_a_reason_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(call_module, "read_request", broken)
    sent: Exchange = exchange(answer=_ANSWER, headers=(("x-run-id", "r"),))
    call = decode(sent)
    assert call.opaque_reason == "internal: ZeroDivisionError"
    assert (call.raw_request, call.raw_response) == (sent.request_body.content, sent.response_body.content)
    assert [one.value for one in call.client_ids] == ["r"]


@pytest.mark.parametrize("target", [CHAT, RESPONSES, MESSAGES])
def test_an_answer_nested_too_deep_is_told(target: str) -> None:
    deep: Any = "x"
    for _ in range(300):
        deep = [deep]
    body = {"choices": [{"index": 0, "message": {"content": deep}}], "output": [deep], "content": [deep]}
    for answer in (as_bytes(body), stream({"type": "response.completed", "response": body, **body})):
        call = decoded(target, answer=answer)
        assert "internal" not in (call.opaque_reason or "")
    assert decoded(target, answer=body).opaque_reason == "answer: nested deeper than 254 levels"


def test_decoding_twice_gives_the_same_call() -> None:
    sent = exchange(answer=stream({"choices": [{"index": 0, "delta": {"content": "x"}}]}))
    assert decode(sent) == decode(replace(sent))
