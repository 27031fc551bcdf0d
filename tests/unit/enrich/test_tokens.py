from __future__ import annotations

import json
import socket
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.decode.exchanges import CHAT, MESSAGES, RESPONSES, decoded, stream
from watchllm_proxy.enrich import tokens
from watchllm_proxy.enrich.tokens import (
    MAX_COUNTED_CHARACTERS,
    TOKENS_PER_MESSAGE,
    TOKENS_PER_REPLY_START,
    count_tokens,
    encoding_name,
    estimate_usage,
)
from watchllm_proxy.records import ExchangeEnd, Usage


def _exact(text: str, encoding: str = "o200k_base") -> int:
    return len(tokens._encoding(encoding).encode_ordinary(text))


def _answer(**message: Any) -> dict[str, Any]:
    return {"id": "x", "model": "gpt-4o", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}


_REQUEST = {"model": "gpt-4o", "messages": [{"role": "user", "content": "What is the weather in Oslo?"}]}


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("gpt-4o", "o200k_base"),
        ("gpt-4o-mini-2024-07-18", "o200k_base"),
        ("openai/gpt-4o-mini", "o200k_base"),
        ("gpt-4", "cl100k_base"),
        ("gpt-4-0613", "cl100k_base"),
        ("gpt-3.5-turbo-0125", "cl100k_base"),
        ("text-embedding-3-small", "cl100k_base"),
        ("text-davinci-003", "cl100k_base"),  # its own vocabulary would have to be downloaded
        ("gpt-oss-120b", "o200k_base"),
        ("gpt2", "o200k_base"),
        ("anthropic/claude-sonnet-4.5", "o200k_base"),
        ("", "o200k_base"),
        (None, "o200k_base"),
    ],
)
def test_a_model_is_counted_in_its_vocabulary(model: str | None, encoding: str) -> None:
    assert encoding_name(model) == encoding


def test_an_untold_usage_is_counted_and_marked() -> None:
    usage = estimate_usage(decoded(CHAT, _REQUEST, _answer(content="It rains."))).usage
    wanted = _exact("What is the weather in Oslo?") + TOKENS_PER_MESSAGE + TOKENS_PER_REPLY_START
    assert usage == Usage(
        input_tokens=wanted,
        output_tokens=_exact("It rains."),
        total_tokens=wanted + _exact("It rains."),
        is_estimated=True,
    )


def test_a_told_usage_is_left_alone() -> None:
    call = decoded(CHAT, _REQUEST, {**_answer(content="x"), "usage": {"prompt_tokens": 1, "completion_tokens": 0}})
    assert estimate_usage(call) is call


def test_tool_calls_and_reasoning_count_as_output() -> None:
    function = {"name": "weather", "arguments": '{"city": "Oslo"}'}
    plain = estimate_usage(decoded(CHAT, _REQUEST, _answer(content="x"))).usage.output_tokens or 0
    calling = estimate_usage(
        decoded(CHAT, _REQUEST, _answer(content="x", tool_calls=[{"id": "a", "function": function}]))
    ).usage.output_tokens
    thinking = estimate_usage(
        decoded(CHAT, _REQUEST, _answer(content="x", reasoning_content="They ask for the weather."))
    ).usage.output_tokens
    assert calling == _exact('x\nweather({"city": "Oslo"})')
    assert thinking == plain + _exact("They ask for the weather.")


def test_offered_tools_count_as_input() -> None:
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    bare = estimate_usage(decoded(CHAT, _REQUEST, _answer(content="x"))).usage.input_tokens or 0
    with_tools = estimate_usage(
        decoded(CHAT, {**_REQUEST, "tools": tools}, _answer(content="x"))
    ).usage.input_tokens
    assert with_tools == bare + _exact(json.dumps(tools, separators=(",", ":"), sort_keys=True))


@pytest.mark.parametrize(
    ("target", "body", "count"),
    [
        ("/v1/embeddings", {"input": ["one two", "three"]}, _exact("one two") + _exact("three")),
        ("/v1/embeddings", {"input": [5, 6, 7]}, 3),
        ("/v1/completions", {"prompt": [[5, 6], [7]]}, 3),
    ],
)
def test_inputs_and_token_ids_are_counted(target: str, body: dict[str, Any], count: int) -> None:
    assert estimate_usage(decoded(target, body, {"id": "x"})).usage.input_tokens == count


