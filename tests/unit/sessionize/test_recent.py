"""What was worked out before is asked once, forgotten in time, and changes no result."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.builders import CallBuilder
from watchllm_proxy.records import Call
from watchllm_proxy.sessionize.recent import Recent, once_a_call


def test_a_question_about_one_call_is_worked_out_once() -> None:
    asked: list[Call] = []

    @once_a_call
    def model(call: Call) -> str | None:
        asked.append(call)
        return call.request_model

    one = CallBuilder()(user="Where is my order?")
    assert [model(one), model(one)] == [one.request_model] * 2
    assert asked == [one]


def test_another_call_with_the_same_id_is_asked_anew() -> None:
    @once_a_call
    def model(call: Call) -> str | None:
        return call.request_model

    one = CallBuilder()(user="Where is my order?")
    assert model(one) != model(replace(one, request_model="another"))
    assert model(one) == one.request_model


def test_what_is_used_stays_and_what_is_not_is_forgotten() -> None:
    recent: Recent[str, int] = Recent(100, size_of=len)
    recent.put("used", 1)
    recent.put("not used", 2)
    for number in range(100):
        recent.put(f"another {number}", number)
        assert recent.get("used") == 1
    assert recent.get("not used") is None


def test_never_more_than_the_limit_is_kept() -> None:
    recent: Recent[str, int] = Recent(100, size_of=len)
    keys = [f"key {number:04}" for number in range(1000)]
    for key in keys:
        recent.put(key, 1)
        assert sum(len(known) for known in keys if known in recent) <= 100


def test_a_single_value_beyond_the_limit_does_not_stay() -> None:
    recent: Recent[str, int] = Recent(100, size_of=len)
    recent.put("k" * 1000, 1)
    assert "k" * 1000 not in recent
