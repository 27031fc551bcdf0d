"""Decode over all recorded traffic: 2,975 exchanges of 32 providers, and 3,890 of 16 agent frameworks."""

from __future__ import annotations

import collections
import gzip
import json
import random
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import brotli
import pytest
import zstandard

from tests.integration.decode import expected
from tests.integration.decode.wire import answer_bytes, exchange_of, read_jsonl, read_wire
from watchllm_proxy.decode import KnownMessages, decode, rebuild
from watchllm_proxy.decode.sse import SseParser, parse_events
from watchllm_proxy.records import Api, Call

pytestmark = pytest.mark.shared

Recorded = tuple[dict[str, Any], Call]

_EXPECT: dict[Api, Callable[[str], expected.Expected]] = {
    Api.CHAT_COMPLETIONS: expected.chat,
    Api.COMPLETIONS: expected.completion,
    Api.RESPONSES: expected.responses,
    Api.MESSAGES: expected.messages,
}


@pytest.fixture(scope="module")
def wire(shared: Path) -> list[Recorded]:
    return [(record, decode(exchange_of(record))) for record in read_wire(shared / "data" / "wire")]


@pytest.fixture(scope="module")
def agents(shared: Path) -> list[Recorded]:
    return [(r, decode(exchange_of(r))) for r in read_jsonl(shared / "data" / "agents" / "mix.jsonl.gz")]


def _answered(wire: list[Recorded], api: Api) -> list[Recorded]:
    return [
        (record, call)
        for record, call in wire
        if call.api is api
        and (record["status"] or 200) < 400
        and not (call.opaque_reason or "").startswith("answer")
    ]


def test_every_recording_is_understood_or_says_why_not(wire: list[Recorded]) -> None:
    assert len(wire) == 2975
    reasons = collections.Counter((call.api.value, call.opaque_reason) for _, call in wire if call.opaque_reason)
    assert reasons == {
        # These recordings hold the answer only.
        ("messages", "request body is empty"): 36,
        ("responses", "request body is empty"): 32,
        ("chat_completions", "request body is empty"): 18,
        # A recorder cut this body.
        ("other", "request body is not JSON: unexpected end of data"): 1,
        # text/plain under /chat/completions: "method=POST pathname=…"
        ("chat_completions", "answer is not JSON"): 1,
    }


def test_calls_are_the_same_whether_their_messages_were_read_before_or_not(
    wire: list[Recorded], agents: list[Recorded]
) -> None:
    known = KnownMessages()
    for record, call in (*wire, *agents):
        assert decode(exchange_of(record), known=known) == call


def test_an_agents_recording_is_always_understood(agents: list[Recorded]) -> None:
    assert len(agents) == 3890
    assert [call.opaque_reason for _, call in agents if call.opaque_reason] == []


@pytest.mark.parametrize("corpus", ["wire", "agents"])
def test_every_request_can_be_rebuilt(corpus: str, request: pytest.FixtureRequest) -> None:
    rebuilt = 0
    for record, call in request.getfixturevalue(corpus):
        if not isinstance(record["request_body"], dict) or call.raw_request is not None:
            continue
        assert json.loads(rebuild(call.request_skeleton, call.messages)) == record["request_body"], record
        rebuilt += 1
    assert rebuilt > 2700


@pytest.mark.parametrize(
    ("api", "count"),
    [
        (Api.CHAT_COMPLETIONS, 1290),
        (Api.COMPLETIONS, 59),
        (Api.RESPONSES, 438),
        (Api.MESSAGES, 392),
    ],
)
def test_model_usage_tool_calls_and_finish_reasons_are_those_of_the_record(
    wire: list[Recorded], api: Api, count: int
) -> None:
    compared = 0
    for record, call in _answered(wire, api):
        text = answer_bytes(record).decode()
        if not text.strip():
            assert call.error is not None
            assert call.error.type == "empty_answer"
            continue
        if text.count('"type":"message_start"') > 1:  # several streams in one file: no exchange is like that
            continue
        want = _EXPECT[api](text)
        where = (record["id"], record["provider"])
        assert call.response_model == want.model, where
        assert list(call.finish_reasons) == want.finish_reasons, where
        assert {name: getattr(call.usage, name) for name in want.usage} == want.usage, where
        assert _tool_calls(call) == want.tool_calls, where
        compared += 1
    assert compared == count


def _tool_calls(call: Call) -> list[tuple[str | None, str, str]]:
    if call.answer is None:
        return []
    calls = call.answer.tool_calls
    if call.api is Api.MESSAGES:
        return [(c.tool_call_id, c.name, json.dumps(json.loads(c.arguments), sort_keys=True)) for c in calls]
    return [(c.tool_call_id, c.name, c.arguments) for c in calls]


