"""The Responses API: items in, items out, in one object or in named events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from watchllm_proxy.decode.answer import Answer, answer_metadata
from watchllm_proxy.decode.pieces import (
    Pieces,
    arguments_text,
    build_message,
    combined_link_hash,
    link_hash_of,
    read_parts,
)
from watchllm_proxy.decode.usage import responses_usage
from watchllm_proxy.decode.values import Json, as_count, as_dict, as_list, as_str, dicts
from watchllm_proxy.records import Message, ToolCall, ToolResult

# What a response repeats of its request is no news and may be long.
_ECHOED = frozenset({"instructions", "tools", "text", "tool_choice", "input", "prompt", "include"})
_KNOWN_KEYS = _ECHOED | {"output", "id", "model", "provider", "object", "error", "output_text"}
_FINAL_EVENTS = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
_ID_KEYS = ("id", "call_id", "approval_request_id")


# --- request ----------------------------------------------------------------------------------------


def read_item(item: Json) -> Pieces:
    """One item of `input` or `output`. A message may leave out its type; a string is a user's message."""
    if not isinstance(item, dict):
        texts, others = read_parts(item)
        return Pieces("user", tuple(texts), others=tuple(others))
    kind = as_str(item.get("type")) or "message"
    if kind == "message":
        texts, others = read_parts(item.get("content"))
        return Pieces(as_str(item.get("role")) or "assistant", tuple(texts), others=tuple(others))
    if kind.endswith("_call_output") or kind == "mcp_approval_response":
        return Pieces("tool", tool_results=(_read_result(item),))
    if kind in ("function_call", "custom_tool_call"):
        return Pieces("assistant", tool_calls=(_read_call(item),))
    if kind == "reasoning":
        return Pieces("assistant", others=({"type": kind, "id": item.get("id")},), is_silent=True)
    # web_search_call, mcp_call, …: tools the upstream runs itself. item_reference: an id stands for the item.
    return Pieces("" if kind == "item_reference" else "assistant", others=({"type": kind, "id": item.get("id")},))


def _read_call(item: dict[str, Json]) -> ToolCall:
    call_id = as_str(item.get("call_id")) or as_str(item.get("id"))
    arguments = item.get("arguments", item.get("input"))
    return ToolCall(call_id, as_str(item.get("name")) or "", arguments_text(arguments))


def _read_result(item: dict[str, Json]) -> ToolResult:
    output = item.get("output")
    texts, others = read_parts(output)
    text = "\n".join(texts) or (arguments_text(output) if others else "")
    return ToolResult(as_str(item.get("call_id")) or as_str(item.get("approval_request_id")), text)


# --- answer -----------------------------------------------------------------------------------------


def read_answer(body: dict[str, Json]) -> Answer:
    """A whole `response` object. Its answer is the output list, as one message."""
    output = as_list(body.get("output"))
    response_id = as_str(body.get("id"))
    conversation = body.get("conversation")
    conversation_id = as_str(conversation) or as_str(as_dict(conversation).get("id"))
    return Answer(
        message=output_message(output) if output else None,
        response_id=response_id,
        issued_ids=[
            response_id,
            *(as_str(item.get(key)) for item in dicts(output) for key in _ID_KEYS),
            conversation_id,
        ],
        finish_reasons=[_finish_reason(body)],
        usage=responses_usage(as_dict(body.get("usage"))),
        model=as_str(body.get("model")),
        provider=as_str(body.get("provider")),
        metadata=answer_metadata(body, _KNOWN_KEYS),
    )


def output_message(output: list[Json]) -> Message:
    """The items of an output list as one message; reasoning is kept but does not count for the link hash."""
    items = [read_item(item) for item in output]
    said = [item for item in items if not item.is_silent] or items
    together = Pieces(
        "assistant",
        texts=tuple(text for item in items for text in item.texts),
        tool_calls=tuple(call for item in items for call in item.tool_calls),
    )
    return build_message(
        "answer", output, together, link_hash=combined_link_hash([link_hash_of(item) for item in said])
    )


