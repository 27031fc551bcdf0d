"""What a message says, whatever dialect it is written in, and the Message made of it.

Each dialect module reads its own items into `Pieces`; this module hashes them.

The normal form behind `link_hash`
----------------------------------
Frameworks send an answer back changed. Two messages have the same link hash when they
agree in

    role         "developer" counts as "system", "function" and a message of tool results as "tool"
    text         null, "", a missing content and an empty list are alike; a string and a list of text parts are
                 alike (parts joined by a newline); white space around it is dropped; a refusal counts as text
                 where there is none; dropped altogether where there are tool calls
    tool calls   id, name and arguments, these as canonical JSON where they parse ("" and null mean {})
    tool results id and text
    other parts  images, files, audio: their canonical JSON without `cache_control`

and in nothing else: names, annotations, reasoning, signatures and item ids may come and go. The form is the
same for all dialects. What several Responses items say at once (an answer's output list) is hashed by
`combined_link_hash` over the link hashes of its items, reasoning left out.

It does not survive what changes words: summaries, trims, several messages merged into one.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from watchllm_proxy.decode.canonical import digest, dump
from watchllm_proxy.decode.values import Json, as_dict, as_str, dicts
from watchllm_proxy.records import Message, ToolCall, ToolResult, record

_TEXT_PARTS = frozenset({"text", "input_text", "output_text", "summary_text"})
_SILENT_PARTS = frozenset({"thinking", "redacted_thinking", "reasoning", "encrypted_reasoning"})
_LINK_ROLES = {"developer": "system", "function": "tool"}


@record
class Pieces:
    """One message, read. `texts` are its own words, those of tool results apart; `others` are parts that are
    neither text nor tools: images, files, audio.
    """

    role: str
    texts: tuple[str, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_results: tuple[ToolResult, ...] = ()
    others: tuple[Json, ...] = ()
    is_silent: bool = False  # reasoning: kept, but not part of what was said


def build_message(
    slot: str, value: Json, pieces: Pieces, *, link_hash: bytes | None = None, content: bytes | None = None
) -> Message:
    """`content` is the canonical form of `value`, where that is known already."""
    content = dump(value) if content is None else content
    return Message(
        slot=slot,
        role=pieces.role,
        content=content,
        content_hash=digest(content),
        link_hash=link_hash or link_hash_of(pieces),
        text="\n".join([*pieces.texts, *[result.text for result in pieces.tool_results]]),
        tool_calls=pieces.tool_calls,
        tool_results=pieces.tool_results,
    )


def link_hash_of(pieces: Pieces) -> bytes:
    """The hash of the normal form; see the head of this module."""
    role = _LINK_ROLES.get(pieces.role, pieces.role)
    text = "" if pieces.tool_calls else "\n".join(pieces.texts).strip()
    if pieces.tool_results and not text:
        role = "tool"
    calls = [[call.tool_call_id, call.name, _canonical_arguments(call.arguments)] for call in pieces.tool_calls]
    results = [[result.tool_call_id, result.text.strip()] for result in pieces.tool_results]
    others = [_without_cache_control(part) for part in pieces.others]
    return digest(dump([role, text, calls, results, others]))


def combined_link_hash(hashes: Sequence[bytes]) -> bytes:
    """The link hash of messages that were said at once: of one, its own."""
    return hashes[0] if len(hashes) == 1 else digest(b"".join(hashes))


def _canonical_arguments(arguments: str) -> str:
    if not arguments.strip():
        return "{}"
    try:
        value = orjson.loads(arguments)
        return "{}" if value is None else dump(value).decode()
    except ValueError:  # no JSON, or nested too deep to be written again
        return arguments.strip()


def _without_cache_control(part: Json) -> Json:
    if isinstance(part, dict) and "cache_control" in part:
        return {key: value for key, value in part.items() if key != "cache_control"}
    return part


def read_parts(content: Json) -> tuple[list[str], list[Json]]:
    """The texts and the other parts of a `content`: null, a string, a list of parts, or one part."""
    if isinstance(content, str):
        return ([content] if content else []), []
    texts: list[str] = []
    others: list[Json] = []
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict):
            _read_part(part, texts, others)
    return [text for text in texts if text], others


def _read_part(part: dict[str, Json], texts: list[str], others: list[Json]) -> None:
    kind = as_str(part.get("type"))
    if kind in _TEXT_PARTS or (kind is None and isinstance(part.get("text"), str)):
        texts.append(as_str(part.get("text")) or "")
    elif kind == "refusal":
        texts.append(as_str(part.get("refusal")) or "")
    elif kind not in _SILENT_PARTS:
        others.append(part)


def arguments_text(value: Json) -> str:
    """Arguments as generated. Some upstreams send an object, null or nothing instead of text."""
    if isinstance(value, str):
        return value
    return "" if value is None else dump(value).decode()


def tool_definitions_text(tools: Json) -> str:
    """Names and descriptions of the offered tools, one a line."""
    lines = []
    for tool in dicts(tools):
        inner = as_dict(tool.get("function")) or tool
        line = ": ".join(text for key in ("name", "description") if (text := as_str(inner.get(key))))
        lines.append(line)
    return "\n".join(line for line in lines if line)


def tool_names(tools: Json) -> tuple[str, ...]:
    return tuple([name for tool in dicts(tools) if (name := tool_name(tool))])


def tool_name(tool: dict[str, Json]) -> str | None:
    """What a tool is called; built-in tools of Responses and Messages may have only a type."""
    inner = as_dict(tool.get("function")) or as_dict(tool.get("custom")) or tool
    return as_str(inner.get("name")) or as_str(tool.get("type"))
