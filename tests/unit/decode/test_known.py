from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from tests.unit.decode.exchanges import CHAT, MESSAGES, RESPONSES, exchange
from watchllm_proxy.decode import KnownMessages, decode, request
from watchllm_proxy.decode.known import MAX_ENTRY_BYTES
from watchllm_proxy.decode.pieces import build_message
from watchllm_proxy.decode.reading import Reading
from watchllm_proxy.records import Api, Message

CALL = {"id": "call_1234567890ab", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
TURNS: list[dict[str, Any]] = [
    {"role": "user", "content": "read note 3f2504e04f8941d3"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1234567890ab", "content": "done"},
]
TOOLS = [{"type": "function", "function": {"name": "f", "description": "call_0987654321cd"}}]


def _reading(content: bytes, text: str = "") -> Reading:
    return Reading(Message("messages", "user", content, b"", b"", text))


def _place(content: bytes) -> tuple[Api, str, bytes]:
    return Api.CHAT_COMPLETIONS, "messages", content


class Reader:
    """Counts how often a message had to be read."""

    def __init__(self, known: KnownMessages) -> None:
        self.known = known
        self.reads = 0

    def read(self, content: bytes, text: str = "") -> Reading:
        known = self.known.get(_place(content))
        if known is not None:
            return known
        self.reads += 1
        reading = _reading(content, text)
        self.known.put(_place(content), reading)
        return reading


@pytest.mark.parametrize(
    ("target", "bodies"),
    [
        (CHAT, [{"messages": TURNS[:count], "tools": TOOLS} for count in (1, 2, 3, 3)]),
        (RESPONSES, [{"input": "hello 3f2504e04f8941d3", "instructions": "be brief"}, {"input": "hello"}]),
        (MESSAGES, [{"system": "be brief", "messages": [{"role": "user", "content": "hello"}]}] * 2),
    ],
)
def test_a_call_is_the_same_whether_its_messages_are_known_or_not(target: str, bodies: list[Any]) -> None:
    known = KnownMessages()
    exchanges = [exchange(target, {"model": "m", **body}) for body in bodies]

    assert [decode(one, known=known) for one in exchanges] == [decode(one) for one in exchanges]


def test_the_order_in_which_keys_are_written_changes_nothing() -> None:
    known = KnownMessages()
    written = {"role": "assistant", "id": "msg_1", "item_id": "item_1", "content": "x"}
    otherwise = dict(reversed(written.items()))
    first, second = (exchange(request={"model": "m", "messages": [one]}) for one in (written, otherwise))

    assert decode(first, known=known) == decode(second, known=known) == decode(second)


def test_the_same_content_in_another_dialect_or_slot_is_read_anew() -> None:
    known = KnownMessages()
    text = {
        "messages": [{"role": "user", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {}}]}]
    }

    chat = decode(exchange(CHAT, text), known=known)
    messages = decode(exchange(MESSAGES, text), known=known)

    assert chat.messages[0].tool_calls == ()
    assert [call.name for call in messages.messages[0].tool_calls] == ["f"]


def test_a_message_that_comes_again_is_read_once() -> None:
    reader = Reader(KnownMessages())
    first = reader.read(b'"a"')

    assert reader.read(b'"a"') is first
    assert reader.reads == 1


def test_what_was_not_asked_for_longest_is_forgotten_first() -> None:
    reader = Reader(KnownMessages(max_bytes=2 * 1500))
    reader.read(b"a" * 100)
    reader.read(b"b" * 100)
    reader.read(b"a" * 100)
    reader.read(b"c" * 100)
    assert reader.reads == 3

    reader.read(b"a" * 100)
    assert reader.reads == 3
    reader.read(b"b" * 100)
    assert reader.reads == 4


def test_a_huge_message_is_not_kept_and_pushes_nothing_out() -> None:
    reader = Reader(KnownMessages(max_bytes=2 * MAX_ENTRY_BYTES))
    reader.read(b"small")
    reader.read(b"x" * MAX_ENTRY_BYTES)
    reader.read(b"x" * MAX_ENTRY_BYTES)
    assert reader.reads == 3

    reader.read(b"small")
    assert reader.reads == 3


@pytest.mark.parametrize("target", [CHAT, MESSAGES])
def test_an_answer_is_not_read_again_when_it_is_sent_back(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known = KnownMessages()
    use = {"type": "tool_use", "id": "toolu_1234567890ab", "name": "f", "input": {"a": 1}}
    answer = {"role": "assistant", "content": "Looking.", "tool_calls": [CALL]}
    body: dict[str, Any] = {"choices": [{"index": 0, "message": answer}]}
    if target == MESSAGES:
        answer = {"role": "assistant", "content": [{"type": "text", "text": "Looking."}, use]}
        body = {"type": "message", **answer}
    first = exchange(target, {"messages": TURNS[:1]}, body)
    later = exchange(target, {"messages": [TURNS[0], answer]})
    read = []

    def build(slot: str, value: Any, *rest: Any, **named: Any) -> Message:
        read.append(value)
        return build_message(slot, value, *rest, **named)

    monkeypatch.setattr(request, "build_message", build)

    assert [decode(one, known=known) for one in (first, later)] == [decode(first), decode(later)]
    assert read.count(answer) == 1  # by the decoding that knew nothing


def test_what_another_dialect_answered_is_read_anew() -> None:
    known = KnownMessages()
    output = [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Done."}]}]
    answered = exchange(RESPONSES, {"input": "hello"}, {"object": "response", "output": output})
    decode(answered, known=known)

    for target in (CHAT, RESPONSES, MESSAGES):
        for said in (output, *output):
            sent = exchange(target, {"messages": [said], "input": [said]})
            assert decode(sent, known=known) == decode(sent)


def test_memory_that_is_counted_is_all_that_is_taken() -> None:
    """A library gave bytes with ten times the room that they needed: what counts lengths never saw it."""
    known = KnownMessages()
    requests = []
    for number in range(20):
        told = [{"role": "user", "content": f"task {number}: read the notes, and say what is in them"}, *TURNS[1:]]
        for step in range(10):
            told += [{"role": "assistant", "content": f"{step}: {number}"}, {"role": "user", "content": "go on"}]
            requests.append(exchange(CHAT, {"model": "m", "messages": told, "tools": TOOLS}))
    tracemalloc.start()
    try:
        for each in requests:
            decode(each, known=known)
        taken_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken_bytes < known.counted_bytes
