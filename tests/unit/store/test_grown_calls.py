"""Which messages of two requests need not be read to compare them."""

from __future__ import annotations

import pytest

from watchllm_proxy.store.grown_calls import shared_places


def row(*messages: str) -> dict[str, list[str]]:
    """Each message as `slot:hash`."""
    pairs = [each.split(":") for each in messages]
    return {"message_slots": [slot for slot, _ in pairs], "message_hashes": [each for _, each in pairs]}


@pytest.mark.parametrize(
    ("now", "before", "shared"),
    [
        (["messages:a", "messages:b", "messages:c"], ["messages:a", "messages:b"], [(0, 0), (1, 1)]),
        (["messages:a", "messages:b"], ["messages:x", "messages:b"], []),
        (["tools:t", "messages:a"], ["messages:a"], [(1, 0)]),
        (["messages:a", "tools:t"], ["messages:a", "tools:u"], [(0, 0)]),
        (["system:s", "messages:a"], ["system:s", "messages:a"], [(1, 1)]),
        (["system:s", "messages:a"], ["system:z", "messages:a"], []),
        (["messages:a", "system:s"], ["messages:a", "system:z"], []),
        (["messages:a"], ["system:s", "messages:a"], []),
        (["input:a"], ["messages:a"], []),
        (["prompt:a"], ["prompt:a"], []),
        ([], ["messages:a"], []),
    ],
)
def test_messages_that_both_begin_with_are_shared_where_all_before_them_is_equal(
    now: list[str], before: list[str], shared: list[tuple[int, int]]
) -> None:
    found = shared_places(row(*now), row(*before))
    assert found == (frozenset(one for one, _ in shared), frozenset(other for _, other in shared))
