"""Time, memory and rows of the machine."""

from __future__ import annotations

import pytest

from tests.unit.builders import (
    SECOND_US,
    SILENCE_US,
    CallBuilder,
    Play,
    Rows,
    ids,
    results_for,
    tool,
)
from watchllm_proxy.records import RunStatus
from watchllm_proxy.sessionize import Sessionizer


def restarted(play: Play) -> Play:
    fresh = Play(sessionizer=play.rows.restarted())
    fresh.rows = play.rows
    return fresh


def test_a_drain_holds_changed_rows_once_and_each_changed_run_whole() -> None:
    call = CallBuilder()
    machine = Sessionizer(silence_us=SILENCE_US)
    machine.observe(ask := call(user="Hi", answers=tool("a")), 0)
    first = machine.drain()
    assert [step.step_index for _, _, step in first.steps] == [0, 1, 2]
    machine.observe(call(after=ask, results=results_for(ask, "x")), 0)
    second = machine.drain()
    assert [step.step_index for _, _, step in second.steps] == [2, 3], "the tool's output came, and the answer"
    ((key, whole),) = second.all_steps.items()
    assert [step.step_index for step in whole] == [0, 1, 2, 3]
    assert key == (second.runs[0].project_id, second.runs[0].run_id)
    empty = machine.drain()
    assert (empty.runs, empty.steps, empty.placements, empty.anchors) == ((), (), (), ())


def test_a_tick_ends_silent_runs_and_tells_it_once() -> None:
    call = CallBuilder()
    machine = Sessionizer(silence_us=SILENCE_US)
    machine.observe(ask := call(user="Hi", answers=tool("a")), 0)
    assert machine.drain().runs[0].status is RunStatus.RUNNING
    machine.tick(ask.ended_at_us + SILENCE_US - 1)
    assert machine.drain().runs == ()
    machine.tick(ask.ended_at_us + SILENCE_US)
    (run,) = machine.drain().runs
    assert (run.status, run.ended_at_us) == (RunStatus.ABANDONED, ask.ended_at_us)
    machine.tick(ask.ended_at_us + 2 * SILENCE_US)
    assert machine.drain().runs == ()


def test_membership_does_not_depend_on_the_wall_clock() -> None:
    """A recorder that was away works off old calls: a tick in between ends runs for show only."""
    call = CallBuilder()
    ask = call(user="Hi", answers=tool("a"))
    done = call(after=ask, results=results_for(ask, "x"))
    machine, rows = Sessionizer(silence_us=SILENCE_US), Rows()
    hours_later = done.ended_at_us + 5 * 3600 * SECOND_US
    for one in (ask, done):
        machine.observe(one, hours_later)
        machine.tick(hours_later)
        rows.store(machine.drain())
    (run,) = rows.runs.values()
    assert (run.status, run.total_calls) == (RunStatus.COMPLETED, 2)


def test_a_named_run_goes_on_after_its_answer_and_after_a_restart() -> None:
    call = CallBuilder()
    play = Play(one := call(user="One", client_ids=ids(run="job")))
    call.wait(3 * 3600)
    play.observe(call(user="Something else"))
    play = restarted(play)
    play.observe(call(user="Two", client_ids=ids(run="job")))
    assert play.outline(one) == ["user_input", "model_response", "user_input", "model_response"]


def test_a_run_id_that_comes_back_after_days_continues_where_it_was() -> None:
    call = CallBuilder()
    play = Play(one := call(user="One", client_ids=ids(run="job")))
    call.wait(3 * 24 * 3600)
    play.observe(call(user="Something else"))
    assert ("default", "job") not in play.sessionizer._runs, "it is past its time"
    play.observe(call(after=one, user="Two", client_ids=ids(run="job")))
    assert play.outline(one) == ["user_input", "model_response", "user_input", "model_response"]


def test_a_run_whose_steps_are_not_stored_any_more_is_not_continued() -> None:
    call = CallBuilder()
    ask = call(user="Hi", answers=tool("a"))
    done = call(after=ask, results=results_for(ask, "x"))
    play = Play(ask)
    play.rows.steps.clear()
    fresh = play.rows.restarted()
    placement = fresh.observe(done, 0)
    assert placement.run_id != play.placement(ask).run_id, "its steps would have been numbered as those that were"
    assert placement.session_id == play.placement(ask).session_id


