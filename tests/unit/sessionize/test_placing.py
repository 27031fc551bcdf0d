"""Which run and which session a call goes to, and what happens where its ids disagree."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.builders import (
    CLIENT_LEFT,
    RATE_LIMITED,
    CallBuilder,
    Play,
    error,
    ids,
    message,
    results_for,
    tool,
)
from watchllm_proxy.records import Api, ClientId, ClientIdKind, Confidence, ExchangeEnd, LinkKind, ToolCall


def test_a_tool_result_continues_the_run_that_asked_for_it() -> None:
    call = CallBuilder()
    ask = call(user="Where is my order?", answers=tool("lookup"))
    done = call(after=ask, results=results_for(ask, "shipped"))
    play = Play(ask, done)
    assert play.placement(done).run_id == play.placement(ask).run_id
    link = play.placement(done).links[0]
    assert (link.kind, link.confidence) == (LinkKind.ISSUED_ID, Confidence.CERTAIN)
    assert (link.to_call_id, link.to_step_index) == (ask.call_id, 2), "the tool_call step that it answers"


def test_a_call_without_evidence_starts_a_run_of_its_own() -> None:
    call = CallBuilder()
    one, other = call(user="Hi"), call(user="Hi")
    play = Play(one, other)
    assert play.placement(one).run_id != play.placement(other).run_id
    assert play.placement(one).session_id == play.placement(one).run_id
    assert [link.kind for link in play.placement(one).links] == [LinkKind.NEW_RUN]
    assert play.placement(one).is_certain


def test_a_history_that_nobody_saw_makes_only_a_probable_new_run() -> None:
    call = CallBuilder()
    unseen = call(user="Hi")
    play = Play(seen := call(after=unseen, user="And now?"))
    assert not play.placement(seen).is_certain


def test_a_request_that_cannot_be_read_makes_only_a_probable_new_run() -> None:
    """It is missing or was cut: nobody knows what it went on from."""
    one = replace(CallBuilder()(user="Hi"), request_skeleton=b"", messages=(), request_hash=b"", is_truncated=True)
    play = Play(one)
    assert [link.kind for link in play.placement(one).links] == [LinkKind.NEW_RUN]
    assert not play.placement(one).is_certain


def test_a_new_user_message_after_the_final_answer_starts_the_next_run_of_the_session() -> None:
    call = CallBuilder()
    ask = call(user="Where is my order?", answers=tool("lookup"))
    done = call(after=ask, results=results_for(ask, "shipped"))
    more = call(after=done, user="And the other one?")
    play = Play(ask, done, more)
    assert play.placement(more).run_id != play.placement(ask).run_id
    assert play.placement(more).session_id == play.placement(ask).session_id
    assert play.run_of(more).title == "And the other one?"
    assert play.outline(more) == ["user_input", "model_response"]


def test_a_user_message_while_tools_are_open_stays_in_the_run() -> None:
    call = CallBuilder()
    ask = call(user="Where is my order?", answers=[tool("lookup"), tool("fx")])
    hurry = call(after=ask, results={"call-call-1-0": "shipped"}, user="Quick, please", answers=tool("lookup"))
    play = Play(ask, hurry)
    assert play.placement(hurry).run_id == play.placement(ask).run_id
    assert play.outline(ask) == [
        "user_input",
        "decision",
        "tool_call lookup",
        "tool_call fx",
        "user_input",
        "decision",
        "tool_call lookup",
    ]


def test_a_new_question_starts_the_next_run_where_nothing_is_heard_of_the_tools_that_were_asked_for() -> None:
    """The agent was stopped at its limit of steps; its program keeps what was said, and no ids."""
    call = CallBuilder()
    says = "I look at the gauge at Hazel Reach before I answer."
    stopped = call(user="How high is the river?", answers=says, tools=["read_gauge"])
    assert stopped.answer is not None
    asked = message("assistant", says, slot="answer", calls=[ToolCall("call-9", "read_gauge", "{}")])
    stopped = replace(stopped, answer=asked, issued_ids=("call-9",))
    history = [*stopped.messages, message("assistant", says), message("user", "And how is the weather there?")]
    play = Play(stopped, later := call(history=history, tools=["read_gauge"]))
    assert play.placement(later).session_id == play.placement(stopped).session_id
    assert play.placement(later).run_id != play.placement(stopped).run_id


def test_a_repeat_of_the_history_after_the_final_answer_stays_in_the_run() -> None:
    call = CallBuilder()
    ask = call(user="Plan it", answers=tool("plan"))
    done = call(after=ask, results=results_for(ask, "planned"))
    check = call(after=done, answers="Looks right.")
    play = Play(ask, done, check)
    assert play.placement(check).run_id == play.placement(ask).run_id


def test_a_hand_off_to_another_agent_stays_in_the_run() -> None:
    call = CallBuilder()
    ask = call(user="I want a refund", answers=tool("transfer_to_refunds"), system="You are triage.")
    refunds = call(
        history=[
            call(system="You are refunds.").messages[0],
            *call(after=ask, results=results_for(ask, "ok")).messages[1:],
        ],
        tools=["create_refund"],
    )
    play = Play(ask, refunds)
    assert play.placement(refunds).run_id == play.placement(ask).run_id
    assert play.run_of(ask).agent_name == "triage"


def test_the_last_id_in_the_body_wins() -> None:
    call = CallBuilder()
    first = call(user="One", answers=tool("a"))
    first_done = call(after=first, results=results_for(first, "1"))
    second = call(after=first_done, user="Two", answers=tool("b"))
    second_done = call(after=second, results=results_for(second, "2"))
    play = Play(first, first_done, second, second_done)
    assert play.placement(second_done).run_id == play.placement(second).run_id
    assert play.placement(second).session_id == play.placement(first).session_id


def test_ids_never_link_across_projects() -> None:
    call = CallBuilder()
    ask = call(user="Where?", answers=tool("lookup", id="call_1"), client_ids=ids(run="r1"))
    foreign = call(after=ask, results={"call_1": "x"}, project="other", client_ids=ids(run="r1"))
    play = Play(ask, foreign)
    assert [(run.project_id, run.run_id) for run in play.runs()] == [("default", "r1"), ("other", "r1")]
    assert play.placement(foreign).links[0].to_call_id is None
    assert len(play.placement(foreign).links) == 1


def test_an_id_that_several_sessions_were_given_is_only_probable_evidence() -> None:
    call = CallBuilder()
    one = call(user="One", answers=tool("a", id="call_0"))
    other = call(user="Other", answers=tool("a", id="call_0"))
    done = call(results={"call_0": "x"})
    play = Play(one, other, done)
    assert play.placement(done).run_id == play.placement(other).run_id
    assert not play.placement(done).is_certain


def test_a_history_says_more_than_an_id_that_several_sessions_were_given() -> None:
    call = CallBuilder()
    one = call(user="One", answers=tool("a", id="call_0"))
    other = call(user="Other", answers=tool("a", id="call_0"))
    done = call(after=one, results={"call_0": "x"})
    play = Play(one, other, done)
    assert play.placement(done).run_id == play.placement(one).run_id
    assert [link.kind for link in play.placement(done).links] == [LinkKind.HISTORY, LinkKind.ISSUED_ID]
    assert play.placement(done).is_certain


# --- explicit ids


def test_an_explicit_run_id_names_the_run_whatever_else_is_said() -> None:
    call = CallBuilder()
    one = call(user="One", client_ids=ids(run="job-7"))
    after_answer = call(after=one, user="Two", client_ids=ids(run="job-7"))
    stranger = call(user="Three", client_ids=ids(run="job-7"))
    play = Play(one, after_answer, stranger)
    assert {play.placement(c).run_id for c in (one, after_answer, stranger)} == {"job-7"}
    assert play.outline(one) == ["user_input", "model_response"] * 3
    assert play.run_of(one).is_agent


def test_an_explicit_run_id_beats_the_evidence_and_both_are_shown() -> None:
    call = CallBuilder()
    ask = call(user="One", answers=tool("a"))
    other = call(after=ask, results=results_for(ask, "x"), client_ids=ids(run="mine"))
    placement = Play(ask, other).placement(other)
    assert placement.run_id == "mine"
    assert [link.kind for link in placement.links] == [LinkKind.EXPLICIT_RUN, LinkKind.ISSUED_ID]
    assert placement.session_id == Play(ask).placement(ask).session_id, "its history comes from that session"


def test_two_explicit_run_ids_the_stronger_wins() -> None:
    call = CallBuilder()
    both = (
        ClientId(ClientIdKind.RUN, "weak", "x-tool-run-id", 3),
        ClientId(ClientIdKind.RUN, "strong", "x-run-id", 1),
    )
    placement = Play(one := call(user="One", client_ids=both)).placement(one)
    assert placement.run_id == "strong"
    assert [link.value for link in placement.links] == ["strong", "weak"]


def test_an_explicit_session_holds_runs_that_evidence_decides() -> None:
    call = CallBuilder()
    ask = call(user="One", answers=tool("a"), client_ids=ids(session="s1"))
    done = call(after=ask, results=results_for(ask, "x"), client_ids=ids(session="s1"))
    unrelated = call(user="Side", client_ids=ids(session="s1"))
    play = Play(ask, done, unrelated)
    assert {play.placement(c).session_id for c in (ask, done, unrelated)} == {"s1"}
    assert play.placement(done).run_id == play.placement(ask).run_id
    assert play.placement(unrelated).run_id != play.placement(ask).run_id


def test_evidence_that_leads_out_of_the_named_session_cannot_place_the_call() -> None:
    call = CallBuilder()
    ask = call(user="One", answers=tool("a"), client_ids=ids(session="s1"))
    moved = call(after=ask, results=results_for(ask, "x"), client_ids=ids(session="s2"))
    play = Play(ask, moved)
    assert play.placement(moved).session_id == "s2"
    assert play.placement(moved).run_id != play.placement(ask).run_id


def test_an_explicit_parent_hangs_the_run_under_it_in_its_session() -> None:
    call = CallBuilder()
    parent = call(user="Do it", answers=tool("delegate"), client_ids=ids(run="p", session="s"))
    child = call(user="Part one", client_ids=ids(run="c", parent_run="p"))
    play = Play(parent, child)
    assert (play.run_of(child).parent_run_id, play.run_of(child).session_id) == ("p", "s")


def test_a_child_that_is_seen_before_its_parent_still_shares_its_session() -> None:
    call = CallBuilder()
    child = call(user="Part one", client_ids=ids(run="c", parent_run="p"))
    parent = call(user="Do it", client_ids=ids(run="p"))
    play = Play(child, parent)
    assert play.run_of(child).session_id == play.run_of(parent).session_id


def test_a_parent_may_be_named_by_its_session() -> None:
    call = CallBuilder()
    parent = call(user="Do it", answers=tool("task"), tools=["task"], client_ids=ids(session="main"))
    child = call(user="Part", client_ids=ids(session="sub", parent_run="main"))
    play = Play(parent, child)
    assert play.run_of(child).parent_run_id == play.placement(parent).run_id


def test_a_sub_agents_id_keeps_its_calls_together_and_apart_from_its_parent() -> None:
    call = CallBuilder()
    main = ids(session="s")
    sub = ids(session="s", agent="a1")
    parent = call(user="Do it", answers=tool("Task"), tools=["Task"], client_ids=main)
    child = call(user="Part one", answers=tool("Read"), tools=["Read"], client_ids=sub)
    child_again = call(user="Part one", answers=tool("Read"), tools=["Read"], client_ids=sub)  # no id comes back
    inherited = call(after=parent, results=results_for(parent, "x"), client_ids=ids(session="s", agent="a2"))
    back = call(after=parent, results=results_for(parent, "done"), client_ids=main)
    play = Play(parent, child, child_again, inherited, back)
    assert play.placement(child).run_id == play.placement(child_again).run_id
    assert play.run_of(child).parent_run_id == play.placement(parent).run_id
    assert play.placement(inherited).run_id != play.placement(parent).run_id, "a fork of its parent's history"
    assert play.placement(back).run_id == play.placement(parent).run_id
    assert {run.session_id for run in play.runs()} == {"s"}


def test_a_sub_agents_sub_agent_hangs_under_the_agent_that_its_harness_names() -> None:
    call = CallBuilder()
    call_main = call(user="Do", answers=tool("Task"), tools=["Task"], client_ids=ids(session="s"))
    one = call(user="1", answers=tool("Task"), tools=["Task"], client_ids=ids(session="s", agent="a1"))
    two = call(user="2", client_ids=ids(session="s", agent="a2", parent_agent="a1"))
    play = Play(call_main, one, two)
    assert play.run_of(two).parent_run_id == play.placement(one).run_id


def test_the_main_agent_may_be_named_like_its_session() -> None:
    call = CallBuilder()
    root = call(user="Do", answers=tool("spawn"), tools=["spawn"], client_ids=ids(session="t0", agent="t0"))
    sub = call(user="Part", client_ids=ids(session="t0", agent="t1"))
    play = Play(root, sub)
    assert play.run_of(root).parent_run_id is None
    assert play.run_of(sub).parent_run_id == play.placement(root).run_id


def test_a_prompt_cache_key_is_no_evidence() -> None:
    call = CallBuilder()
    key = (ClientId(ClientIdKind.SESSION, "my-app", "prompt_cache_key", 4),)
    one, other = call(user="One", client_ids=key), call(user="Other", client_ids=key)
    play = Play(one, other)
    assert play.placement(one).session_id != play.placement(other).session_id


# --- Responses, traces


def test_a_previous_response_id_continues_and_a_new_message_makes_the_next_turn() -> None:
    call = CallBuilder()
    ask = call(user="One", answers=tool("a", id="fc_1"), response_id="resp_1")
    done = call(results={"fc_1": "x"}, client_ids=ids(previous_response="resp_1"), response_id="resp_2")
    turn = call(user="Two", client_ids=ids(previous_response="resp_2"))
    play = Play(ask, done, turn)
    assert play.placement(done).run_id == play.placement(ask).run_id
    assert play.placement(done).links[0].kind is LinkKind.PREVIOUS_RESPONSE
    assert play.placement(turn).run_id != play.placement(ask).run_id
    assert play.placement(turn).session_id == play.placement(ask).session_id


def test_a_conversation_id_leads_to_its_latest_run() -> None:
    call = CallBuilder()
    conversation = ids(conversation="conv_1")
    ask = call(user="One", answers=tool("a"), client_ids=conversation)
    side = call(client_ids=conversation, results=results_for(ask, "x"))
    turn = call(user="Two", client_ids=conversation)
    play = Play(ask, side, turn)
    assert play.placement(side).run_id == play.placement(ask).run_id
    assert play.placement(turn).session_id == play.placement(ask).session_id
    assert play.placement(turn).run_id != play.placement(ask).run_id


def test_a_trace_is_one_run_at_most_and_weaker_than_issued_ids() -> None:
    call = CallBuilder()
    trace = ids(trace="t" * 32)
    one = call(user="One", answers=tool("a"), client_ids=trace)
    same = call(user="One", answers=tool("b"), client_ids=trace)
    other = call(user="Other", answers=tool("c"))
    mixed = call(after=other, results=results_for(other, "x"), client_ids=trace)
    later = call(user="One", client_ids=trace)
    play = Play(one, same, other, mixed, later)
    assert play.placement(same).run_id == play.placement(one).run_id
    assert not play.placement(same).is_certain
    assert play.placement(mixed).run_id == play.placement(other).run_id
    assert [link.kind for link in play.placement(mixed).links] == [LinkKind.ISSUED_ID, LinkKind.TRACE]
    assert play.placement(later).run_id == play.placement(one).run_id, "the trace stays with its first run"


# --- retries


def test_the_same_body_over_the_same_connection_after_a_failure_is_a_certain_retry() -> None:
    call = CallBuilder()
    failed = call(user="Hi", error=RATE_LIMITED, status=429)
    again = call.again(failed, answers="Hello")
    play = Play(failed, again)
    assert play.outline(failed) == ["user_input", "error", "retry", "model_response"]
    assert play.placement(again).links[0].kind is LinkKind.RETRY
    assert play.placement(again).is_certain
    assert play.run_of(failed).title == "Hi"


def test_a_retry_over_another_connection_is_probable() -> None:
    call = CallBuilder()
    failed = call(user="Hi", error=error())
    again = call.again(failed, client="127.0.0.1:50001")
    play = Play(failed, again)
    assert play.placement(again).run_id == play.placement(failed).run_id
    assert not play.placement(again).is_certain


def test_a_turn_that_was_tried_before_goes_on_in_the_run_of_the_first_attempt() -> None:
    """The ids in it say only: after a finished turn. That the same was asked before tells which run it is."""
    call = CallBuilder()
    first = call(user="Hi", answers=tool("look"))
    done = call(after=first, results=results_for(first, "seen"))
    aborted = call(after=done, user="More", error=CLIENT_LEFT, end=ExchangeEnd.CLIENT_ABORTED, client="h:1")
    play = Play(first, done, aborted, again := call.again(aborted, client="h:2"))
    assert play.placement(again).run_id == play.placement(aborted).run_id != play.placement(done).run_id
    assert play.outline(again) == ["user_input", "error", "retry", "model_response"]


def test_a_failure_is_claimed_by_one_retry_only() -> None:
    call = CallBuilder()
    failed = call(user="Hi", error=error())
    again, third = call.again(failed), call.again(failed)
    play = Play(failed, again, third)
    assert play.placement(again).run_id == play.placement(failed).run_id
    assert play.placement(third).run_id != play.placement(failed).run_id


def test_equal_runs_that_fail_together_find_their_own_retries_by_connection() -> None:
    call = CallBuilder()
    one = call(user="Hi", error=error(), client="127.0.0.1:1")
    two = call(user="Hi", error=error(), client="127.0.0.1:2", starts_at_us=one.started_at_us)
    again_two = call.again(two, client="127.0.0.1:2")
    again_one = call.again(one, client="127.0.0.1:1")
    play = Play(one, two, again_two, again_one)
    assert play.placement(again_one).run_id == play.placement(one).run_id
    assert play.placement(again_two).run_id == play.placement(two).run_id
    assert play.placement(again_one).is_certain


def test_a_request_that_began_before_the_failure_ended_is_no_retry_of_it() -> None:
    call = CallBuilder()
    failed = call(user="Hi", error=error())
    parallel = call.again(failed, starts_at_us=failed.started_at_us + 1000)
    play = Play(failed, parallel)
    assert play.placement(parallel).run_id != play.placement(failed).run_id


def test_a_client_that_left_may_try_again_before_the_proxy_notices() -> None:
    call = CallBuilder()
    left = call(user="Hi", error=CLIENT_LEFT, end=ExchangeEnd.CLIENT_ABORTED)
    again = call.again(left, starts_at_us=left.ended_at_us - 100_000, client="127.0.0.1:9")
    play = Play(left, again)
    assert play.placement(again).run_id == play.placement(left).run_id


def test_the_same_question_long_after_a_failure_is_no_retry() -> None:
    call = CallBuilder()
    failed = call(user="Hi", error=error())
    call.wait(601)
    again = call.again(failed)
    play = Play(failed, again)
    assert play.placement(again).run_id != play.placement(failed).run_id


# --- other calls


def test_other_calls_make_no_runs_unless_a_run_id_says_so() -> None:
    call = CallBuilder()
    models = call(api=Api.OTHER)
    named = call(api=Api.OTHER, client_ids=ids(run="r"))
    play = Play()
    assert (play.observe(models).run_id, play.observe(models).links) == (None, ())
    assert play.observe(named).run_id == "r"
    assert [run.run_id for run in play.runs()] == ["r"]


def test_a_late_follow_up_of_a_finished_run_starts_the_next_run_of_its_session() -> None:
    call = CallBuilder()
    ask = call(user="One", answers=tool("a"))
    done = call(after=ask, results=results_for(ask, "x"))
    call.wait(3600)
    late = call(after=done, answers="Once more")
    play = Play(ask, done, late)
    assert play.placement(late).run_id != play.placement(ask).run_id
    assert play.placement(late).session_id == play.placement(ask).session_id


def test_a_late_call_reopens_a_run_that_was_given_up() -> None:
    call = CallBuilder()
    ask = call(user="One", answers=tool("slow"))
    play = Play(ask, tick_after_s=3600)
    assert play.run_of(ask).status == "abandoned"
    call.wait(7200)
    play.observe(done := call(after=ask, results=results_for(ask, "x")))
    assert play.placement(done).run_id == play.placement(ask).run_id
    assert play.run_of(ask).status == "completed"


def test_evidence_older_than_the_horizon_is_forgotten() -> None:
    call = CallBuilder()
    ask = call(user="One", answers=tool("slow"))
    call.wait(25 * 3600)
    done = call(after=ask, results=results_for(ask, "x"))
    play = Play(ask, done)
    assert play.placement(done).session_id != play.placement(ask).session_id


def test_two_that_go_on_from_one_state_are_a_fork_and_both_stay_in_the_session() -> None:
    call = CallBuilder()
    one = call(user="Hi", answers="Hello, what can I do for you?")
    first, later = call(after=one, user="Tell me a joke"), call(after=one, user="Tell me a story")
    play = Play(one, first, later)
    assert LinkKind.FORKED_FROM not in {link.kind for link in play.placement(first).links}
    fork = play.placement(later).links[-1]
    assert (fork.kind, fork.to_call_id) == (LinkKind.FORKED_FROM, first.call_id)
    assert play.placement(later).session_id == play.placement(first).session_id
    assert play.placement(later).run_id != play.placement(first).run_id, "each message is a turn of its own"


def test_an_answer_that_is_asked_for_again_is_a_fork_within_its_turn() -> None:
    call = CallBuilder()
    one = call(user="Hi", answers=tool("look"))
    first = call(after=one, results=results_for(one, "seen"))
    play = Play(one, first, again := call.again(first))
    assert play.placement(again).run_id == play.placement(first).run_id
    assert play.placement(again).links[-1].kind is LinkKind.FORKED_FROM


def test_a_retry_and_another_agent_that_reads_along_are_no_forks() -> None:
    call = CallBuilder()
    one = call(user="Hi", answers="Hello, what can I do for you?")
    failed = call(after=one, user="Tell me a joke", error=RATE_LIMITED)
    retried = call.again(failed)
    history = (message("system", "You name conversations."), *retried.messages[1:], message("user", "A title?"))
    title = call(history=history)
    play = Play(one, failed, retried, title)
    kinds = {link.kind for c in (failed, retried, title) for link in play.placement(c).links}
    assert LinkKind.FORKED_FROM not in kinds


def test_two_that_build_on_one_response_by_its_id_are_a_fork() -> None:
    call = CallBuilder()
    one = call(user="Hi", response_id="resp_1")
    first, later = (call(user=text, client_ids=ids(previous_response="resp_1")) for text in ("A", "B"))
    play = Play(one, first, later)
    assert play.placement(later).links[-1].kind is LinkKind.FORKED_FROM
