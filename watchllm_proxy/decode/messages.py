"""Anthropic Messages: content blocks in, content blocks out, in one object or in named events."""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from watchllm_proxy.decode.answer import Answer, answer_metadata
from watchllm_proxy.decode.pieces import Pieces, arguments_text, build_message, read_parts
from watchllm_proxy.decode.usage import messages_usage
from watchllm_proxy.decode.values import Json, as_count, as_dict, as_list, as_str, dicts
from watchllm_proxy.records import Message, ToolCall, ToolResult

_KNOWN_KEYS = frozenset({"content", "id", "model", "provider", "type", "role", "stop_reason", "error"})


# --- request ----------------------------------------------------------------------------------------


def read_message(message: Json, role: str = "") -> Pieces:
    """One of `messages`, or an answer. `role` is for what has none: the blocks of `system`."""
    if not isinstance(message, dict):
        texts, others = read_parts(message)
        return Pieces(role, tuple(texts), others=tuple(others))
    if "role" not in message:  # a block of `system`
        texts, others = read_parts([message])
        return Pieces(role, tuple(texts), others=tuple(others))
    role = as_str(message.get("role")) or role
    content = message.get("content")
    blocks = dicts(content)
    texts, others = read_parts(content)
    return Pieces(
        role,
        tuple(texts),
        tool_calls=tuple(_read_call(block) for block in blocks if block.get("type") == "tool_use"),
        tool_results=tuple(_read_result(block) for block in blocks if block.get("type") == "tool_result"),
        others=tuple(part for part in others if part.get("type") not in ("tool_use", "tool_result")),
    )


def _read_call(block: dict[str, Json]) -> ToolCall:
    return ToolCall(as_str(block.get("id")), as_str(block.get("name")) or "", arguments_text(block.get("input")))


def _read_result(block: dict[str, Json]) -> ToolResult:
    texts, _ = read_parts(block.get("content"))
    is_error = block.get("is_error")
    return ToolResult(
        as_str(block.get("tool_use_id")), "\n".join(texts), is_error if isinstance(is_error, bool) else None
    )


# --- answer -----------------------------------------------------------------------------------------


def read_answer(body: dict[str, Json]) -> Answer:
    """A whole `message` object, or one put together from events."""
    content = as_list(body.get("content"))
    response_id = as_str(body.get("id"))
    container = as_str(as_dict(body.get("container")).get("id"))
    return Answer(
        message=_answer_message(content) if content else None,
        response_id=response_id,
        issued_ids=[response_id, *(as_str(block.get("id")) for block in dicts(content)), container],
        finish_reasons=[as_str(body.get("stop_reason"))],
        usage=messages_usage(as_dict(body.get("usage"))),
        model=as_str(body.get("model")),
        provider=as_str(body.get("provider")),
        metadata=answer_metadata(body, _KNOWN_KEYS),
    )


def _answer_message(content: list[Json]) -> Message:
    message = {"role": "assistant", "content": content}
    return build_message("answer", message, read_message(message))


# --- stream -----------------------------------------------------------------------------------------


def assemble(events: Iterable[dict[str, Json]]) -> dict[str, Json]:
    """The message object that a plain answer would have been.

    Usage comes in `message_start` and again in `message_delta`, which mostly repeats the input tokens and gives
    the output tokens as a running total: the last value of each field counts, nothing is added up.
    """
    body: dict[str, Json] = {}
    blocks: dict[int, _Block] = {}
    for event in events:
        kind = event.get("type")
        index = as_count(event.get("index")) or 0
        if kind == "message_start":
            body.update(as_dict(event.get("message")))
        elif kind == "content_block_start":
            blocks[index] = _Block(as_dict(event.get("content_block")))
        elif kind == "content_block_delta" and index in blocks:
            blocks[index].take(as_dict(event.get("delta")))
        elif kind == "message_delta":
            body.update({key: value for key, value in as_dict(event.get("delta")).items() if value is not None})
            told = {key: value for key, value in as_dict(event.get("usage")).items() if value is not None}
            body["usage"] = {**as_dict(body.get("usage")), **told}
        elif kind == "error":
            body["error"] = event.get("error")
    if blocks:
        body["content"] = [block.as_json() for _, block in sorted(blocks.items())]
    return body


class _Block:
    """A content block that grows delta by delta."""

    def __init__(self, start: dict[str, Json]) -> None:
        self._start = start
        self._texts: dict[str, list[str]] = {}  # text, thinking, signature, partial_json: joined at the end
        self._citations: list[Json] = []

    def take(self, delta: dict[str, Json]) -> None:
        for key, value in delta.items():
            if key == "citation":
                self._citations.append(value)
            elif key != "type" and isinstance(value, str):
                self._texts.setdefault(key, []).append(value)

    def as_json(self) -> dict[str, Json]:
        block = dict(self._start)
        for key, texts in self._texts.items():
            grown = "".join(texts)
            if key == "partial_json":
                block["input"] = _tool_input(grown) if grown.strip() else block.get("input", {})
            else:
                block[key] = (as_str(block.get(key)) or "") + grown
        if self._citations:
            block["citations"] = [*as_list(block.get("citations")), *self._citations]
        return block


def _tool_input(text: str) -> Json:
    """The input of a tool; of a stream that was cut, the text so far."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