def test_every_id_in_an_answer_is_issued(agents: list[Recorded]) -> None:
    for _, call in agents:
        for tool_call in call.answer.tool_calls if call.answer else ():
            assert tool_call.tool_call_id in call.issued_ids


def test_a_tool_call_id_comes_back_in_the_mentioned_ids(agents: list[Recorded]) -> None:
    """Detection's second rule stands on this: also for smolagents, which sends ids inside text only."""
    issued = {id_ for _, call in agents for id_ in call.issued_ids}
    follow_ups = collections.Counter(
        record["framework"] for record, call in agents if any(id_ in issued for id_ in call.mentioned_ids)
    )
    assert follow_ups["smolagents"] > 100
    assert follow_ups["openai"] > 200
    assert follow_ups["vercel_ai5"] > 200


def test_an_answer_that_comes_back_is_the_same_message_to_the_link_hash(agents: list[Recorded]) -> None:
    """Frameworks rewrite what they send back; the normal form has to survive most of it.

    Counted over answers with tool calls that are mentioned again later: a message of the later request has the
    link hash of the answer.
    """
    by_id = {c.tool_call_id: call for _, call in agents if call.answer for c in call.answer.tool_calls}
    seen = collections.Counter[tuple[str, bool]]()
    for record, call in agents:
        if call.api is not Api.CHAT_COMPLETIONS:
            continue
        hashes = {message.link_hash for message in call.messages}
        for message in call.messages:
            for tool_call in message.tool_calls:
                origin = by_id.get(tool_call.tool_call_id)
                if origin is not None and origin.answer is not None:
                    seen[record["framework"], origin.answer.link_hash in hashes] += 1
    survived = sum(count for (_, is_same), count in seen.items() if is_same)
    assert survived / seen.total() > 0.99, seen


def test_a_stream_cut_anywhere_gives_the_same_events(wire: list[Recorded]) -> None:
    chance = random.Random(20261122)
    streams = 0
    for record, call in wire:
        content = answer_bytes(record)
        if call.time_to_first_token_us is None or not content:
            continue
        cuts = sorted(chance.randrange(len(content)) for _ in range(3))
        pieces = [content[start:end] for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True)]
        parser = SseParser()
        events = [event for piece in pieces for event in parser.feed(piece)]
        assert [*events, *parser.close()] == parse_events(content), record["id"]
        streams += 1
    assert streams > 300


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [
        ("gzip", lambda data: gzip.compress(data[:300], 1) + gzip.compress(data[300:], 1)),
        ("deflate", lambda data: zlib.compress(data, 1)),
        ("br", lambda data: brotli.compress(data, quality=1)),
        ("zstd", lambda data: zstandard.compress(data[:300]) + zstandard.compress(data[300:])),
    ],
)
def test_an_encoded_answer_gives_the_identical_call(
    wire: list[Recorded], encoding: str, encode: Callable[[bytes], bytes]
) -> None:
    for record, call in wire[::3]:
        if not (content := answer_bytes(record)):
            continue
        encoded = decode(exchange_of(record, encode(content), encoding))
        raw = call.raw_response
        assert replace(encoded, response_bytes=call.response_bytes, raw_response=raw) == call, record["id"]


def test_a_stream_that_breaks_anywhere_is_never_a_bug_of_ours(wire: list[Recorded]) -> None:
    chance = random.Random(7)
    for record, _ in wire[::2]:
        content = answer_bytes(record)
        if content:
            call = decode(exchange_of(record, content[: chance.randrange(len(content))]))
            assert "internal" not in (call.opaque_reason or ""), record["id"]


def test_the_answers_of_a_stream_and_of_its_final_object_are_alike(wire: list[Recorded]) -> None:
    """Responses streams hold their output twice: in deltas, and whole in the last event."""
    compared = 0
    for record, call in wire:
        if call.api is not Api.RESPONSES or call.time_to_first_token_us is None or call.answer is None:
            continue
        all_events = parse_events(answer_bytes(record))
        events = [data for _, data in all_events if b'"response.completed"' not in data]
        if len(all_events) - len(events) != 1:  # some recordings hold several streams in one file
            continue
        broken = b"".join(b"data: " + data.replace(b"\n", b"\ndata: ") + b"\n\n" for data in events)
        assembled = decode(exchange_of(record, broken)).answer
        assert assembled is not None, record["id"]
        assert (assembled.text, assembled.tool_calls) == (call.answer.text, call.answer.tool_calls), record["id"]
        compared += 1
    assert compared > 50