def test_calls_of_a_batch_are_answered_by_one_look_at_the_shelf() -> None:
    call = CallBuilder()
    asks = [call(user=f"Find number {n}", answers=tool("a")) for n in range(20)]
    play = Play(*asks)
    fresh = play.rows.restarted()
    answers = [call(after=ask, results=results_for(ask, "x")) for ask in asks]
    named = [call(user=f"New {n}", client_ids=ids(run=f"job-{n}")) for n in range(20)]
    before = play.rows.fetches
    fresh.bring([*answers, *named])
    for each in (*answers, *named):
        fresh.observe(each, 0)
    assert play.rows.fetches == before + 1
    assert len(fresh.drain().runs) == 40


def test_a_restart_brings_no_steps() -> None:
    call = CallBuilder()
    play = Play(*(call(user=f"Question {n}", answers=tool("a")) for n in range(10)))
    before = play.rows.fetches
    fresh = play.rows.restarted()
    assert (len(fresh._runs), fresh._runs._bodies, play.rows.fetches) == (10, {}, before)


@pytest.mark.parametrize("answers", ["Done.", tool("a")])
def test_memory_is_bounded_by_the_number_of_runs(answers: object) -> None:
    call = CallBuilder()
    play = Play(sessionizer=Sessionizer(silence_us=SILENCE_US, max_runs=10, max_anchors=25))
    for number in range(200):
        play.observe(call(user=f"Question {number}", answers=answers, gap_s=0.0, took_s=0.001))  # type: ignore[arg-type]
    assert len(play.sessionizer._runs) == 10
    assert len(play.sessionizer._remembered.anchors) <= 25
    assert len(play.sessionizer._runs._scheduled) <= 10
    assert len(play.rows.runs) == 200


def test_a_run_that_is_let_go_while_it_runs_is_ended_and_its_follow_up_stays_in_the_session() -> None:
    call = CallBuilder()
    ask = call(user="Hi", answers=tool("a"))
    other = call(user="Other", answers=tool("a"))
    done = call(after=ask, results=results_for(ask, "x"))
    play = Play(ask, other, sessionizer=Sessionizer(silence_us=SILENCE_US, max_runs=1))
    assert play.run_of(ask).status is RunStatus.ABANDONED
    play.observe(done)
    assert play.placement(done).run_id != play.placement(ask).run_id
    assert play.placement(done).session_id == play.placement(ask).session_id


def test_finished_runs_are_let_go_before_open_ones() -> None:
    call = CallBuilder()
    ask = call(user="Hi", answers=tool("a"))
    chats = [call(user=f"Chat {n}") for n in range(5)]
    done = call(after=ask, results=results_for(ask, "x"))
    play = Play(ask, *chats, done, sessionizer=Sessionizer(silence_us=SILENCE_US, max_runs=2))
    assert play.placement(done).run_id == play.placement(ask).run_id


def test_finished_runs_leave_memory_by_the_logs_own_time() -> None:
    call = CallBuilder()
    play = Play(call(user="Hi"))
    call.wait(2 * 600 + 5)
    play.observe(call(user="Later"))
    assert len(play.sessionizer._runs) == 1
    assert len(play.sessionizer._runs._sessions) == 1


def test_a_failing_storm_of_one_body_keeps_a_bounded_number_of_attempts_waiting() -> None:
    from tests.unit.builders import T0_US, error
    from watchllm_proxy.sessionize.anchors import MAX_PENDING_FAILURES

    call = CallBuilder()
    first = call(user="Hi", error=error(), client="127.0.0.1:1")
    storm = [
        call.again(first, error=error(), client=f"127.0.0.1:{n + 2}", starts_at_us=first.started_at_us)
        for n in range(3 * MAX_PENDING_FAILURES)
    ]
    play = Play(first, *storm)
    waiting = play.sessionizer._remembered.anchors.failures(
        "default", first.request_hash.hex(), T0_US + 60 * SECOND_US, SILENCE_US
    )
    assert len(waiting) == MAX_PENDING_FAILURES


def test_runs_that_a_text_may_belong_to_are_fetched_together() -> None:
    """Twenty equal conversations wait, after a restart, for a request that carries on one of them."""
    call = CallBuilder()
    asks = [
        call(user="Find the weather in Bergen", answers="For which day is that?", client=f"127.0.0.1:{n}")
        for n in range(20)
    ]
    play = Play(*asks)
    fresh = play.rows.restarted()
    before = play.rows.fetches
    placement = fresh.observe(call(after=asks[0], user="For Monday", client="127.0.0.1:999"), 0)
    assert placement.session_id in {play.placement(ask).session_id for ask in asks}
    assert play.rows.fetches == before + 1
