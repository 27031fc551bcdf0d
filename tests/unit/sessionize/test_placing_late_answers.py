"""An answer that is seen after a request which goes on from it: its stream was held open, its call ended later."""

from __future__ import annotations

import pytest

from tests.unit.builders import SECOND_US, T0_US, CallBuilder, Play, ids, message, results_for, tool
from watchllm_proxy.records import Call, Confidence, LinkKind, RunStatus, ToolResult

ASKED_US = T0_US + 10 * SECOND_US


def held_open(call: CallBuilder) -> tuple[Call, Call]:
    """The first request of a run, and the one that brings its tool's result while the stream is still open."""
    asked = call(user="How high is the river?", answers=tool("gauge"), starts_at_us=ASKED_US, took_s=30.0)
    follower = call(
        after=asked, results=results_for(asked, "2.15 m"), starts_at_us=ASKED_US + 5 * SECOND_US, took_s=2.0
    )
    return asked, follower


def test_the_answer_joins_the_request_that_goes_on_from_it() -> None:
    asked, follower = held_open(CallBuilder())
    play = Play(follower, asked)
    assert play.placement(asked).run_id == play.placement(follower).run_id
    assert play.placement(asked).session_id == play.placement(follower).session_id
    assert [r.run_id for r in play.runs()] == [play.placement(asked).run_id]


def test_both_say_so_and_are_certain() -> None:
    asked, follower = held_open(CallBuilder())
    play = Play(follower, asked)
    assert not Play(follower).placement(follower).is_certain
    for one, other in ((asked, follower), (follower, asked)):
        link = play.placement(one).links[0]
        assert (link.kind, link.confidence, link.to_call_id) == (
            LinkKind.ISSUED_ID,
            Confidence.CERTAIN,
            other.call_id,
        )


def test_its_tools_have_their_results_and_the_run_is_done() -> None:
    asked, follower = held_open(CallBuilder())
    play = Play(follower, asked)
    asked_for = next(step for step in play.steps_of(asked) if step.tool == "gauge")
    assert asked_for.tool_output_summary == "2.15 m"
    assert play.run_of(asked).status is RunStatus.COMPLETED


def test_what_follows_stays_with_them() -> None:
    call = CallBuilder()
    asked, follower = held_open(call)
    more = call(after=follower, user="And tomorrow?", starts_at_us=ASKED_US + 60 * SECOND_US)
    play = Play(follower, asked, more)
    assert play.placement(more).session_id == play.placement(asked).session_id
    assert play.placement(more).run_id != play.placement(asked).run_id, "the next turn"


def test_a_chain_by_response_ids_comes_into_one_session() -> None:
    """The late answer has a run of its own; what its follower began is moved to it, with what came of that."""
    call = CallBuilder()
    first = call(user="Hi", response_id="resp_1", answers=tool("gauge"))
    late = call(
        results=results_for(first, "2.15 m"),
        client_ids=ids(previous_response="resp_1"),
        response_id="resp_2",
        answers=tool("weather"),
        starts_at_us=ASKED_US,
        took_s=30.0,
    )
    follower = call(
        results=results_for(late, "dry"),
        client_ids=ids(previous_response="resp_2"),
        response_id="resp_3",
        starts_at_us=ASKED_US + 5 * SECOND_US,
        took_s=2.0,
    )
    play = Play(first, follower, late)
    assert {play.placement(c).session_id for c in (first, late, follower)} == {play.placement(first).session_id}
    assert play.placement(late).run_id == play.placement(first).run_id
    assert play.run_of(first).status is not RunStatus.COMPLETED, "its last answer asked for tools"
    assert all(step.tool_output_summary for step in play.steps_of(first) if step.tool)


def test_a_history_of_texts_is_probable_evidence() -> None:
    call = CallBuilder()
    answer = call(user="Hi", answers="Hello, what can I do for you?", starts_at_us=ASKED_US, took_s=30.0)
    follower = call(after=answer, user="A joke", starts_at_us=ASKED_US + 5 * SECOND_US, took_s=2.0)
    play = Play(follower, answer)
    assert play.placement(answer).session_id == play.placement(follower).session_id
    assert not play.placement(follower).is_certain


def test_a_turn_whose_answer_is_still_open_does_not_swallow_the_next() -> None:
    call = CallBuilder()
    asked = call(user="Hi", answers=tool("gauge"))
    answer = call(after=asked, results=results_for(asked, "2.15 m"), starts_at_us=ASKED_US, took_s=30.0)
    next_turn = call(after=answer, user="And tomorrow?", starts_at_us=ASKED_US + 5 * SECOND_US, took_s=2.0)
    play = Play(asked, next_turn, answer)
    assert play.placement(answer).run_id == play.placement(asked).run_id
    assert play.placement(next_turn).run_id != play.placement(asked).run_id
    assert play.placement(next_turn).session_id == play.placement(asked).session_id


def test_an_id_that_was_used_before_the_answer_began_is_another_s() -> None:
    """Upstreams that count their ids: what nobody saw was asked for earlier."""
    call = CallBuilder()
    unseen = call(user="Hi", answers=tool("gauge", id="call_0"))
    stray = call(after=unseen, results={"call_0": "2.15 m"})
    other = call(user="Something else", answers=tool("gauge", id="call_0"))
    play = Play(stray, other)
    assert play.placement(other).session_id != play.placement(stray).session_id


def test_two_projects_with_one_id_never_meet() -> None:
    call = CallBuilder()
    asked = call(user="Hi", answers=tool("gauge", id="call_x"), starts_at_us=ASKED_US, took_s=30.0)
    follower = call(
        after=asked,
        results={"call_x": "dry"},
        project="other",
        starts_at_us=ASKED_US + 5 * SECOND_US,
        took_s=2.0,
    )
    play = Play(follower, asked)
    assert play.placement(asked).session_id != play.placement(follower).session_id


@pytest.mark.parametrize("restarts", range(8))
def test_a_restart_anywhere_changes_nothing(restarts: int) -> None:
    call = CallBuilder()
    asked, follower = held_open(call)
    more = call(after=follower, user="And tomorrow?", starts_at_us=ASKED_US + 60 * SECOND_US)
    calls = [follower, asked, more]
    whole = Play(*calls)
    parted = Play()
    for at, each in enumerate(calls):
        parted.observe(each)
        if restarts >> at & 1:
            parted.sessionizer = parted.rows.restarted()
    assert parted.rows.placements == whole.rows.placements
    assert parted.rows.runs == whole.rows.runs
    assert parted.rows.steps == whole.rows.steps


def test_words_that_others_said_too_do_not_lead_astray_what_answers_an_id_still_to_be_seen() -> None:
    call = CallBuilder()
    says = "I look at the gauge at Hazel Reach before I answer you."
    twin = call(user="How high is the river?", answers=says)
    other = call(user="How high is the river?", answers=says)
    asked = call(user="How high is the river?", answers=tool("gauge"), starts_at_us=ASKED_US, took_s=30.0)
    told = (*asked.messages, message("assistant", says, calls=asked.answer.tool_calls if asked.answer else ()))
    result = message("tool", "2.15 m", results=(ToolResult("call-call-3-0", "2.15 m"),))
    follower = call(history=(*told, result), starts_at_us=ASKED_US + 5 * SECOND_US, took_s=2.0)
    play = Play(twin, other, follower, asked)
    assert play.placement(follower).session_id == play.placement(asked).session_id
    assert play.placement(asked).session_id not in {play.placement(c).session_id for c in (twin, other)}
