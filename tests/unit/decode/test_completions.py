from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.decode.exchanges import decoded, stream
from watchllm_proxy.records import Usage

COMPLETIONS = "/v1/completions"
EMBEDDINGS = "/v1/embeddings"
_USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def test_a_completion_is_read() -> None:
    choices = [
        {"index": 1, "text": "b", "finish_reason": "length"},
        {"index": 0, "text": " a", "finish_reason": "stop"},
    ]
    call = decoded(
        COMPLETIONS, {"prompt": "x"}, {"id": "cmpl-1", "model": "m", "choices": choices, "usage": _USAGE}
    )
    assert call.answer is not None
    assert (call.answer.role, call.answer.text) == ("assistant", " a")
    assert call.finish_reasons == ("stop", "length")
    assert (call.response_id, call.issued_ids) == ("cmpl-1", ("cmpl-1",))
    assert call.usage == Usage(input_tokens=3, output_tokens=2, total_tokens=5)


def test_a_streamed_completion_is_put_together() -> None:
    events = [{"id": "cmpl-1", "choices": [{"index": 0, "text": text}]} for text in ("a", "", "b")]
    last = {"choices": [{"index": 0, "text": "", "finish_reason": "stop"}], "usage": _USAGE}
    call = decoded(COMPLETIONS, {"prompt": "x"}, stream(*events, last, done=True))
    assert call.answer is not None
    assert call.answer.text == "ab"
    assert call.finish_reasons == ("stop",)
    assert call.usage.total_tokens == 5


@pytest.mark.parametrize(
    ("prompt", "contents"),
    [
        ("hi", ["hi"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2, 3], [[1, 2, 3]]),
        ([[1, 2], [3]], [[1, 2], [3]]),
    ],
)
def test_prompts_and_inputs_come_in_four_forms(prompt: Any, contents: list[Any]) -> None:
    for target, slot in ((COMPLETIONS, "prompt"), (EMBEDDINGS, "input")):
        messages = decoded(target, {slot: prompt}).messages
        assert [json.loads(message.content) for message in messages] == contents
        assert [message.text for message in messages] == [
            text if isinstance(text, str) else "" for text in contents
        ]


def test_vectors_are_counted_and_not_kept() -> None:
    body = {"object": "list", "model": "e", "data": [{"embedding": [0.1] * 9, "index": i} for i in range(2)]}
    call = decoded(EMBEDDINGS, {"input": ["a", "b"]}, {**body, "usage": {"prompt_tokens": 2, "total_tokens": 2}})
    assert call.answer is None
    assert json.loads(call.response_metadata)["embedding_count"] == 2
    assert b"0.1" not in call.response_metadata
    assert call.usage == Usage(input_tokens=2, total_tokens=2)
