"""Conversations as hashes of all that was said in them: where one was left off, and where another goes on.

A *state* is the hash of a conversation up to an answer. The mark that a call leaves holds the state that its
answer makes; a request is looked up by the states that it repeats.
"""

from __future__ import annotations

from hashlib import blake2b

from watchllm_proxy.records import Call, Message
from watchllm_proxy.sessionize import fingerprints, turns
from watchllm_proxy.sessionize.marks import Left, sender
from watchllm_proxy.sessionize.recent import once_a_call

MAX_AWAITED_IDS = 8
_A_STATE = "state "
_STATE_BYTES = 8
_EXTENDED = b"extended by"
"""So that a state and what extends it have tokens of their own."""


def state_mark(call: Call) -> Left | None:
    """The conversation with its answer: what the next request begins with, if the client changes nothing."""
    if call.is_failed or call.answer is None:
        return None
    began = opening_token(call) if call.answer.tool_calls else None
    tokens = [t for t in (_state_left(call), began, extended_token(call)) if t is not None]
    return " ".join([sender(call), *map(fingerprints.packed_one, tokens)]), set(tokens)


@once_a_call
def extended_token(call: Call) -> int | None:
    """The state that a request goes on from: equal for two that fork. None of a first request."""
    said, chain = conversation(call), _chain(call)
    last, end = len(said), len(chain)
    while last and said[last - 1].role != "assistant":
        last -= 1
        end -= len(said[last].link_hash)
    before = turns.continued_from(call)
    return _hashed(before + _EXTENDED + chain[:end]) if last or before else None


def awaited(call: Call) -> list[str]:
    """What a request goes on from, by an answer that is still to be seen: ids, the newest first, and the state."""
    response = turns.continued_from(call).decode()
    ids = dict.fromkeys((*filter(None, (response,)), *reversed(call.mentioned_ids)))
    return [*list(ids)[:MAX_AWAITED_IDS], *(f"{_A_STATE}{state:x}" for state in states(call)[:1])]


def awaited_by_state(call: Call) -> str | None:
    """The state that this answer makes, as a request that goes on from it awaits it."""
    state = _state_left(call)
    return None if state is None else f"{_A_STATE}{state:x}"


@once_a_call
def _state_left(call: Call) -> int | None:
    return None if call.answer is None else _hashed(_chain(call) + call.answer.link_hash)


def opening_token(call: Call) -> int | None:
    """How the conversation begins, as the user says it. With the state of a call that asked for tools: where ids
    and texts are lost on the way, this may be all that comes back."""
    opening = turns.opening(call)
    return None if opening is None else int(opening[: 2 * _STATE_BYTES], 16)


def states(call: Call) -> list[int]:
    """The state after each message of the request, the longest first: look-ups for what it may extend."""
    chain = blake2b(digest_size=_STATE_BYTES)
    found = []
    for message in conversation(call):
        chain.update(message.link_hash)
        if message.role == "assistant":
            found.append(int.from_bytes(chain.copy().digest()))
    return found[::-1]


def conversation(call: Call) -> tuple[Message, ...]:
    """What was said: no system prompt (it may tell the time), no tools, nothing that says nothing (reasoning)."""
    return turns.parts(call).said


@once_a_call
def _chain(call: Call) -> bytes:
    """The hashes of all that was said, one after the other."""
    return b"".join([message.link_hash for message in conversation(call)])


def _hashed(chain: bytes) -> int:
    return int.from_bytes(blake2b(chain, digest_size=_STATE_BYTES).digest())
