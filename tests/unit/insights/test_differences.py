from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchllm_proxy.insights.differences import (
    MAX_WORDS_CHARACTERS,
    Change,
    Differences,
    Piece,
    PrefixBreak,
    differences,
    words,
)

SAME, CHANGED, ADDED, REMOVED = Change.SAME, Change.CHANGED, Change.ADDED, Change.REMOVED
SYSTEM = {"role": "system", "content": "You help. It is 2026-01-15T10:00:13Z."}
LATER = {"role": "system", "content": "You help. It is 2026-01-15T10:00:27Z."}
USER = {"role": "user", "content": "Where is my order?"}
ASKED = {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "function": {"name": "look"}}]}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def request(*messages: object, **fields: object) -> dict[str, object]:
    return {"model": "gpt-4.1-mini", "messages": list(messages), **fields}


def shape(found: Differences) -> list[tuple[Change, int | None, int | None]]:
    return [(each.change, each.before, each.now) for each in found.messages]


def test_a_request_that_goes_on_where_the_other_ends_only_adds_messages() -> None:
    found = differences(request(SYSTEM, USER), request(SYSTEM, USER, ASKED))
    assert shape(found) == [(SAME, 0, 0), (SAME, 1, 1), (ADDED, None, 2)]
    assert (found.prefix_break, found.parameters, found.tools) == (None, (), ())
    assert '"name": "look"' in found.messages[2].pieces[0].text
    assert not found.is_same
    assert found.count(SAME) == 2


def test_only_the_changed_word_is_marked_and_the_character_that_broke_the_prefix_named() -> None:
    found = differences(request(SYSTEM, USER), request(LATER, USER))
    assert shape(found) == [(CHANGED, 0, 0), (SAME, 1, 1)]
    assert found.messages[0].pieces == (
        Piece(SAME, "You help. It is 2026-01-15T10:00:"),
        Piece(REMOVED, "13Z"),
        Piece(ADDED, "27Z"),
        Piece(SAME, "."),
    )
    assert found.prefix_break == PrefixBreak(0, "system", 33)


def test_a_message_that_went_leaves_the_others_in_their_places() -> None:
    found = differences(request(SYSTEM, ASKED, USER), request(SYSTEM, USER))
    assert shape(found) == [(SAME, 0, 0), (REMOVED, 1, None), (SAME, 2, 1)]
    assert found.prefix_break is not None
    assert found.prefix_break.message_index == 1


def test_messages_of_two_roles_are_two_messages() -> None:
    found = differences(request(SYSTEM), request(USER))
    assert shape(found) == [(REMOVED, 0, None), (ADDED, None, 0)]


def test_a_message_that_reads_the_same_is_compared_as_it_was_sent() -> None:
    marked = {**USER, "content": [{"type": "text", "text": USER["content"]}]}
    (message,) = differences(request(USER), request(marked)).messages
    assert message.change is CHANGED
    assert (
        "".join(piece.text for piece in message.pieces if piece.change is not REMOVED).count('"type": "text"') == 1
    )


def test_parameters_are_named_by_their_path() -> None:
    before = request(USER, temperature=0, reasoning={"effort": "low", "summary": "auto"}, stop=None)
    now = request(USER, temperature=0.0, reasoning={"effort": "high", "summary": "auto"}, seed=7)
    found = differences(before, now).parameters
    assert [(each.change, each.name, each.before, each.now) for each in found] == [
        (CHANGED, "temperature", "0", "0.0"),
        (CHANGED, "reasoning.effort", '"low"', '"high"'),
        (ADDED, "seed", None, "7"),
        (REMOVED, "stop", "null", None),
    ]
    assert found[0].pieces == (Piece(REMOVED, "0"), Piece(ADDED, "0.0"))  # numbers are changed whole


def test_a_changed_tool_breaks_the_prefix_before_every_message() -> None:
    changed = {"type": "function", "function": {"name": "look", "parameters": {"type": "string"}}}
    found = differences(request(SYSTEM, tools=[TOOL]), request(LATER, tools=[changed, {"name": "buy"}]))
    assert [(each.change, each.name) for each in found.tools] == [(CHANGED, "look"), (ADDED, "buy")]
    assert Piece(ADDED, "string") in found.tools[0].pieces
    assert found.prefix_break is not None
    assert (found.prefix_break.message_index, found.prefix_break.role) == (None, "tools")
    assert found.parameters == ()


def test_tools_in_another_order_are_the_same_tools_and_break_the_prefix() -> None:
    found = differences(request(tools=[TOOL, {"name": "buy"}]), request(tools=[{"name": "buy"}, TOOL]))
    assert found.tools == ()
    assert found.prefix_break is not None
    assert not found.is_same


def test_of_two_tools_with_one_name_each_is_compared() -> None:
    found = differences(request(tools=[TOOL, TOOL]), request(tools=[TOOL]))
    assert [(each.change, each.name) for each in found.tools] == [(REMOVED, "look (2)")]


@pytest.mark.parametrize(
    ("body", "roles"),
    [
        ({"system": [{"type": "text", "text": "a"}], "messages": [USER]}, ["system", "user"]),
        ({"instructions": "a", "input": "b"}, ["system", "user"]),
        ({"instructions": "a", "input": [USER, {"type": "function_call"}]}, ["system", "user", "function_call"]),
        ({"prompt": ["a", "b"]}, ["user", "user"]),
        ({"prompt": [1, 2, 3]}, ["user"]),
    ],
)
def test_every_dialect_has_a_conversation(body: object, roles: list[str]) -> None:
    found = differences(body, body)
    assert [each.role for each in found.messages] == roles
    assert found.is_same


@pytest.mark.parametrize("body", [None, [], "text", 3, {}, {"messages": 3, "tools": "x"}, {"tools": [None, 1]}])
def test_any_json_is_compared(body: object) -> None:
    assert differences(body, body).is_same
    assert not differences(body, request(USER)).is_same


WRITTEN = st.text(alphabet="ab .\n9-", max_size=60)


@given(WRITTEN, WRITTEN)
def test_pieces_make_both_texts(before: str, now: str) -> None:
    pieces = words(before, now)
    assert "".join(piece.text for piece in pieces if piece.change is not ADDED) == before
    assert "".join(piece.text for piece in pieces if piece.change is not REMOVED) == now
    assert all(piece.text for piece in pieces)
    assert (before == now) == all(piece.change is SAME for piece in pieces)


@given(st.lists(st.sampled_from([SYSTEM, LATER, USER, ASKED]), max_size=8), st.data())
def test_every_message_of_both_requests_is_told_once_in_order(old: list[object], data: st.DataObject) -> None:
    new = data.draw(st.lists(st.sampled_from([SYSTEM, LATER, USER, ASKED]), max_size=8))
    found = differences(request(*old), request(*new))
    assert [each.before for each in found.messages if each.before is not None] == list(range(len(old)))
    assert [each.now for each in found.messages if each.now is not None] == list(range(len(new)))
    assert found.is_same == (old == new)


def test_a_long_text_that_changed_all_over_is_replaced_as_one() -> None:
    before, now = "a " * MAX_WORDS_CHARACTERS, "b " * MAX_WORDS_CHARACTERS
    assert [piece.change for piece in words(before, now)] == [REMOVED, ADDED, SAME]
