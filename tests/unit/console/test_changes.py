from __future__ import annotations

import pytest

from watchllm_proxy.console import changes
from watchllm_proxy.insights.differences import Change, Piece, differences

SYSTEM = {"role": "system", "content": "You are kind. Current time 12:13Z. Be brief."}
USER = {"role": "user", "content": "Refund me."}


def request(*messages: object, **fields: object) -> dict[str, object]:
    return {"messages": list(messages), **fields}


def test_a_longer_request_has_only_its_end_anew() -> None:
    now = request(SYSTEM, USER, {"role": "assistant", "content": "Sure."})
    found = differences(request(SYSTEM, USER), now)
    assert changes.kept(found) == 2
    assert changes.fresh(now, 2) == [{"role": "assistant", "content": "Sure."}]
    assert changes.broken_prefix(found) is None
    assert changes.rows(found) == [
        {"state": "same", "count": 2},
        {"state": "added", "at": 2, "role": "assistant", "pieces": [("+", "Sure.")]},
    ]


def test_the_message_that_broke_the_prefix_is_named_with_its_words() -> None:
    later = {**SYSTEM, "content": "You are kind. Current time 12:27Z. Be brief."}
    found = differences(request(SYSTEM, USER), request(later, USER))
    assert changes.kept(found) == 0
    assert [row["state"] for row in changes.rows(found)] == ["changed", "same"]
    assert changes.broken_prefix(found) == 'Message 1 (system) differs from character 31 on ("27Z").'


def test_changed_tools_stand_before_every_message() -> None:
    found = differences(request(USER), request(USER, tools=[{"type": "function", "function": {"name": "pay"}}]))
    assert [(each["name"], each["state"]) for each in changes.fields(found.tools)] == [("pay", "added")]
    assert "list of tools" in str(changes.broken_prefix(found))


def test_a_system_prompt_that_is_a_bare_text_is_a_message_too() -> None:
    assert changes.fresh({"system": "S", "messages": [USER]}, 0) == [{"role": "system", "content": "S"}, USER]


@pytest.mark.parametrize("body", [None, b"", b"[1]", b"\x1f\x8b", b"[" * 100_000])
def test_what_is_no_json_object_has_no_messages(body: bytes | None) -> None:
    assert changes.parsed(body) is None


def test_long_unchanged_text_is_left_out_around_a_change() -> None:
    same = Piece(Change.SAME, "word " * 400)
    shown = changes.pieces([same, Piece(Change.REMOVED, "old"), Piece(Change.ADDED, "new"), same])
    assert [mark for mark, _ in shown] == ["…", "=", "-", "+", "=", "…"]
    assert shown[0] == ("…", "1,880")


def test_a_wholly_other_conversation_is_told_in_bounds() -> None:
    before = request(*({"role": "user", "content": f"a {n}"} for n in range(300)))
    now = request(*({"role": "user", "content": f"b {n} " + "y" * 30_000} for n in range(300)))
    rows = changes.rows(differences(before, now))
    assert len(rows) == changes.MAX_ROWS + 1
    assert rows[-1] == {"state": "more"}
    shown = rows[0]["pieces"]
    assert isinstance(shown, list)
    assert sum(len(text) for _, text in shown) < changes.MAX_TEXT + 100
