"""What may be reported: each field's limits, errors that name it, and batches whose parts stand alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from watchllm_proxy.ingest.reading import (
    TakenEvents,
    Unfit,
    read_change,
    read_event,
    read_events,
    read_run,
    read_steps,
)
from watchllm_proxy.ingest.searching import read_query
from watchllm_proxy.ingest.shapes import MAX_EVENTS, MAX_STEPS

AT = "2026-01-15T10:00:00Z"


def run(**fields: Any) -> bytes:
    return json.dumps({"run_id": "r", "started_at": AT, **fields}).encode()


def step(**fields: Any) -> dict[str, Any]:
    return {"step_index": 0, "timestamp": AT, "type": "tool_call", **fields}


def event(**fields: Any) -> dict[str, Any]:
    told = {"event_type": "prompt_call", "event_id": "e", "run_id": "r", "timestamp": AT, "model": "m"}
    return {name: value for name, value in (told | fields).items() if value != "absent"}


def refused(body: bytes) -> Unfit:
    with pytest.raises(Unfit) as caught:
        read_run(body, "p")
    return caught.value


GOOD_STEPS = [
    step(tool_args={"a": [1.5, None]}, raw="x", token_cost=45, api_cost_usd=0.000135, cache_hit=True),
    step(step_index=1, type="user_input", timestamp="2026-01-15T12:00:00.123456+02:00", unknown={"kept": 1}),
]


def test_a_run_is_taken_as_it_was_sent() -> None:
    body = run(steps=GOOD_STEPS, meta={"a": 1}, status="completed", project_id="p", session_id=None)
    taken = read_run(body, "p")
    assert (taken.run_id, taken.steps, taken.body) == ("r", 2, body)


WRONG = [
    ({"run_id": "absent"}, "run_id"),
    ({"run_id": ""}, "run_id"),
    ({"run_id": "x" * 201}, "run_id"),
    ({"run_id": "a\nb"}, "run_id"),
    ({"run_id": "a\0b"}, "run_id"),
    ({"run_id": 7}, "run_id"),
    ({"started_at": "absent"}, "started_at"),
    ({"started_at": "yesterday"}, "started_at"),
    ({"started_at": "1999-12-31T23:59:59Z"}, "started_at"),
    ({"ended_at": "2100-01-01T00:00:00Z"}, "ended_at"),
    ({"status": "done"}, "status"),
    ({"project_id": "other"}, "project_id"),
    ({"session_id": ""}, "session_id"),
    ({"parent_run_id": "a\tb"}, "parent_run_id"),
    ({"total_cost_usd": -1}, "total_cost_usd"),
    ({"total_cost_usd": "NaN"}, "total_cost_usd"),
    ({"total_cost_usd": 1_000_000}, "total_cost_usd"),
    ({"meta": [1]}, "meta"),
    ({"steps": {}}, "steps"),
    ({"steps": [step(), 7]}, "steps[1]"),
    ({"steps": [step(), step()]}, "steps[1].step_index"),
    ({"steps": [step(step_index=-1)]}, "steps[0].step_index"),
    ({"steps": [step(step_index=1.5)]}, "steps[0].step_index"),
    ({"steps": [step(step_index=10**30)]}, "steps[0].step_index"),
    ({"steps": [{"step_index": 0, "timestamp": AT}]}, "steps[0].type"),
    ({"steps": [step(type="think")]}, "steps[0].type"),
    ({"steps": [step(timestamp="10:00")]}, "steps[0].timestamp"),
    ({"steps": [step(timestamp=1768471200)]}, "steps[0].timestamp"),
    ({"steps": [step(summary=5)]}, "steps[0].summary"),
    ({"steps": [step(cache_hit="yes")]}, "steps[0].cache_hit"),
    ({"steps": [step(token_cost=1.5)]}, "steps[0].token_cost"),
    ({"steps": [step(token_cost=-1)]}, "steps[0].token_cost"),
    ({"steps": [step(token_cost=10**40)]}, "steps[0].token_cost"),
    ({"steps": [step(token_cost="Infinity")]}, "steps[0].token_cost"),
    ({"steps": [step(api_cost_usd=True)]}, "steps[0].api_cost_usd"),
    ({"steps": [step(duration_ms=-5)]}, "steps[0].duration_ms"),
]


@pytest.mark.parametrize(("fields", "param"), WRONG, ids=[f"{each[1]} {n}" for n, each in enumerate(WRONG)])
def test_a_field_that_cannot_be_used_is_named(fields: dict[str, Any], param: str) -> None:
    told = {
        name: value for name, value in ({"run_id": "r", "started_at": AT} | fields).items() if value != "absent"
    }
    unfit = refused(json.dumps(told).encode())
    assert (unfit.status, unfit.code, unfit.param) == (422, "invalid_field", param)
    assert str(unfit).startswith(param)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "invalid_json"),
        (b"{", 400, "invalid_json"),
        (b'{"run_id": NaN}', 400, "invalid_json"),
        (b'{"meta": {"a": Infinity}}', 400, "invalid_json"),
        (b'{"run_id": "\xff"}', 400, "invalid_json"),
        (b"[]", 422, "invalid_field"),
        (b"null", 422, "invalid_field"),
        (run()[:-1] + b', "meta": ' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}", 422, "nested_too_deeply"),
    ],
)
def test_what_is_no_report_at_all_says_so(body: bytes, status: int, code: str) -> None:
    unfit = refused(body)
    assert (unfit.status, unfit.code) == (status, code)


def test_an_error_never_quotes_what_was_sent() -> None:
    for fields in ({"status": "sk-secret"}, {"started_at": "sk-secret"}, {"steps": [step(type="sk-secret")]}):
        assert "sk-secret" not in str(refused(run(**fields)))


def test_a_text_that_was_cut_within_a_character_is_mended() -> None:
    body = run(title="cut \ud83d", agent_name="whole \U0001f600", meta={"a": "\\ud83d"})
    assert b"\\ud83d" in body
    taken = json.loads(read_run(body, "p").body)
    assert (taken["title"], taken["agent_name"]) == ("cut \ufffd", "whole \U0001f600")
    assert taken["meta"] == {"a": "\\ud83d"}


def test_more_steps_than_are_allowed_are_refused_as_a_whole() -> None:
    steps = [step(step_index=index) for index in range(MAX_STEPS + 1)]
    assert read_run(run(steps=steps[:-1]), "p").steps == MAX_STEPS
    assert (refused(run(steps=steps)).status, refused(run(steps=steps)).code) == (413, "too_many_steps")


def test_steps_and_changes_go_to_the_run_of_the_path_and_to_no_other() -> None:
    steps = json.dumps({"steps": [step()]}).encode()
    assert read_steps(steps, "p", "any id/at all").run_id == "any id/at all"
    assert read_change(b'{"status": "failed"}', "p", "r").run_id == "r"
    for body, param in (
        (b'{"steps": []}', "steps"),
        (b"{}", "steps"),
        (run(run_id="x", steps=[step()]), "run_id"),
    ):
        with pytest.raises(Unfit) as caught:
            read_steps(body, "p", "r")
        assert caught.value.param == param
    with pytest.raises(Unfit) as caught:
        read_change(b"{}", "p", "x" * 201)
    assert caught.value.param == "run_id"


# --- events -----------------------------------------------------------------------------------------


GOOD_EVENTS = [
    event(),
    event(prompt=[{"role": "user"}], response="x", tool_calls=[{}], error="no", tokens_input=5, latency_ms=3),
    event(event_type="agent_step", step_number=1, step_type="reasoning", error={"message": "m", "code": "7"}),
    event(event_type="tool_call", run_id=None),
    event(event_type="error", error={"message": "m", "stack": "s", "context": {}}),
    event(event_type="assertion_failed", run_id="absent", assertion_name="a"),
    event(event_type="hallucination_detected", confidence_score=0.9, flagged_content="f"),
    event(event_type="cost_threshold_exceeded", threshold=1.5, actual_value=2, window_minutes=60),
    event(event_type="performance_alert", alert_type="slow", env="staging", tags=["a"], client={"hostname": "h"}),
]


@pytest.mark.parametrize("good", GOOD_EVENTS, ids=lambda each: each["event_type"])
def test_every_type_of_event_is_taken(good: dict[str, Any]) -> None:
    body = json.dumps(good).encode()
    assert read_event(body, "p").body == b"[" + body + b"]"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"event_type": "party"}, "event_type"),
        ({"event_type": "absent"}, "event_type"),
        ({"event_id": "absent"}, "event_id"),
        ({"event_id": ""}, "event_id"),
        ({"run_id": "absent"}, "run_id"),
        ({"model": "absent"}, "model"),
        ({"timestamp": "now"}, "timestamp"),
        ({"status": "fine"}, "status"),
        ({"env": "moon"}, "env"),
        ({"tags": [1]}, "tags[0]"),
        ({"tokens_input": -1}, "tokens_input"),
        ({"cost_estimate_usd": "NaN"}, "cost_estimate_usd"),
        ({"latency_ms": 0.5}, "latency_ms"),
        ({"project_id": "other"}, "project_id"),
        ({"client": {"hostname": 1}}, "client.hostname"),
        ({"event_type": "agent_step", "step_number": 1, "step_type": "magic"}, "step_type"),
        ({"event_type": "error"}, "error"),
        ({"event_type": "hallucination_detected", "confidence_score": 1.5}, "confidence_score"),
        ({"event_type": "performance_alert", "threshold": "Infinity"}, "threshold"),
    ],
)
def test_a_field_of_an_event_that_cannot_be_used_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Unfit) as caught:
        read_event(json.dumps(event(**fields)).encode(), "p")
    assert (caught.value.status, caught.value.param) == (422, param)


def batch(*events: object) -> TakenEvents:
    return read_events(json.dumps({"events": events}).encode(), "p")


def test_of_a_batch_each_event_is_taken_or_rejected_by_itself() -> None:
    taken = batch(event(), 7, event(event_id="bad", timestamp="x"), event(event_id="two"), {"event_id": 5})
    assert [(each.event_id, each.unfit and each.unfit.param) for each in taken.outcomes] == [
        ("e", None), (None, None), ("bad", "timestamp"), ("two", None), (None, "event_type"),
    ]  # fmt: skip
    assert [each.unfit is None for each in taken.outcomes] == [True, False, False, True, False]
    assert [each["event_id"] for each in json.loads(taken.body)] == ["e", "two"]
    assert taken.accepted == 2


def test_a_batch_that_is_none_is_refused() -> None:
    for body, status in ((b"{}", 422), (b"[]", 422), (b'{"events": 5}', 422), (b"x", 400)):
        with pytest.raises(Unfit) as caught:
            read_events(body, "p")
        assert caught.value.status == status
    assert len(batch(*[event(event_id=str(n)) for n in range(MAX_EVENTS)]).outcomes) == MAX_EVENTS
    with pytest.raises(Unfit) as caught:
        batch(*[event()] * (MAX_EVENTS + 1))
    assert (caught.value.status, caught.value.param) == (413, "events")


# --- questions --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"limit": 1001}, "limit"),
        ({"sort_by": "body"}, "sort_by"),
        ({"sort_order": "up"}, "sort_order"),
        ({"event_types": ["party"]}, "event_types[0]"),
        ({"models": ["m"] * 101}, "models"),
        ({"text_search": "x" * 1001}, "text_search"),
        ({"date_from": "1969-01-01T00:00:00Z"}, "date_from"),
        ({"cursor": "bm9uZQ=="}, "cursor"),
        ({"select": "*"}, "select"),
    ],
)
def test_a_question_that_cannot_be_answered_names_its_field(asked: dict[str, Any], param: str) -> None:
    with pytest.raises(Unfit) as caught:
        read_query(json.dumps(asked).encode())
    assert (caught.value.status, caught.value.param) == (422, param)
