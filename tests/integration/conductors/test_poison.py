"""What an upstream or a client may send to break a batch: it is stored or set aside, and all others are stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

import orjson
import pytest

from tests.integration.conductors.recording import Recording, chat, run_until_stored
from watchllm_proxy.records import Body, Exchange
from watchllm_proxy.store.dead_letters import DeadLetters

OTHERS = 2
ANSWER = b'{"id":"c","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":%s}}]}'


def body(content: bytes) -> Body:
    return Body(content, len(content))


def asking(text: bytes, answer: bytes = ANSWER % b'"ok"', **more: object) -> Exchange:
    """A chat whose one message is this JSON text, byte for byte."""
    request = b'{"model":"m","messages":[{"role":"user","content":%s}]}' % text
    return replace(chat(0), request_body=body(request), response_body=body(answer), **more)


def sent(request: bytes) -> Exchange:
    return replace(chat(0), request_body=body(request))


def many_messages() -> Exchange:
    messages = [{"role": "user", "content": str(number)} for number in range(100_000)]
    return sent(orjson.dumps({"model": "m", "messages": messages}))


def many_tool_calls() -> Exchange:
    calls = [
        {"id": f"call_{number}", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        for number in range(20_000)
    ]
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    answer = {"id": "c", "model": "m", "choices": [{"index": 0, "message": message}]}
    return asking(b'"go"', orjson.dumps(answer))


def deep(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def truncated() -> Exchange:
    """A body of 100 MB of which the proxy kept the beginning."""
    kept = b'{"model":"m","messages":[{"role":"user","content":"' + b"x" * 1_000_000
    return replace(chat(0), request_body=Body(kept, 100_000_000, "0" * 64))


POISONS: dict[str, Callable[[], Exchange]] = {
    "NUL in the message": lambda: asking(b'"a\\u0000b"'),
    "NUL bytes in the body": lambda: asking(b'"a\0b"'),
    "NUL in the answer": lambda: asking(b'"hi"', ANSWER % b'"a\\u0000b"'),
    "NUL in names": lambda: sent(
        b'{"model":"m\\u0000","user":"\\u0000","messages":[{"role":"user","content":"x"}]}'
    ),
    "NUL in a header": lambda: replace(
        chat(0), request_headers=(("X-Run-Id", "a\0b"), ("X-Agent-Name", "\0"), ("X-Tag-\0", "\0"))
    ),
    "NUL in the target": lambda: replace(chat(0), target="/v1/chat/completions?a=\0"),
    "lone surrogate": lambda: asking(b'"a\\ud800b"'),
    "lone surrogate in the answer": lambda: asking(b'"hi"', ANSWER % b'"\\udfff"'),
    "lone surrogate in a header": lambda: replace(chat(0), request_headers=(("X-Run-Id", "a\udcffb"),)),
    "invalid UTF-8": lambda: asking(b'"\xff\xfe\xc3"'),
    "NaN": lambda: sent(b'{"model":"m","temperature":NaN,"messages":[{"role":"user","content":"x"}]}'),
    "infinite usage": lambda: asking(
        b'"hi"', b'{"id":"c","choices":[],"usage":{"prompt_tokens":1e999,"completion_tokens":-5,"cost":1e400}}'
    ),
    "huge integers": lambda: asking(
        b'"hi"', b'{"id":"c","choices":[],"usage":{"prompt_tokens":%s,"completion_tokens":1}}' % (b"9" * 5000)
    ),
    "depth 100,000 in the request": lambda: asking(deep(100_000)),
    "depth 100,000 in the answer": lambda: asking(b'"hi"', ANSWER % deep(100_000)),
    "depth 1,000": lambda: asking(deep(1000), ANSWER % deep(1000)),
    "100,000 messages": many_messages,
    "20,000 tool calls": many_tool_calls,
    "100 MB, truncated": truncated,
    "a status beyond all": lambda: replace(chat(0), status=99_999),
    "a run id of 100 kB": lambda: replace(chat(0), request_headers=(("X-Run-Id", "r" * 100_000),)),
    "an empty body": lambda: replace(chat(0), request_body=body(b""), response_body=body(b"")),
}


async def with_poison(recording: Recording, poison: Exchange, position: int) -> str | None:
    """Stored in a batch of good chats, at that position: what is wrong then, or None."""
    batch = [chat(number, run="good") for number in range(OTHERS)]
    batch.insert(position, poison)
    ids = await recording.write(batch)
    await run_until_stored(recording.recorder(keep_raw_days=1), within_s=100.0)
    stored = set(await recording.call_ids())
    dead = {each.record_id: each.reason.value for each in await DeadLetters(recording.runs.pool).listed()}
    if dead.keys() - {poison.exchange_id} or set(ids) != stored & set(ids) | dead.keys():
        return f"the others: {len(set(ids) - stored)} are not stored, {len(dead)} are set aside"
    if dead:
        await recording.in_postgres("UPDATE dead_letters SET dropped_at = now(), payload = ''")
        return f"set aside: {dead}"
    kept = await recording.raw(poison.exchange_id)
    if kept != (poison.request_body.content, poison.response_body.content):
        return "its bytes are not kept as they were"
    return None


HEAVY = ("100,000 messages", "20,000 tool calls", "depth 100,000 in the request", "depth 100,000 in the answer")


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_a_poison_record_harms_no_other_wherever_it_stands(recording: Recording) -> None:
    wrong = {
        (name, position): problem
        for name, poison in POISONS.items()
        for position in ((1,) if name in HEAVY else range(OTHERS + 1))
        if (problem := await with_poison(recording, poison(), position)) is not None
    }
    assert wrong == {}
    assert (await recording.assert_adds_up()).in_log == 0


async def test_a_time_that_no_clock_shows_is_set_aside_alone(recording: Recording) -> None:
    """Nobody can send one: the proxy's own clock would have to be broken."""
    poison = replace(chat(0), started_at_us=2**62, first_byte_us=2**61)
    for position in range(OTHERS + 1):
        problem = await with_poison(recording, poison, position)
        assert problem is None or problem.startswith("set aside")
        poison = replace(poison, exchange_id=uuid4())
    assert (await recording.assert_adds_up()).in_log == 0
