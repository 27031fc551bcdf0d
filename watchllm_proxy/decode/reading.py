"""What reading a request gives: its messages, one by one, and all of it together."""

from __future__ import annotations

from dataclasses import field

from watchllm_proxy.decode.values import Json
from watchllm_proxy.records import Message, record


@record
class Reading:
    """A message as read, the ids at their places in it, and the words of its text that look like one; of tools,
    what they are called."""

    message: Message
    field_ids: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    tool_names: tuple[str, ...] = ()


@record
class Request:
    """A request body, understood, or the `problem` that kept us from it. `fields` are those of the body's object
    that hold no messages."""

    fields: dict[str, Json] = field(default_factory=dict)
    skeleton: bytes = b""
    readings: tuple[Reading, ...] = ()
    messages: tuple[Message, ...] = ()
    request_hash: bytes = b""
    model: str | None = None
    is_stream: bool = False
    tool_names: tuple[str, ...] = ()
    mentioned_ids: tuple[str, ...] = ()
    id_count: int = 0  # of those, repeats counted
    problem: str | None = None
