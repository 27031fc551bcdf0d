"""Calls recognised by what they repeat, where no id comes back (rules 4 and 5)."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.builders import CallBuilder, Play, message, results_for, tool
from watchllm_proxy.records import Call, Confidence, LinkKind, Message
from watchllm_proxy.sessionize import Sessionizer

ANSWER = "I would look at the harbour market first, then at the old town."


def test_a_longer_history_continues_the_session_that_left_it() -> None:
    call = CallBuilder()
    one = call(user="Hi", answers="Hello, what can I do?")
    more = call(after=one, user="Tell me a joke")
    play = Play(one, more)
    assert play.placement(more).session_id == play.placement(one).session_id
    link = play.placement(more).links[0]
    assert (link.kind, link.confidence, link.to_call_id) == (LinkKind.HISTORY, Confidence.CERTAIN, one.call_id)


def test_a_clock_in_the_system_prompt_does_not_hide_the_history() -> None:
    call = CallBuilder()
    one = call(user="Hi", system="It is 10:00.", answers="Hello, what can I do?")
    later = call(history=[message("system", "It is 10:01."), *call(after=one, user="A joke?").messages[1:]])
    play = Play(one, later)
    assert play.placement(later).session_id == play.placement(one).session_id


def test_a_history_that_two_sessions_left_is_only_probable() -> None:
    call = CallBuilder()
    one, other = (
        call(user="Hi", answers="Hello, you."),
        call(user="Hi", answers="Hello, you.", client="127.0.0.1:2"),
    )
    more = call(after=other, user="A joke?", client="127.0.0.1:2")
    play = Play(one, other, more)
    assert play.placement(more).session_id == play.placement(other).session_id, "it shares the connection"
    assert not play.placement(more).is_certain


def test_an_answer_that_comes_back_as_text_continues_its_session() -> None:
    call = CallBuilder()
    plan = call(user="Plan a day in Bergen", answers=ANSWER)
    use = call(user=f"Make a table of this:\n{ANSWER}\nNo other words.", system="You make tables.")
    play = Play(plan, use)
    assert play.placement(use).run_id == play.placement(plan).run_id
    link = play.placement(use).links[0]
    assert (link.kind, link.confidence) == (LinkKind.RETURNED_TEXT, Confidence.PROBABLE)
    assert play.outline(use) == ["user_input", "model_response", "model_response"], (
        "the program speaks, not the user"
    )


def test_an_answer_that_only_quotes_its_question_links_nothing() -> None:
    call = CallBuilder()
    question = "Which airline flies to the smallest airport of all?"
    one = call(user=question, answers=f"You ask: {question}")
    other = call(user=question, answers="None.")
    play = Play(one, other)
    assert play.placement(other).session_id != play.placement(one).session_id


def test_text_of_another_host_links_nothing() -> None:
    call = CallBuilder()
    plan = call(user="Plan a day in Bergen", answers=ANSWER)
    use = call(user=f"Judge this: {ANSWER}", client="10.0.0.9:1")
    play = Play(plan, use)
    assert play.placement(use).session_id != play.placement(plan).session_id


def test_a_text_protocol_that_tells_all_anew_is_one_run() -> None:
    call = CallBuilder()
    head = "Question: how warm is it in Oslo?\nUse the tools, one at a time, and think.\nSteps so far:"
    one = call(user=head, answers="Call weather now\ncity: Oslo")
    two = call(user=f"{head}\nCall weather now\ncity: Oslo\nIt is 14 degrees", answers="Call finish now\nwarm: 14")
    play = Play(one, two)
    assert play.placement(two).run_id == play.placement(one).run_id


def test_agents_that_answer_each_other_in_user_messages_are_one_run() -> None:
    call = CallBuilder()
    ask = call(user="Write about Bergen", tools=["search"], answers=tool("search", {"q": "Bergen"}))
    draft = call(after=ask, results=results_for(ask, "A town"), answers=ANSWER)
    critic = call(
        history=[
            message("system", "You are the critic."),
            message("user", "Write about Bergen"),
            message("user", ANSWER),
        ],
        answers="It is a little too short for my taste, dear writer.",
    )
    critic = replace(critic, tool_names=("search",))
    again = call(after=draft, user="It is a little too short for my taste, dear writer.")
    play = Play(ask, draft, critic, again)
    assert {play.placement(c).run_id for c in (ask, draft, critic, again)} == {play.placement(ask).run_id}


def test_a_summary_made_for_the_next_turn_belongs_to_that_turn() -> None:
    call = CallBuilder()
    ask = call(user="Plan a day", tools=["search"], answers=tool("search", {"q": "Bergen"}))
    done = call(after=ask, results=results_for(ask, "A town"), answers=ANSWER)
    summary = "The user plans a day and was told about the market."
    helper = call(
        user=f"Summarise this conversation.\nassistant: {ANSWER}", system=None, tools=[], answers=summary
    )
    last = done.messages[-2:]
    more = call(
        history=[message("user", f"Summary so far: {summary}"), *last, message("user", "And in Oslo, on Monday?")]
    )
    play = Play(ask, done, helper, more)
    assert play.placement(helper).run_id != play.placement(ask).run_id
    assert play.placement(more).run_id == play.placement(helper).run_id
    assert {play.placement(c).session_id for c in (ask, done, helper, more)} == {play.placement(ask).session_id}


def test_texts_are_forgotten_past_their_number() -> None:
    call = CallBuilder()
    plan = call(user="Plan a day in Bergen", answers=ANSWER)
    others = [
        call(user=f"Question {n}", answers=f"An answer of its own, with the number {n} in it") for n in range(5)
    ]
    use = call(user=f"Judge this: {ANSWER}")
    play = Play(plan, *others, use, sessionizer=Sessionizer(silence_us=600_000_000, max_texts=3))
    assert play.placement(use).session_id != play.placement(plan).session_id


def told_anew(asked: Call, *, told: str = "I called read_gauge, and it said 2.15 m") -> tuple[Message, ...]:
    """A history in which no id and no word of the answer is left."""
    return (*asked.messages, message("user", told))


def test_the_one_run_that_waits_for_what_a_request_tells_of_is_gone_on_with() -> None:
    call = CallBuilder()
    asked = call(user="How high is the river?", tools=["read_gauge"], answers=tool("read_gauge"))
    play = Play(asked, later := call(history=told_anew(asked), tools=["read_gauge"]))
    assert play.placement(later).run_id == play.placement(asked).run_id
    link = play.placement(later).links[0]
    assert (link.kind, link.confidence) == (LinkKind.HISTORY, Confidence.PROBABLE)


def test_which_of_two_waiting_runs_is_meant_only_the_connection_can_tell() -> None:
    call = CallBuilder()
    two = [
        call(user="How high is the river?", tools=["read_gauge"], answers=tool("read_gauge"), client=f"h:{port}")
        for port in (1, 2)
    ]
    lost = call(history=told_anew(two[0]), tools=["read_gauge"], client="h:3")
    known = call(history=told_anew(two[0]), tools=["read_gauge"], client="h:2")
    play = Play(*two, lost, known)
    assert play.placement(lost).run_id not in {play.placement(c).run_id for c in two}
    assert play.placement(known).run_id == play.placement(two[1]).run_id


def test_the_same_question_alone_is_not_gone_on_with() -> None:
    call = CallBuilder()
    asked = call(user="How high is the river?", tools=["read_gauge"], answers=tool("read_gauge"))
    play = Play(asked, again := call(user="How high is the river?", tools=["read_gauge"]))
    assert play.placement(again).run_id != play.placement(asked).run_id
