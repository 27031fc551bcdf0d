"""What was told of a run makes the same run, whatever came first and however often."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from decimal import Decimal
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from watchllm_proxy.console.api.told import redacted_of
from watchllm_proxy.ingest.runs import ToldRun, make_run, told_of
from watchllm_proxy.ingest.tellings import RunTelling, Telling, tellings, unescaped
from watchllm_proxy.records import Report, ReportKind, Run, Step

AT = "2026-01-15T10:00:0"
PARTS = (
    {"steps": [{"step_index": 1, "timestamp": f"{AT}1Z", "type": "tool_call", "tool": "t", "api_cost_usd": 0.1}]},
    {"status": "completed", "ended_at": f"{AT}9Z", "total_cost_usd": 5},
    {"started_at": f"{AT}0Z", "agent_name": "a", "meta": {"n": 1.10}},
    {"steps": [{"step_index": 0, "timestamp": f"{AT}0Z", "type": "user_input", "summary": "Hello"}]},
    [
        {"event_type": "prompt_call", "event_id": "b", "run_id": "r", "timestamp": f"{AT}3Z", "model": "m"},
        {"event_type": "agent_step", "event_id": "a", "run_id": "r", "timestamp": f"{AT}3Z", "step_number": 7,
         "step_type": "output"},
    ],
)  # fmt: skip


def unpriced(model: str, input_tokens: int, output_tokens: int, at_us: int) -> Decimal | None:
    return None


def told_in(parts: tuple[object, ...]) -> list[Telling]:
    found: list[Telling] = []
    for part in parts:
        kind = ReportKind.EVENTS if isinstance(part, list) else ReportKind.RUN
        report = Report(
            UUID(int=1), "p", kind, None if isinstance(part, list) else "r", json.dumps(part).encode(), 5
        )
        found += tellings(report, lambda document: (document, ()))
    return found


def made(parts: tuple[object, ...], *, is_reloaded: bool = False) -> tuple[Run, tuple[Step, ...]]:
    told = ToldRun(5)
    for telling in told_in(parts):
        told = told.with_run(telling) if isinstance(telling, RunTelling) else told.with_event(telling)
        if is_reloaded:
            told = told_of(*make_run("p", "r", told, unpriced))
    return make_run("p", "r", told, unpriced)


def test_every_order_makes_the_same_run_also_when_it_is_loaded_anew_for_each_part() -> None:
    expected = made(PARTS)
    for order in itertools.permutations(PARTS):
        assert made(order) == expected
        assert made((*order, *order), is_reloaded=True) == expected
    run, steps = expected
    assert (run.title, run.agent_name, run.status, run.total_steps) == ("Hello", "a", "completed", 4)
    assert [step.step_index for step in steps] == [0, 1, 2, 3]
    assert [json.loads(step.reported or "")["told"].get("event_id") for step in steps] == [None, None, "b", "a"]
    assert run.total_cost_usd == Decimal("0.1")


def test_a_told_total_is_the_cost_of_a_run_of_which_no_step_tells_one() -> None:
    run, _ = made(PARTS[1:4])
    assert run.total_cost_usd == Decimal(5)


def test_a_run_that_nobody_said_has_begun_begins_with_its_first_step_or_when_it_was_heard_of() -> None:
    assert made(PARTS[:1])[0].started_at_us == 1_768_471_201_000_000
    assert made(({"status": "failed"},))[0].started_at_us == 5


def test_who_wants_no_content_kept_keeps_figures_and_ids() -> None:
    body = {"title": "t", "agent_name": "a", "steps": [{**PARTS[3]["steps"][0], "token_cost": 7}]}  # type: ignore[call-overload]
    report = Report(UUID(int=1), "p", ReportKind.RUN, "r", json.dumps(body).encode(), 5, is_content_refused=True)
    (telling,) = tellings(report, lambda document: (document, ()))
    assert isinstance(telling, RunTelling)
    assert set(telling.fields) == {"agent_name"}
    assert set(telling.steps[0].fields) == {"step_index", "timestamp", "type", "token_cost"}


def test_what_says_when_and_how_much_is_not_redacted_and_all_else_is() -> None:
    body = {
        "user_id": "secret",
        "title": "nothing in it",
        "steps": [{**PARTS[3]["steps"][0], "token_cost": 4111111111111111, "raw": [4111111111111111, "secret"]}],  # type: ignore[call-overload]
    }
    report = Report(UUID(int=1), "p", ReportKind.RUN, "a secret run", json.dumps(body).encode(), 5)
    (telling,) = tellings(report, redact)
    assert isinstance(telling, RunTelling)
    assert (telling.run_id, telling.fields["user_id"]) == ("a [tag] run", b'"[tag]"')
    assert telling.steps[0].fields["token_cost"] == b"4111111111111111"
    assert json.loads(telling.steps[0].fields["raw"]) == ["[card]", "[tag]"]
    assert telling.redacted == {"run_id": {"tag": 1}, "user_id": {"tag": 1}}
    assert telling.steps[0].redacted == {"card": 1, "tag": 1}


def redact(document: bytes) -> tuple[bytes, list[tuple[str, int]]]:
    counts = {"card": document.count(b"4111111111111111"), "tag": document.count(b"secret")}
    redacted = document.replace(b"4111111111111111", b'"[card]"').replace(b"secret", b"[tag]")
    return redacted, [(kind, count) for kind, count in counts.items() if count]


def test_what_was_taken_out_is_counted_in_what_stands_now_in_any_order_and_over_restarts() -> None:
    at = {"timestamp": "2026-01-15T10:00:00Z", "type": "decision"}
    parts = (
        {"title": "secret", "user_id": "secret, secret", "steps": [{"step_index": 0, "summary": "secret", **at}]},
        {"user_id": "secret", "steps": [{"step_index": 0, "raw": [4111111111111111, 4111111111111111], **at}]},
        {"agent_name": "a"},
    )
    told = ToldRun(5)
    for part in (*parts, parts[-1]):
        report = Report(UUID(int=1), "p", ReportKind.RUN, "r", json.dumps(part).encode(), 5)
        (telling,) = tellings(report, redact)
        assert isinstance(telling, RunTelling)
        told = told_of(*make_run("p", "r", told.with_run(telling), unpriced))
    run, (step,) = make_run("p", "r", told, unpriced)
    assert redacted_of(run) == (("tag", 2),), "in the title, and in the user's id as it was told last"
    assert redacted_of(step) == (("card", 2),)


@given(
    st.recursive(
        st.text() | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_letters_in_place_of_their_escapes_say_the_same(value: object) -> None:
    document = json.dumps(value).encode()
    assert json.loads(unescaped(document)) == value


def test_a_note_of_a_run_is_read_back_as_it_was() -> None:
    run, steps = made(PARTS)
    told = told_of(run, steps)
    assert make_run("p", "r", told, unpriced) == (run, steps)
    assert told == replace(told, first_at_us=5)
