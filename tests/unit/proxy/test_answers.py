"""Every answer of ours is OpenAI-shaped, says what to do, and is well-formed on the wire."""

from __future__ import annotations

import json

import pytest

from watchllm_proxy.proxy import answers
from watchllm_proxy.proxy.answers import Answer
from watchllm_proxy.records import ExchangeEnd

FIXED = {name: value for name, value in vars(answers).items() if isinstance(value, Answer)}
ALL = FIXED | {
    "body_too_large": answers.body_too_large(10),
    **{f"upstream {end}": answers.upstream_failure(end) for end in ExchangeEnd},
}


@pytest.mark.parametrize("name", [name for name in ALL if "PAGE" not in name])
def test_errors_are_openai_shaped(name: str) -> None:
    answer = ALL[name]
    assert answer.status >= 400
    error = json.loads(answer.body)["error"]
    assert set(error) == {"message", "type", "code", "param"}
    assert len(error["message"]) > 20
    assert error["code"].replace("_", "").isalpha()


@pytest.mark.parametrize("name", ALL)
def test_the_wire_form_has_our_id_its_length_and_says_when_it_is_the_last(name: str) -> None:
    head, _, body = ALL[name].encode("the-id", is_last=True).partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert b"X-WatchLLM-Request-Id: the-id" in lines
    assert b"Content-Length: %d" % len(body) in lines
    assert lines[-1] == b"Connection: close"
    assert ALL[name].encode("i", is_head=True).endswith(b"\r\n\r\n")


def test_who_is_to_come_back_is_told_when() -> None:
    for answer in ALL.values():
        assert (answer.status in {429, 503}) is any(name == b"Retry-After" for name, _ in answer.headers)
