"""A person splits and merges runs: what moves, what goes along, what is refused, and taking it back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.unit.builders import CallBuilder, Play, Rows, asked_ids, ids, results_for, tool
from tests.unit.people import Person
from tests.unit.sessionize.test_sessionizer_restart import MOVES, Move, history
from watchllm_proxy.records import Call, LinkKind, Run, RunStatus, StepType
from watchllm_proxy.sessionize import Sessionizer
from watchllm_proxy.sessionize.corrections import Refused
from watchllm_proxy.sessionize.person import Said


def agent(build: CallBuilder, question: str, city: str, **about: Any) -> list[Call]:
    """Three calls: two tools one after the other, then the answer."""
    first = build(user=question, answers=tool("weather", {"city": city}), tools=["weather", "map"], **about)
    second = build(after=first, results=results_for(first, "12 °C"), answers=tool("map", {"of": city}), **about)
    return [first, second, build(after=second, results=results_for(second, "[map]"), answers="Mild.", **about)]


def played(*calls: Call) -> tuple[Play, Person]:
    play = Play(*calls, tick_after_s=3600)
    return play, Person(play.rows, list(calls))


def types(person: Person, run_id: str) -> list[StepType]:
    return [step.type for step in person.rows.steps_of(person.run(run_id))]


def why(rows: Rows, call: Call) -> list[LinkKind]:
    return [link.kind for link in rows.placements[call.call_id].links]


# --- split


def test_a_call_and_what_follows_it_become_a_run_of_their_own() -> None:
    calls = agent(CallBuilder(), "What is it like in Oslo?", "Oslo")
    play, person = played(*calls)
    whole = play.run_of(calls[0])
    done = person.split(whole.run_id, calls[1])
    left, new = person.run(whole.run_id), person.run(done.to_run_id)
    assert [left.total_calls, new.total_calls] == [1, 2]
    assert left.total_steps + new.total_steps == whole.total_steps
    assert left.total_cost_usd + new.total_cost_usd == whole.total_cost_usd  # type: ignore[operator]
    assert types(person, new.run_id) == [StepType.DECISION, StepType.TOOL_CALL, StepType.MODEL_RESPONSE]
    assert (new.session_id, new.parent_run_id, new.status) == (new.run_id, None, RunStatus.COMPLETED)
    assert (left.session_id, left.started_at_us) == (whole.session_id, whole.started_at_us)
    assert new.started_at_us == calls[1].started_at_us
    assert new.agent_name == whole.agent_name


def test_the_person_stands_first_and_what_the_machine_had_thought_behind() -> None:
    calls = agent(CallBuilder(), "What is it like in Oslo?", "Oslo")
    play, person = played(*calls)
    done = person.split(play.run_of(calls[0]).run_id, calls[2])
    assert why(play.rows, calls[2]) == [LinkKind.PERSON, LinkKind.ISSUED_ID]
    assert why(play.rows, calls[1]) == [LinkKind.ISSUED_ID]
    (said, thought) = play.rows.placements[calls[2].call_id].links
    assert said == Said.by(done).link
    assert (said.value, said.confidence) == ("2025-10-09T08:53:27Z", "certain")
    assert thought.to_call_id == calls[1].call_id
    assert play.rows.placements[calls[2].call_id].is_certain


def test_one_call_alone_can_be_taken_out() -> None:
    calls = agent(CallBuilder(), "What is it like in Oslo?", "Oslo")
    play, person = played(*calls)
    run_id = play.run_of(calls[0]).run_id
    done = person.split(run_id, calls[1], single=True)
    assert person.calls_of(run_id) == [calls[0].call_id, calls[2].call_id]
    assert person.calls_of(done.to_run_id) == [calls[1].call_id]
    assert person.run(done.to_run_id).status is RunStatus.ABANDONED  # it asked for a tool, and no answer followed


def test_a_link_that_points_at_a_step_points_at_it_still() -> None:
    calls = agent(CallBuilder(), "What is it like in Oslo?", "Oslo")
    play, person = played(*calls)
    person.split(play.run_of(calls[0]).run_id, calls[1])
    link = play.rows.placements[calls[2].call_id].links[1]
    step = person.rows.steps_of(play.run_of(calls[1]))[link.to_step_index or 0]
    assert (step.call_id, step.tool) == (calls[1].call_id, "map")


def test_a_run_that_begins_elsewhere_now_is_called_by_its_own_first_call() -> None:
    build = CallBuilder()
    first = build(user="Plan a trip.", system="You are Planner, who plans.", answers="Done.")
    other = build(user="Write a poem.", system="You are Poet, who writes.", client_ids=ids(run="r"), answers="Oh!")
    play, person = played(replace(first, client_ids=ids(run="r")), other)
    assert play.run_of(other).title == "Plan a trip."
    done = person.split("r", other)
    assert (person.run("r").title, person.run("r").agent_name) == ("Plan a trip.", "Planner")
    assert (person.run(done.to_run_id).title, person.run(done.to_run_id).agent_name) == ("Write a poem.", "Poet")


def test_the_first_call_alone_leaves_the_rest_under_the_name_of_the_second() -> None:
    build = CallBuilder()
    calls = [build(user=f"Question {n}", client_ids=ids(run="r")) for n in (1, 2)]
    _play, person = played(*calls)
    done = person.split("r", calls[0], single=True)
    assert [person.run("r").title, person.run(done.to_run_id).title] == ["Question 2", "Question 1"]


# --- merge


def test_the_calls_of_a_merged_run_join_the_other_in_order_of_time() -> None:
    build = CallBuilder()
    one = build(user="Question 1", client_ids=ids(run="a"))
    two = build(user="Question 2", client_ids=ids(run="b"))
    three = build(user="Question 3", client_ids=ids(run="a"))
    play, person = played(one, two, three)
    person.merge("b", "a")
    assert person.calls_of("a") == [one.call_id, two.call_id, three.call_id]
    assert ("default", "b") not in play.rows.runs
    assert [step.summary for step in play.steps_of(one) if step.type is StepType.USER_INPUT] == [
        "Question 1",
        "Question 2",
        "Question 3",
    ]
    assert why(play.rows, two)[0] is LinkKind.PERSON
    assert why(play.rows, one)[0] is LinkKind.EXPLICIT_RUN
    assert person.run("a").total_calls == 3


def test_sub_agents_go_along_with_the_call_that_asked_for_them() -> None:
    build = CallBuilder()
    parent = build(user="Plan it", answers=tool("ask", {"task": "Find the weather in Bergen, please."}))
    child = build(user="Find the weather in Bergen, please.", answers="It will be mild and dry in the north.", tools=["look"], system="You look.")  # fmt: skip  # noqa: E501
    end = build(after=parent, results=results_for(parent, "It will be mild and dry in the north."))
    other = build(user="Something else entirely")
    play, person = played(parent, child, end, other)
    assert play.run_of(child).parent_run_id == play.run_of(parent).run_id
    into = play.run_of(other)
    source = play.run_of(parent).run_id
    done = person.merge(source, into.run_id)
    assert (play.run_of(child).parent_run_id, play.run_of(child).session_id) == (into.run_id, into.session_id)
    assert play.placement(child).session_id == into.session_id
    asked = play.run_of(child).parent_run_id
    link = play.placement(child).links[0]
    assert play.rows.steps_of(person.run(asked or ""))[link.to_step_index or 0].tool == "ask"
    person.undo(done)
    assert (play.run_of(child).parent_run_id, play.run_of(child).session_id) == (source, source)


def test_later_turns_go_along_with_the_session_of_the_call_they_hang_on() -> None:
    build = CallBuilder()
    first = build(user="Hello")
    second = build(after=first, user="And then?")
    third = build(after=second, user="And in the end?")
    play, person = played(first, second, third)
    sessions = {play.run_of(call).session_id for call in (first, second, third)}
    assert len(sessions) == 1
    assert len({play.run_of(call).run_id for call in (first, second, third)}) == 3
    stranger = build(user="Who are you?")
    play.observe(stranger)
    play.tick(3600)
    person.merge(play.run_of(second).run_id, play.run_of(stranger).run_id)
    assert play.run_of(third).session_id == play.run_of(stranger).session_id
    assert play.run_of(first).session_id in sessions


def test_a_later_call_that_names_a_run_that_was_merged_goes_where_that_went() -> None:
    build = CallBuilder()
    calls = [build(user=f"Question {n}", client_ids=ids(run=run)) for n, run in enumerate("ab")]
    _play, person = played(*calls)
    person.merge("b", "a")
    later = build(user="Question 3", client_ids=ids(run="b"))
    sessionizer = person.restarted()
    placement = sessionizer.observe(later, later.ended_at_us)
    assert (placement.run_id, placement.links[0].value) == ("a", "b")


def test_what_continues_a_call_follows_it() -> None:
    build = CallBuilder()
    calls = agent(build, "What is it like in Oslo?", "Oslo")[:2]
    play, person = played(*calls)
    done = person.split(play.run_of(calls[0]).run_id, calls[1])
    sessionizer = person.restarted()
    last = build(after=calls[1], results=results_for(calls[1], "[map]"), answers="Mild.")
    assert sessionizer.observe(last, last.ended_at_us).run_id == done.to_run_id
    again = build(after=last, user="And tomorrow?")
    assert sessionizer.observe(again, again.ended_at_us).session_id == done.to_session_id
    play.rows.store(sessionizer.drain())
    (asked,) = [s for s in play.rows.steps_of(person.run(done.to_run_id)) if s.tool == "map"]
    assert asked.tool_output_summary == "[map]"


def test_taken_back_what_came_since_goes_back_too() -> None:
    build = CallBuilder()
    calls = agent(build, "What is it like in Oslo?", "Oslo")[:2]
    play, person = played(*calls)
    whole = play.run_of(calls[0]).run_id
    done = person.split(whole, calls[1])
    sessionizer = person.restarted()
    build.wait(60)
    last = build(after=calls[1], results=results_for(calls[1], "[map]"), answers="Mild.")
    sessionizer.observe(last, last.ended_at_us)
    play.rows.store(sessionizer.drain())
    person.undo(done)
    assert person.calls_of(whole) == [calls[0].call_id, calls[1].call_id, last.call_id]
    assert ("default", done.to_run_id) not in play.rows.runs


def test_a_merge_taken_back_gives_later_calls_to_the_run_they_name() -> None:
    build = CallBuilder()
    calls = [build(user=f"Question {n}", client_ids=ids(run=run)) for n, run in enumerate("ab")]
    play, person = played(*calls)
    done = person.merge("b", "a")
    sessionizer = person.restarted()
    build.wait(60)
    later = [build(user=f"Question {n}", client_ids=ids(run=run)) for n, run in enumerate("ab", start=2)]
    for call in later:
        assert sessionizer.observe(call, call.ended_at_us).run_id == "a"
    play.rows.store(sessionizer.drain())
    person.undo(done)
    assert person.calls_of("a") == [calls[0].call_id, later[0].call_id]
    assert person.calls_of("b") == [calls[1].call_id, later[1].call_id]


def test_a_session_that_the_client_names_holds_for_what_is_split_off() -> None:
    build = CallBuilder()
    session = ids(session="s1")
    calls = agent(build, "What is it like in Oslo?", "Oslo", client_ids=session)[:2]
    play, person = played(*calls)
    done = person.split(play.run_of(calls[0]).run_id, calls[1])
    assert person.run(done.to_run_id).session_id == "s1"
    sessionizer = person.restarted()
    last = build(after=calls[1], results=results_for(calls[1], "[map]"), answers="Mild.", client_ids=session)
    assert sessionizer.observe(last, last.ended_at_us).run_id == done.to_run_id


# --- refused


@pytest.mark.parametrize(
    ("ask", "code"),
    [
        (lambda person, calls: person.split("a", calls[0]), "first_call"),
        (lambda person, calls: person.split("b", calls[2], single=True), "first_call"),
        (lambda person, calls: person.split("a", calls[2]), "call_not_found"),
        (lambda person, calls: person.split("nobody", calls[0]), "run_not_found"),
        (lambda person, calls: person.merge("a", "a"), "same_run"),
        (lambda person, calls: person.merge("a", "nobody"), "run_not_found"),
        (lambda person, calls: person.merge("a", "kid"), "own_family"),
        (lambda person, calls: person.merge("kid", "a"), "own_family"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(ask: Callable[[Person, list[Call]], object], code: str) -> None:
    build = CallBuilder()
    calls = [build(user=f"Question {n}", client_ids=ids(run=run)) for n, run in enumerate("aab")]
    calls.append(build(user="A child's", client_ids=ids(run="kid", parent_run="a")))
    play, person = played(*calls)
    before = dict(play.rows.runs)
    with pytest.raises(Refused) as refused:
        ask(person, calls)
    assert refused.value.code == code
    assert play.rows.runs == before


def test_a_correction_that_later_ones_build_upon_is_not_undone() -> None:
    build = CallBuilder()
    calls = [build(user=f"Question {n}", client_ids=ids(run=run)) for n, run in enumerate("abc")]
    _, person = played(*calls)
    first = person.merge("a", "b")
    second = person.merge("b", "c")
    with pytest.raises(Refused) as refused:
        person.undo(first)
    assert refused.value.code in {"run_not_found", "corrected_since"}
    person.undo(second)
    person.undo(first)
    assert sorted(run_id for _, run_id in person.rows.runs) == ["a", "b", "c"]
    with pytest.raises(Refused) as refused:
        person.undo(first)
    assert refused.value.code == "not_in_force"


def test_an_earlier_word_holds_again_when_a_later_one_is_taken_back() -> None:
    build = CallBuilder()
    calls = [build(user=f"Question {n}", client_ids=ids(run=run)) for n, run in enumerate("aab")]
    play, person = played(*calls)
    split = person.split("a", calls[1])
    merge = person.merge(split.to_run_id, "b")
    assert play.placement(calls[1]).links[0] == Said.by(merge).link
    person.undo(merge)
    assert play.placement(calls[1]).links[0] == Said.by(split).link
    assert play.run_of(calls[1]).run_id == split.to_run_id


# --- for any history

HISTORIES = st.lists(MOVES, min_size=2, max_size=12)


def snapshot(rows: Rows) -> dict[object, object]:
    """All rows but the anchors."""
    steps = {("steps", *key): of_run for key, of_run in rows.steps.items() if of_run}
    runs = {("run", *key): run for key, run in rows.runs.items()}
    links = {call_id: (placement.run_id, placement.links) for call_id, placement in rows.placements.items()}
    return {**runs, **steps, **links}


def changes(before: dict[object, object], after: dict[object, object]) -> list[str]:
    """What differs, by row and field."""
    found = []
    for key in {**before, **after}:
        one, other = before.get(key), after.get(key)
        if isinstance(one, Run) and isinstance(other, Run):
            names = [field.name for field in fields(Run) if getattr(one, field.name) != getattr(other, field.name)]
            found += [f"{key} {name}: {getattr(one, name)!r} -> {getattr(other, name)!r}" for name in names]
        elif one != other:
            found.append(f"{key}: {one!r} -> {other!r}")
    return found


def some_correction(person: Person, data: st.DataObject) -> Any:
    """A correction that can be carried out, asked for by chance; None where there is none."""
    run_ids = sorted(run_id for project_id, run_id in person.rows.runs if project_id == "default")
    assume(run_ids)
    run_id = data.draw(st.sampled_from(run_ids), label="run")
    into = data.draw(st.none() | st.sampled_from(run_ids), label="into")
    try:
        if into is not None:
            return person.merge(run_id, into)
        call_id = data.draw(st.sampled_from(person.calls_of(run_id)), label="call")
        return person.split(run_id, call_id, single=data.draw(st.booleans(), label="single"))
    except Refused:
        return None


@settings(max_examples=60, deadline=None)
@given(moves=HISTORIES, data=st.data())
def test_taken_back_the_rows_are_those_there_were(moves: list[Move], data: st.DataObject) -> None:
    play, person = played(*history(moves))
    before = snapshot(play.rows)
    done = []
    for _ in range(3):
        if (one := some_correction(person, data)) is not None:
            done.append(one)
    assume(done)
    for each in reversed(done):
        person.undo(each)
    assert changes(before, snapshot(play.rows)) == []


@settings(max_examples=60, deadline=None)
@given(moves=HISTORIES, data=st.data())
def test_no_call_and_no_step_is_lost_or_doubled(moves: list[Move], data: st.DataObject) -> None:
    calls = history(moves)
    play, person = played(*calls)
    steps_before = sum(len(of_run) for of_run in play.rows.steps.values())
    cost_before = sum(run.total_cost_usd or 0 for run in play.rows.runs.values())
    done = some_correction(person, data)
    assume(done is not None)
    assert sum(len(of_run) for of_run in play.rows.steps.values()) == steps_before
    assert sum(run.total_cost_usd or 0 for run in play.rows.runs.values()) == cost_before
    for run in play.rows.runs.values():
        steps = play.rows.steps_of(run)
        assert run.total_steps == len(steps) > 0
        for step in steps:
            assert step.call_id is not None
            assert play.rows.placements[step.call_id].run_id == run.run_id
            assert play.rows.placements[step.call_id].session_id == run.session_id


@settings(max_examples=60, deadline=None)
@given(moves=HISTORIES, data=st.data())
def test_thought_again_from_the_start_every_call_is_where_the_person_put_it(
    moves: list[Move], data: st.DataObject
) -> None:
    calls = history(moves)
    _, person = played(*calls)
    for _ in range(2):
        some_correction(person, data)
    again = Sessionizer(silence_us=600_000_000)
    again.obey(person.said)
    found = Rows()
    for call in calls:
        again.observe(call, call.ended_at_us)
        found.store(again.drain())
    last = {call_id: each for each in person.in_force for call_id in each.call_ids}
    for call_id, each in last.items():
        placement = found.placements[call_id]
        assert placement.run_id == each.to_run_id
        assert placement.links[0].kind is LinkKind.PERSON
        assert placement.links[0] == person.rows.placements[call_id].links[0]


def test_thought_again_what_was_left_stays() -> None:
    """The first call is taken out alone: the others lean on it, and are in the run that is named after it."""
    calls = agent(CallBuilder(), "What is it like in Oslo?", "Oslo")
    play, person = played(*calls)
    run_id = play.run_of(calls[0]).run_id
    done = person.split(run_id, calls[0], single=True)
    again = Sessionizer(silence_us=600_000_000)
    again.obey(person.said)
    found = [again.observe(call, call.ended_at_us).run_id for call in calls]
    assert found == [done.to_run_id, run_id, run_id]
    person.undo(done)
    assert why(play.rows, calls[1]) == [LinkKind.ISSUED_ID]


def test_thought_again_a_late_answer_does_not_hide_what_a_person_said() -> None:
    """The request that goes on from the answer was seen first, and put elsewhere before that came."""
    build = CallBuilder()
    asked = build(user="How high is the river?", answers=tool("gauge"), took_s=30.0)
    other = build(user="Hello", starts_at_us=asked.started_at_us + 2_000_000)
    starts_at_us = asked.started_at_us + 5_000_000
    follower = build(after=asked, results=results_for(asked, "2.15 m"), starts_at_us=starts_at_us)
    play, person = played(other, follower)
    person.merge(play.run_of(follower).run_id, play.run_of(other).run_id)
    again = Sessionizer(silence_us=600_000_000)
    again.obey(person.said)
    assert why(Play(other, follower, asked, sessionizer=again).rows, follower) == [
        LinkKind.PERSON,
        LinkKind.ISSUED_ID,
    ]


def test_thought_again_a_corrected_conversation_gives_the_same_rows() -> None:
    """Two agents on one run id, and a run that was torn in two: put right, and then read once more."""
    build = CallBuilder()
    mixed = agent(build, "What is it like in Oslo?", "Oslo", client_ids=ids(run="r"))
    mixed += agent(build, "What is it like in Bergen?", "Bergen", client_ids=ids(run="r"))
    torn = [build(user="Hello"), build(user="Hello again, it is me")]
    calls = [*mixed, *torn]
    play, person = played(*calls)
    person.split("r", mixed[3])
    person.merge(play.run_of(torn[1]).run_id, play.run_of(torn[0]).run_id)
    again = Sessionizer(silence_us=600_000_000)
    again.obey(person.said)
    second = Play(*calls, tick_after_s=3600, sessionizer=again)
    assert changes(snapshot(second.rows), snapshot(play.rows)) == []
    assert asked_ids(mixed[3])  # the tools of the second agent are in its own run
    assert [s.tool for s in second.steps_of(mixed[4]) if s.tool] == ["weather", "map"]
