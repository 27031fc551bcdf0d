"""What a request has in common with one before it: messages that nobody needs to read to tell what is new. Pure.

A conversation is sent again with each request, pictures and all. In the place of each message that both begin with
stands a stub, the same one in both: they are equal, and what comes behind them is what the requests differ in.
"""

from __future__ import annotations

from collections.abc import Iterator

from watchllm_proxy.store.call_shapes import Stored

_CONVERSATION = ("system", "instructions", "messages", "input", "prompt")
"""In the order in which upstreams read them. Where one of the first changed, all that follows counts as new."""

_OF_MESSAGES = frozenset({"messages", "input"})


STUB = b"watchllmstub"
"""In every stub, one word with its hash. Where a comparison shows it after all (one request has an empty list of
system parts, say), it is to be made of whole calls."""


def shared_places(now: Stored, before: Stored) -> tuple[frozenset[int], frozenset[int]]:
    """Of both rows the places in `message_hashes` of what they begin with alike."""
    found = [pair for pair in _alike(now, before) if now["message_slots"][pair[0]] in _OF_MESSAGES]
    return frozenset(one for one, _ in found), frozenset(other for _, other in found)


def stub(content_hash: str) -> bytes:
    """A message that is told by its hash."""
    return b'{"content":"%s%s","role":"user"}' % (STUB, content_hash.encode())


def _alike(now: Stored, before: Stored) -> Iterator[tuple[int, int]]:
    for one, other in zip(_said(now), _said(before), strict=False):
        if _message(now, one) != _message(before, other):
            return
        yield one, other


def _said(row: Stored) -> list[int]:
    slots = row["message_slots"]
    places = [place for place, slot in enumerate(slots) if slot in _CONVERSATION]
    return sorted(places, key=lambda place: _CONVERSATION.index(slots[place]))


def _message(row: Stored, place: int) -> tuple[str, str]:
    return row["message_slots"][place], row["message_hashes"][place]
