"""Sub-agents: bound by their task, verified by the tool's result, and put right where the guess was wrong."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.builders import SECOND_US, T0_US, CallBuilder, Play, results_for, tool
from watchllm_proxy.records import Call, Confidence, LinkKind

TASK = "Find the weather in Bergen for the weekend."
ANSWER = "Bergen will be mild and dry all weekend long."


def asks(call: CallBuilder, *, task: str = TASK, **more: object) -> Call:
    return call(user="Plan a weekend", tools=["ask_agent"], answers=tool("ask_agent", {"task": task}), **more)  # type: ignore[arg-type]


def child_of(call: CallBuilder, *, task: str = TASK, answers: str = ANSWER, **more: object) -> Call:
    return call(user=task, system="You are the weather agent.", tools=["get_weather"], answers=answers, **more)  # type: ignore[arg-type]


def test_a_run_that_is_given_an_open_tool_calls_argument_is_its_child() -> None:
    call = CallBuilder()
    parent = asks(call)
    child = child_of(call)
    play = Play(parent, child)
    placed = play.placement(child)
    assert placed.run_id != play.placement(parent).run_id
    assert placed.parent_run_id == play.placement(parent).run_id
    assert placed.session_id == play.placement(parent).session_id
    link = placed.links[0]
    assert (link.kind, link.confidence) == (LinkKind.TOOL_ARGUMENT, Confidence.PROBABLE)
    assert (link.to_call_id, link.to_step_index) == (parent.call_id, 2), "the tool_call step that it serves"


def test_the_tools_result_makes_the_child_certain() -> None:
    call = CallBuilder()
    parent = asks(call)
    child = child_of(call)
    done = call(after=parent, results=results_for(parent, f"The agent says: {ANSWER}"))
    play = Play(parent, child, done)
    link = play.placement(child).links[0]
    assert (link.kind, link.confidence) == (LinkKind.TOOL_RESULT, Confidence.CERTAIN)


def test_a_message_that_holds_the_task_among_other_words_is_a_childs() -> None:
    call = CallBuilder()
    parent = asks(call)
    child = child_of(call, task=f"You have been given this task:\n---\n{TASK}\n---\nReport when done.")
    play = Play(parent, child)
    assert play.placement(child).parent_run_id == play.placement(parent).run_id


def test_a_few_words_in_the_question_of_another_program_are_no_task() -> None:
    call = CallBuilder()
    parent = asks(call, task="Look at the Gorse Landing gauge")
    question = "Is it safe to open the footpath at Hazel Reach? Look at the Gorse Landing gauge too, and say why."
    other = replace(child_of(call, task=question), user_agent="other/1.0")
    same = child_of(call, task=question)
    play = Play(parent, other, same)
    assert play.placement(other).parent_run_id is None
    assert play.placement(same).parent_run_id == play.placement(parent).run_id


def test_another_program_may_be_given_the_whole_task() -> None:
    call = CallBuilder()
    parent = asks(call)
    child = replace(child_of(call, task=f"Task: {TASK}"), user_agent="other/1.0")
    play = Play(parent, child)
    assert play.placement(child).parent_run_id == play.placement(parent).run_id


def test_a_tools_own_question_to_a_model_stays_in_the_run() -> None:
    call = CallBuilder()
    parent = asks(call)
    helper = call(
        user=f"Context: it rains.\nQuery: {TASK}", system=None, tools=[], answers="Rain, mostly, I would say."
    )
    play = Play(parent, helper)
    assert play.placement(helper).run_id == play.placement(parent).run_id


def test_a_task_whose_tool_call_is_closed_starts_no_child() -> None:
    call = CallBuilder()
    parent = asks(call)
    done = call(after=parent, results=results_for(parent, "Sunny"))
    late = child_of(call)
    play = Play(parent, done, late)
    assert play.placement(late).parent_run_id is None
    assert play.placement(late).session_id != play.placement(parent).session_id


def test_the_same_agent_with_the_same_question_is_no_child_of_its_twin() -> None:
    call = CallBuilder()
    one = call(user=TASK, tools=["search"], answers=tool("search", {"query": TASK}))
    twin = call(user=TASK, tools=["search"], answers=tool("search", {"query": TASK}))
    play = Play(one, twin)
    assert play.placement(twin).session_id != play.placement(one).session_id


def test_equal_children_of_equal_parents_are_taken_in_order_and_corrected_by_the_results() -> None:
    """Both tasks are equal. The first child is taken for the first parent's; but its answer comes back to the
    second, so the two change places, with the rows that were stored."""
    call = CallBuilder()
    first, second = asks(call), asks(call)
    one = child_of(call, answers="It will be mild and dry in the north.")
    other = child_of(call, answers="Heavy rain is on its way from the west.")
    play = Play(first, second, one, other)
    assert play.placement(one).parent_run_id == play.placement(first).run_id
    assert play.placement(other).parent_run_id == play.placement(second).run_id

    play.observe(call(after=second, results=results_for(second, "It will be mild and dry in the north.")))
    assert play.placement(one).parent_run_id == play.placement(second).run_id
    assert play.placement(one).session_id == play.placement(second).session_id
    assert play.placement(other).session_id == play.placement(first).session_id
    assert play.run_of(one).parent_run_id == play.placement(second).run_id
    assert play.placement(one).links[0].kind is LinkKind.TOOL_RESULT

    play.observe(call(after=first, results=results_for(first, "Heavy rain is on its way from the west.")))
    assert play.placement(other).parent_run_id == play.placement(first).run_id
    assert play.placement(other).links[0].confidence is Confidence.CERTAIN


def test_a_moved_childs_later_calls_follow_it() -> None:
    call = CallBuilder()
    first, second = asks(call), asks(call)
    one = child_of(call, answers="It will be mild and dry in the north.")
    other = child_of(call, answers="Heavy rain is on its way from the west.")
    play = Play(first, second, one, other)
    play.observe(call(after=second, results=results_for(second, "It will be mild and dry in the north.")))
    again = call(after=one, user="And on Monday?")
    play.observe(again)
    assert play.placement(again).session_id == play.placement(second).session_id


def test_a_child_at_any_depth_hangs_in_the_roots_session() -> None:
    call = CallBuilder()
    root = asks(call)
    child = call(
        user=TASK,
        system="Agent.",
        tools=["ask_expert"],
        answers=tool("ask_expert", {"q": "Is Bergen ever dry at all?"}),
    )
    grandchild = child_of(call, task="Is Bergen ever dry at all?")
    play = Play(root, child, grandchild)
    assert play.placement(grandchild).parent_run_id == play.placement(child).run_id
    assert play.placement(grandchild).session_id == play.placement(root).session_id


def test_an_answer_that_comes_back_as_a_result_binds_the_run_that_gave_it() -> None:
    """Its task was worded otherwise, so that nothing linked it when it began."""
    call = CallBuilder()
    parent = asks(call, task="Weather, please, and be quick about it")
    stranger = child_of(call, task="Something else entirely is asked for here")
    done = call(after=parent, results=results_for(parent, ANSWER))
    play = Play(parent, stranger, done)
    assert play.placement(stranger).parent_run_id == play.placement(parent).run_id
    assert play.placement(stranger).session_id == play.placement(parent).session_id


def test_parallel_children_of_one_answer_stay_together() -> None:
    call = CallBuilder()
    places = ("Find the weather in Oslo for me", "Find the events in Oslo for me")
    tools = [tool("ask", {"task": place}) for place in places]
    first = call(user="Plan", tools=["ask"], answers=tools)
    second = call(user="Plan", tools=["ask"], answers=tools)
    at_us = T0_US + 100 * SECOND_US
    early = [child_of(call, task=place, starts_at_us=at_us, took_s=3.0 - n) for n, place in enumerate(places)]
    late = [child_of(call, task=place, starts_at_us=at_us + SECOND_US, took_s=4.0) for place in places]
    play = Play(first, second, *sorted([*early, *late], key=lambda c: c.ended_at_us))
    assert {play.placement(c).parent_run_id for c in early} == {play.placement(first).run_id}
    assert {play.placement(c).parent_run_id for c in late} == {play.placement(second).run_id}


def test_equal_tasks_are_taken_in_the_order_in_which_their_runs_began_however_they_end() -> None:
    """Seen when its first call has ended, a run that began first may come last: the others make room."""
    call = CallBuilder()
    parents = [asks(call) for _ in range(3)]
    at_us = T0_US + 100 * SECOND_US
    children = [child_of(call, starts_at_us=at_us + n * 1_000, took_s=9.0 - n) for n in range(3)]
    play = Play(*parents, *sorted(children, key=lambda c: c.ended_at_us))
    wanted = [play.placement(parent).run_id for parent in parents]
    assert [play.placement(child).parent_run_id for child in children] == wanted


def test_equal_tasks_of_other_agents_do_not_change_places() -> None:
    call = CallBuilder()
    first, second = asks(call), asks(call)
    at_us = T0_US + 100 * SECOND_US
    late = child_of(call, starts_at_us=at_us + SECOND_US, took_s=1.0)
    early = call(
        user=TASK, system="Somebody else.", tools=["look_up"], answers=ANSWER, starts_at_us=at_us, took_s=5.0
    )
    play = Play(first, second, late, early)
    assert play.placement(late).parent_run_id == play.placement(first).run_id


def test_two_projects_with_equal_tasks_never_meet() -> None:
    call = CallBuilder()
    parent = asks(call)
    child = child_of(call, project="other")
    play = Play(parent, child)
    assert play.placement(child).parent_run_id is None
    assert play.placement(child).session_id != play.placement(parent).session_id