def _finish_reason(body: dict[str, Json]) -> str | None:
    """Why an incomplete answer ended, else the status, unless it is one of work under way."""
    status = as_str(body.get("status"))
    if status == "incomplete":
        return as_str(as_dict(body.get("incomplete_details")).get("reason")) or status
    return None if status in ("in_progress", "queued") else status


# --- stream -----------------------------------------------------------------------------------------


def assemble(events: Iterable[dict[str, Json]]) -> dict[str, Json]:
    """The response object of the final event; of a broken stream, what had come of it.

    Items that the final event leaves out (some upstreams send its output empty) are filled in from the
    `output_item` events, and unfinished ones from their deltas.
    """
    body: dict[str, Json] = {}
    items: dict[int, dict[str, Json]] = {}
    for event in events:
        kind = as_str(event.get("type")) or ""
        if isinstance(event.get("response"), dict):
            body = {**body, **event["response"]}
            if kind in _FINAL_EVENTS and "status" not in event["response"]:
                body["status"] = kind.removeprefix("response.")
        elif kind in ("response.output_item.added", "response.output_item.done"):
            items[_output_index(event)] = _own_copy(as_dict(event.get("item")))
        elif kind.endswith(".delta"):
            _grow(items.get(_output_index(event)), kind, event)
        elif kind == "error":
            body["error"] = as_dict(event.get("error")) or {
                key: event[key] for key in ("code", "message", "param") if key in event
            }
    if items and not as_list(body.get("output")):
        body["output"] = [item for _, item in sorted(items.items())]
    return body


def _output_index(event: dict[str, Json]) -> int:
    return as_count(event.get("output_index")) or 0


def _own_copy(item: dict[str, Json]) -> dict[str, Json]:
    """A copy whose content and summary may be grown."""
    return {
        key: [dict(part) if isinstance(part, dict) else part for part in value]
        if isinstance(value, list)
        else value
        for key, value in item.items()
    }


def _grow(item: dict[str, Json] | None, kind: str, event: dict[str, Json]) -> None:
    """Add a delta to an item whose `done` event may never come."""
    delta = event.get("delta")
    if item is None or not isinstance(delta, str):
        return
    if kind in ("response.function_call_arguments.delta", "response.mcp_call_arguments.delta"):
        item["arguments"] = (as_str(item.get("arguments")) or "") + delta
    elif kind == "response.custom_tool_call_input.delta":
        item["input"] = (as_str(item.get("input")) or "") + delta
    elif kind in _GROWING_PARTS:
        _grow_part(item, _GROWING_PARTS[kind], event, delta)


@dataclass(frozen=True, slots=True)
class _GrowingPart:
    """Where the text of a delta goes: item[list_key][event[index_key]][text_key]."""

    list_key: str
    index_key: str
    type: str
    text_key: str = "text"


_GROWING_PARTS = {
    "response.output_text.delta": _GrowingPart("content", "content_index", "output_text"),
    "response.refusal.delta": _GrowingPart("content", "content_index", "refusal", "refusal"),
    "response.reasoning_text.delta": _GrowingPart("content", "content_index", "reasoning_text"),
    "response.reasoning_summary_text.delta": _GrowingPart("summary", "summary_index", "summary_text"),
}


def _grow_part(item: dict[str, Json], place: _GrowingPart, event: dict[str, Json], delta: str) -> None:
    parts = item.get(place.list_key)
    if not isinstance(parts, list):
        parts = item[place.list_key] = []
    index = as_count(event.get(place.index_key)) or 0
    if index >= len(parts):
        parts.append({"type": place.type, place.text_key: ""})
    part = parts[min(index, len(parts) - 1)]
    if isinstance(part, dict):
        part[place.text_key] = (as_str(part.get(place.text_key)) or "") + delta
