"""A client that asks for figures only leaves no text behind: not in titles, steps, arguments or errors."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.builders import CallBuilder, Play, tool
from watchllm_proxy.enrich.withhold import WITHHELD, withhold_content
from watchllm_proxy.records import Call, CallError

SECRET = "canary-4711"


def conversation() -> list[Call]:
    call = CallBuilder()
    ask = call(
        user=f"my name is {SECRET}",
        system=f"You are {SECRET}, brief.",
        answers=tool("look_up", {"name": SECRET}, id="call_1"),
    )
    failed = call(after=ask, results={"call_1": SECRET}, error=CallError("bad_request", SECRET), status=400)
    done = call(after=ask, results={"call_1": SECRET}, answers=f"hello {SECRET}")
    return [replace(each, is_content_refused=True) for each in (ask, failed, done)]


def test_no_text_reaches_a_run_or_its_steps_and_the_run_is_found_all_the_same() -> None:
    play = Play(*map(withhold_content, conversation()))
    (run,) = play.runs()
    assert SECRET not in repr(vars(play.rows))
    assert run.title == WITHHELD
    assert run.input_tokens > 0


def test_other_calls_are_left_as_they_are() -> None:
    call = replace(conversation()[0], is_content_refused=False)
    assert withhold_content(call) is call
