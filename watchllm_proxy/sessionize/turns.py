"""Reading a request: what is new in it, and what only repeats the past.

An agent sends its whole history with every call (or only the news, behind `previous_response_id`). The
*tail* is everything after the last thing that a model said; only the tail can be new.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b

from watchllm_proxy.records import Call, ClientIdKind, Message, ToolResult, record
from watchllm_proxy.sessionize.recent import once_a_call

_CONVERSATION_SLOTS = frozenset({"messages", "input", "prompt"})
_SYSTEM_ROLES = frozenset({"system", "developer"})
_SYSTEM_SLOTS = frozenset({"system", "instructions"})
_OBSERVATION = "Observation:"
_NEW_TASK = "New task:\n"


@record
class Parts:
    """The messages of a request by who speaks in them, in order. Tools are in none of them."""

    system: tuple[Message, ...]
    heard: tuple[Message, ...]  # the conversation
    said: tuple[Message, ...]  # of these, all but reasoning, which says nothing aloud
    users: tuple[Message, ...]  # of these, what `is_user`


@record
class UserInput:
    """A user message of the tail. `occurrence` is the same when the same history is sent again, and another
    when the same words come after another answer."""

    text: str
    occurrence: str


@once_a_call
def parts(call: Call) -> Parts:
    system: list[Message] = []
    heard: list[Message] = []
    said: list[Message] = []
    users: list[Message] = []
    for message in call.messages:
        role, slot = message.role, message.slot
        if role in _SYSTEM_ROLES or slot in _SYSTEM_SLOTS:
            system.append(message)
        elif slot in _CONVERSATION_SLOTS:
            heard.append(message)
            if role != "assistant" or message.text or message.tool_calls or message.tool_results:
                said.append(message)
                if role == "user" and not message.tool_results:
                    users.append(message)
    return Parts(tuple(system), tuple(heard), tuple(said), tuple(users))


@once_a_call
def tail(call: Call) -> tuple[Message | None, tuple[Message, ...]]:
    """The last thing a model said, as far as the request repeats it, and what came after it."""
    heard = parts(call).heard
    for at in range(len(heard) - 1, -1, -1):
        if heard[at].role == "assistant" or heard[at].tool_calls:
            return heard[at], heard[at + 1 :]
    return None, heard


@once_a_call
def user_inputs(call: Call) -> tuple[UserInput, ...]:
    """User messages of the tail, in order. A message that carries tool results is not the user's."""
    said, news = tail(call)
    context = said.link_hash if said else continued_from(call)
    seen: dict[bytes, int] = {}
    inputs = []
    for message in news:
        if not is_user(message):
            continue
        text = spoken(message)
        if not text and message.text:
            continue
        repeat = seen.get(message.link_hash, 0)
        seen[message.link_hash] = repeat + 1
        inputs.append(UserInput(text, _occurrence(context, message.link_hash, repeat)))
    return tuple(inputs)


@lru_cache(maxsize=1024)
def _occurrence(context: bytes, link_hash: bytes, repeat: int) -> str:
    return blake2b(context + link_hash + repeat.to_bytes(4), digest_size=12).hexdigest()


@once_a_call
def opening(call: Call) -> str | None:
    """The `occurrence` of the first user message: the same in every request that repeats it."""
    first = next((message for message in parts(call).users if spoken(message)), None)
    return None if first is None else _occurrence(b"", first.link_hash, 0)


def is_system(message: Message) -> bool:
    return message.role in _SYSTEM_ROLES or message.slot in _SYSTEM_SLOTS


def is_user(message: Message) -> bool:
    return message.role == "user" and message.slot in _CONVERSATION_SLOTS and not message.tool_results


def spoken(message: Message) -> str:
    """What the user says in a user message. Text protocols (smolagents, ReAct) bring a tool's output there too:
    "Observation:\\n<output>", and a new task after it as "\\nNew task:\\n<task>"."""
    text = message.text
    if _NEW_TASK in text:
        return text.rpartition(_NEW_TASK)[2].strip()
    return "" if text.startswith(_OBSERVATION) else text


@once_a_call
def observations(call: Call) -> tuple[str, ...]:
    """Tools' outputs that the tail brings as text, in order."""
    texts = [m.text for m in tail(call)[1] if m.text.startswith(_OBSERVATION) and is_user(m)]
    return tuple([text.removeprefix(_OBSERVATION).partition(_NEW_TASK)[0].strip() for text in texts])


def tool_results_newest_first(call: Call) -> Iterator[ToolResult]:
    for message in reversed(call.messages):
        yield from reversed(message.tool_results)


@once_a_call
def new_tool_results(call: Call) -> tuple[ToolResult, ...]:
    return tuple([result for message in tail(call)[1] for result in message.tool_results])


@once_a_call
def system_text(call: Call) -> str:
    """The system prompt as the model read it: all its parts, joined."""
    return "\n".join([message.text for message in parts(call).system if message.text])


def prompt_hash(call: Call) -> str | None:
    """ "SYSTEM TOOLS": hashes of what the request begins with and of the tools it offers, "-" where it has none.
    What a program adds to the conversation later in the system's name is no change of what it begins with."""
    system: list[bytes] = []
    tools: list[bytes] = []
    for message in call.messages:
        if message.slot == "tools":
            tools.append(message.link_hash)
        elif is_system(message):
            system.append(message.link_hash)
        else:
            break
    if call.messages and not tools and call.messages[-1].slot == "tools":
        tools.append(call.messages[-1].link_hash)
    return _joint_hash(tuple(system), tuple(tools)) if system or tools else None


@lru_cache(maxsize=1024)
def _joint_hash(system: tuple[bytes, ...], tools: tuple[bytes, ...]) -> str:
    parts = (blake2b(b"".join(hashes), digest_size=6).hexdigest() if hashes else "-" for hashes in (system, tools))
    return " ".join(parts)


def has_past(call: Call) -> bool:
    """The request tells of earlier answers, or points at one."""
    return tail(call)[0] is not None or continued_from(call) != b""


def continued_from(call: Call) -> bytes:
    """The response that the request builds on by its id; empty where there is none."""
    for client_id in call.client_ids:
        if client_id.kind is ClientIdKind.PREVIOUS_RESPONSE:
            return client_id.value.encode()
    return b""