def test_embeddings_have_no_output() -> None:
    usage = estimate_usage(decoded("/v1/embeddings", {"input": "x"}, {"data": []})).usage
    assert (usage.output_tokens, usage.is_estimated) == (None, True)


def test_a_stream_whose_client_left_is_counted_as_far_as_it_came() -> None:
    events = stream(*({"choices": [{"index": 0, "delta": {"content": text}}]} for text in ("Hel", "lo")))
    call = decoded(CHAT, _REQUEST, events, end=ExchangeEnd.CLIENT_ABORTED)
    assert estimate_usage(call).usage.output_tokens == _exact("Hello")


def test_a_cut_messages_stream_does_not_pass_for_its_first_event() -> None:
    text = "The weather in Oslo is mild today."
    events = stream(
        {"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 9, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": text}},
    )
    body = {"model": "c", "messages": [{"role": "user", "content": "q"}]}
    usage = estimate_usage(decoded(MESSAGES, body, events, end=ExchangeEnd.UPSTREAM_BROKEN)).usage
    assert (usage.input_tokens, usage.output_tokens) == (9, _exact(text))
    assert (usage.total_tokens, usage.is_estimated) == (9 + _exact(text), True)


@pytest.mark.parametrize(
    ("status", "end"), [(429, ExchangeEnd.COMPLETE), (None, ExchangeEnd.UPSTREAM_UNREACHABLE)]
)
def test_a_call_that_was_turned_away_used_nothing_that_is_known(status: int | None, end: ExchangeEnd) -> None:
    call = decoded(CHAT, _REQUEST, {"error": {"message": "no"}}, status=status, end=end)
    assert estimate_usage(call) is call


def test_a_request_that_was_not_understood_is_not_counted() -> None:
    call = decoded(RESPONSES, b"no json", {"output": [{"type": "message", "content": "x"}]})
    assert estimate_usage(call) is call


def test_a_long_text_is_counted_by_its_beginning_alone() -> None:
    beginning = ("hello world " * MAX_COUNTED_CHARACTERS)[:MAX_COUNTED_CHARACTERS]
    denser = "1!" * (MAX_COUNTED_CHARACTERS // 2)
    assert count_tokens(denser, "gpt-4o") > 2 * count_tokens(beginning, "gpt-4o")
    assert count_tokens(beginning + denser, "gpt-4o") == 2 * count_tokens(beginning, "gpt-4o")


def test_lone_surrogates_and_special_tokens_are_text() -> None:
    assert count_tokens("x\ud800y", "gpt-4o") > 0
    assert count_tokens("<|endoftext|>", "gpt-4o") > 1


def test_counting_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    tokens._encoding.cache_clear()
    for model in ("gpt-4o", "gpt-4", "text-davinci-003", "davinci", "gpt2", "code-davinci-002", "llama", None):
        assert count_tokens("hello world", model) == 2


def test_the_answers_model_comes_before_the_one_asked_for() -> None:
    text = "漢字とかな、그리고 한글"
    call = decoded(
        CHAT, {"model": "gpt-4o", "messages": [{"role": "user", "content": text}]}, _answer(content="x")
    )
    as_gpt4 = estimate_usage(replace(call, response_model="gpt-4")).usage.input_tokens or 0
    assert as_gpt4 - TOKENS_PER_MESSAGE - TOKENS_PER_REPLY_START == _exact(text, "cl100k_base")
    assert _exact(text, "cl100k_base") != _exact(text)


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4"])
def test_text_of_more_tokens_than_a_model_reads_is_counted_all_the_same(model: str) -> None:
    """Rare characters are several tokens each; the library raises over its limit, and the call was lost."""
    piece = "\uff41\u0301"
    once = count_tokens(piece * 1_000, model)
    assert count_tokens(piece * 100_000, model) == pytest.approx(100 * once, rel=0.01)
