"""Which tools a call offers, and how long their schemas are."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import blake2b

import pytest

from tests.unit.builders import CallBuilder, Play, results_for, tool
from watchllm_proxy.records import Call, Message
from watchllm_proxy.sessionize.offered import offered_tools

PARAMETERS = {"type": "object", "properties": {"q": {"type": "string", "description": "x" * 400}}}


def with_tools(call: Call, *definitions: object) -> Call:
    content = json.dumps(definitions).encode()
    address = blake2b(content, digest_size=16).digest()
    schemas = Message("tools", "", content, address, address, "")
    return replace(call, messages=(*(m for m in call.messages if m.slot != "tools"), schemas))


def offering(*definitions: object) -> Call:
    return with_tools(CallBuilder()(user="Find it", answers=tool("search", {}), tools=("search",)), *definitions)


@pytest.mark.parametrize(
    "definition",
    [
        {"type": "function", "function": {"name": "search", "parameters": PARAMETERS}},
        {"type": "function", "name": "search", "parameters": PARAMETERS},
        {"name": "search", "input_schema": PARAMETERS},
        {"type": "custom", "name": "search", "description": "x" * 480},
    ],
)
def test_every_dialect_names_a_tool_in_its_own_place(definition: object) -> None:
    sizes = json.loads(offered_tools(offering(definition)) or "")
    assert list(sizes) == ["search"]
    assert 110 < sizes["search"] < 150


@pytest.mark.parametrize(
    "definition",
    [{"type": "web_search"}, {"type": "web_search_20250305", "name": "web_search"}, {}, None, "search"],
)
def test_what_a_provider_runs_itself_and_what_is_no_tool_is_left_out(definition: object) -> None:
    assert offered_tools(offering(definition)) is None
    assert list(json.loads(offered_tools(offering(definition, {"name": "open"})) or "")) == ["open"]


def test_a_run_tells_each_list_of_tools_once_and_after_a_restart_as_well() -> None:
    call = CallBuilder()
    first = call(user="Find it", answers=tool("search", {}), tools=("search",))
    second = call(after=first, results=results_for(first, "x"), answers=tool("search", {"more": 1}))
    third = call(after=second, results=results_for(second, "x"), answers="Done.")
    calls = [with_tools(each, {"name": "search"}) for each in (first, second, third)]
    play = Play(*calls)
    assert [step.offered_tools for step in play.steps_of(first) if step.offered_tools] == ['{"search":4}']
    again = Play(calls[0])
    for each in calls[1:]:
        again = Play(sessionizer=again.rows.restarted(), rows=again.rows)
        again.observe(each)
    assert again.steps_of(first) == play.steps_of(first)
