"""What the scripted model reads from a request: how the conversation opened and how often it has answered."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from watchllm_proxy.demo.json_access import JsonObject, as_list, as_object, as_text

CHARS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Conversation:
    """`opening` is the system prompt and the first question. `earlier_tokens` counts what the previous request
    of this conversation already held: a provider reads that from its prompt cache."""

    opening: str
    answers: int
    input_tokens: int
    earlier_tokens: int


def read_chat(body: JsonObject) -> Conversation:
    """Of a chat completions body."""
    messages = [as_object(message) for message in as_list(body.get("messages"))]
    opening = _opening("", [(as_text(m.get("role")), _text(m.get("content"))) for m in messages])
    answered = [as_text(m.get("role")) == "assistant" for m in messages]
    return _conversation(opening, messages, answered, fixed=body.get("tools"))


def read_messages(body: JsonObject) -> Conversation:
    """Of an Anthropic Messages body."""
    messages = [as_object(message) for message in as_list(body.get("messages"))]
    turns = [(as_text(m.get("role")), _text(m.get("content"))) for m in messages]
    answered = [as_text(m.get("role")) == "assistant" for m in messages]
    fixed = [body.get("system"), body.get("tools")]
    return _conversation(_opening(_text(body.get("system")), turns), messages, answered, fixed=fixed)


def read_responses(body: JsonObject, remembered: Sequence[JsonObject]) -> Conversation:
    """Of a Responses body; `remembered` are the items of the chain that `previous_response_id` names."""
    items = [*remembered, *input_items(body)]
    turns = [(as_text(i.get("role")), _text(i.get("content"))) for i in items]
    opening = _opening(_text(body.get("instructions")), turns)
    answered = [_is_answer_item(item) for item in items]
    return _conversation(opening, items, answered, fixed=[body.get("instructions"), body.get("tools")])


def input_items(body: JsonObject) -> list[JsonObject]:
    """The `input` of a Responses body as items; a plain text is one user message."""
    given = body.get("input")
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}]
    return [as_object(item) for item in as_list(given)]


def _is_answer_item(item: JsonObject) -> bool:
    return item.get("role") == "assistant" or item.get("type") in {"function_call", "reasoning"}


def _conversation(
    opening: str, parts: Sequence[JsonObject], answered: Sequence[bool], *, fixed: object
) -> Conversation:
    """Neighbouring parts of the model (a text and its tool calls are two items) are one answer of it."""
    starts = [i for i, is_answer in enumerate(answered) if is_answer and (i == 0 or not answered[i - 1])]
    fixed_tokens = _tokens(fixed)
    earlier = fixed_tokens + _tokens(parts[: starts[-1]]) if starts else 0
    return Conversation(opening, len(starts), fixed_tokens + _tokens(parts), earlier)


def _opening(system: str, turns: Sequence[tuple[str, str]]) -> str:
    texts = [system] if system else []
    for role, text in turns:
        texts.append(text)
        if role == "user":
            break
    return "\n".join(texts)


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(as_text(as_object(part).get("text")) for part in as_list(content))


def _tokens(value: object) -> int:
    """A plausible count, the same for the same text; the scripted model has no vocabulary."""
    return len(json.dumps(value, ensure_ascii=False)) // CHARS_PER_TOKEN if value else 0
