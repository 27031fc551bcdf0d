from __future__ import annotations

import time
from typing import Any

import pytest

from tests.unit.decode.exchanges import MESSAGES, RESPONSES, decoded
from watchllm_proxy.decode.mentions import MAX_FIELD_IDS, MAX_TEXT_IDS


def _mentioned(*messages: Any, **fields: Any) -> tuple[str, ...]:
    return decoded(request={"messages": list(messages), **fields}).mentioned_ids


def test_ids_are_found_at_their_places_in_order() -> None:
    assert _mentioned(
        {"role": "assistant", "tool_calls": [{"id": "a1"}, {"id": "7"}]},
        {"role": "tool", "tool_call_id": "7", "content": "x"},
        {"role": "tool", "tool_call_id": "a1", "content": "x"},
        {"role": "assistant", "id": "msg", "reasoning_details": [{"id": "rs"}]},
    ) == ("7", "a1", "msg", "rs")


def test_an_id_inside_text_is_found() -> None:  # smolagents
    text = "Calling tools:\n[{'id': 'call_xRbOsLQM0wDwCnJLA6C5Qpsf', 'type': 'function'}]"
    assert _mentioned({"role": "assistant", "content": [{"type": "text", "text": text}]}) == (
        "call_xRbOsLQM0wDwCnJLA6C5Qpsf",
    )


@pytest.mark.parametrize(
    "word", ["extraordinarily", "123456789012", "short1", "a1" * 65, "漢" * 20, "e-mail-address"]
)
def test_words_that_are_no_ids_are_passed_over(word: str) -> None:
    assert _mentioned({"role": "user", "content": f"this {word}, that"}) == ()


@pytest.mark.parametrize("id_", ["3f2504e04f8941d3", "toolu_01ADw53o3uvr", "0199a213-81c0-7800-8aa1-bbab2a035a53"])
@pytest.mark.parametrize("around", ["{}", "é{}é", "'{}'", "x {}", "{}, x", "[{}](y)"])
def test_an_id_is_found_whatever_stands_around_it(id_: str, around: str) -> None:
    assert _mentioned({"role": "user", "content": around.format(id_)}) == (id_,)


def test_fields_of_the_body_and_the_path_count() -> None:
    call = decoded(RESPONSES, {"input": "x", "previous_response_id": "r", "conversation": {"id": "c"}})
    assert call.mentioned_ids == ("r", "c")
    assert decoded("/v1/conversations/conv_QH99SW5MpjiPs4/items", {"items": []}).mentioned_ids == (
        "conv_QH99SW5MpjiPs4",
    )


def test_blocks_of_messages_are_read() -> None:
    blocks = [{"type": "tool_use", "id": "t1", "name": "f", "input": {"id": "no"}}]
    results = [{"type": "tool_result", "tool_use_id": "t2", "content": "x"}]
    body = {"messages": [{"role": "assistant", "content": blocks}, {"role": "user", "content": results}]}
    assert decoded(MESSAGES, body).mentioned_ids == ("t1", "t2")


def test_tool_schemas_mention_nothing() -> None:
    assert _mentioned(tools=[{"id": "x1", "function": {"name": "f", "description": "see RFC_1234567890ab"}}]) == ()


def test_the_last_ones_are_kept_where_there_are_too_many() -> None:
    words = [f"token_number_{i}" for i in range(MAX_TEXT_IDS + 10)]
    assert _mentioned({"role": "user", "content": " ".join(words)}) == tuple(words[10:])
    ids = [f"i{i}" for i in range(MAX_FIELD_IDS + 10)]
    found = _mentioned(*({"role": "tool", "tool_call_id": id_, "content": ""} for id_ in ids))
    assert found == tuple(ids[10:])


def test_megabytes_of_one_word_take_no_time() -> None:
    began = time.process_time()
    assert _mentioned({"role": "user", "content": "a1" * 5_000_000}) == ()
    assert time.process_time() - began < 20  # read again for each word it would take hours
