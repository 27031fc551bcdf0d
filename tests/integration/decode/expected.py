"""What a recording says, read in the most straightforward way there is: the other opinion on decode.

Nothing of `watchllm_proxy.decode` is used here, on purpose.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Expected:
    model: str | None = None
    finish_reasons: list[str] = field(default_factory=list)
    tool_calls: list[tuple[str | None, str, str]] = field(default_factory=list)
    usage: dict[str, int | None] = field(default_factory=dict)


def events_of(text: str) -> list[dict[str, Any]]:
    found = []
    for line in text.replace("\r\n", "\n").split("\n"):
        if line.startswith("data:") and line[5:].strip() not in ("", "[DONE]"):
            found.append(json.loads(line[5:]))
    return found


def is_stream(text: str) -> bool:
    return not text.lstrip().startswith("{") and any(
        line.startswith("data:") for line in text.replace("\r", "\n").split("\n")
    )


def chat(text: str) -> Expected:
    return _chat_stream(events_of(text)) if is_stream(text) else _chat_object(json.loads(text))


def _chat_object(body: dict[str, Any]) -> Expected:
    choices = body.get("choices") or []
    message = (choices[0].get("message") or {}) if choices else {}
    legacy = message.get("function_call") or {}
    return Expected(
        model=body.get("model") or None,
        finish_reasons=[c["finish_reason"] for c in choices if c.get("finish_reason")],
        tool_calls=[
            (c.get("id") or None, c["function"]["name"], c["function"].get("arguments") or "")
            for c in message.get("tool_calls") or []
        ]
        + ([(None, legacy["name"], legacy["arguments"])] if legacy.get("name") else []),
        usage=chat_usage(body.get("usage") or {}),
    )


def _chat_stream(chunks: list[dict[str, Any]]) -> Expected:
    usage: dict[str, Any] = {}
    finish: dict[int, str] = {}
    calls: dict[Any, list[Any]] = {}
    for chunk in chunks:
        usage = chunk.get("usage") or (chunk.get("x_groq") or {}).get("usage") or usage
        for choice in chunk.get("choices") or []:
            if choice.get("finish_reason"):
                finish[choice.get("index", 0)] = choice["finish_reason"]
            for call in (choice.get("delta") or {}).get("tool_calls") or []:
                known = calls.setdefault(call.get("index", call.get("id")), [None, "", ""])
                known[0] = known[0] or call.get("id") or None
                known[1] = known[1] or (call.get("function") or {}).get("name") or ""
                known[2] += (call.get("function") or {}).get("arguments") or ""
    return Expected(
        model=next((chunk["model"] for chunk in chunks if chunk.get("model")), None),
        finish_reasons=[finish[index] for index in sorted(finish)],
        tool_calls=[tuple(call) for call in calls.values()],  # type: ignore[misc]  # three fields, as built
        usage=chat_usage(usage),
    )


def chat_usage(usage: dict[str, Any]) -> dict[str, int | None]:
    read = usage.get("prompt_tokens_details") or {}
    written = usage.get("completion_tokens_details") or {}
    cached = [read.get("cached_tokens"), usage.get("prompt_cache_hit_tokens"), usage.get("cached_tokens")]
    cached.append(usage.get("num_cached_tokens"))
    reasoning = [written.get("reasoning_tokens"), usage.get("reasoning_tokens")]
    return {
        "input_tokens": usage.get("prompt_tokens"),
        "output_tokens": usage.get("completion_tokens"),
        "total_tokens": usage.get("total_tokens"),
        "cache_read_input_tokens": next((count for count in cached if count is not None), None),
        "reasoning_tokens": next((count for count in reasoning if count is not None), None),
    }


def completion(text: str) -> Expected:
    body = json.loads(text) if not is_stream(text) else None
    if body is not None:
        choices = body.get("choices") or []
        reasons = [c["finish_reason"] for c in choices if c.get("finish_reason")]
        return Expected(body.get("model") or None, reasons, [], chat_usage(body.get("usage") or {}))
    return _chat_stream(events_of(text))


def responses(text: str) -> Expected:
    if is_stream(text):
        finals = [event["response"] for event in events_of(text) if "response" in event]
        body = finals[-1]
    else:
        body = json.loads(text)
    usage = body.get("usage") or {}
    status = body.get("status")
    reason = (body.get("incomplete_details") or {}).get("reason") if status == "incomplete" else status
    return Expected(
        model=body.get("model"),
        finish_reasons=[reason] if reason not in (None, "in_progress", "queued") else [],
        tool_calls=[
            (item["call_id"], item["name"], item["arguments" if item["type"] == "function_call" else "input"])
            for item in body.get("output") or []
            if item["type"] in ("function_call", "custom_tool_call")
        ],
        usage={
            "input_tokens": usage.get("input_tokens"),
            "output_tokens": usage.get("output_tokens"),
            "total_tokens": usage.get("total_tokens"),
            "cache_read_input_tokens": (usage.get("input_tokens_details") or {}).get("cached_tokens"),
            "reasoning_tokens": (usage.get("output_tokens_details") or {}).get("reasoning_tokens"),
        },
    )


def messages(text: str) -> Expected:
    return _messages_stream(events_of(text)) if is_stream(text) else _messages_object(json.loads(text))


def _messages_object(body: dict[str, Any]) -> Expected:
    return Expected(
        model=body.get("model"),
        finish_reasons=[body["stop_reason"]] if body.get("stop_reason") else [],
        tool_calls=[
            (block["id"], block["name"], json.dumps(block["input"], sort_keys=True))
            for block in body.get("content") or []
            if block["type"] == "tool_use"
        ],
        usage=messages_usage(body.get("usage") or {}),
    )


def _messages_stream(events: list[dict[str, Any]]) -> Expected:
    start = next((event["message"] for event in events if event["type"] == "message_start"), {})
    usage = dict(start.get("usage") or {})
    reason = None
    inputs: dict[int, str] = {}  # a tool without deltas has its input in its first event
    blocks: dict[int, dict[str, Any]] = {}
    for event in events:
        if event["type"] == "message_delta":
            usage.update({k: v for k, v in (event.get("usage") or {}).items() if v is not None})
            reason = event["delta"].get("stop_reason") or reason
        elif event["type"] == "content_block_start":
            blocks[event["index"]] = event["content_block"]
        elif event["type"] == "content_block_delta" and "partial_json" in event["delta"]:
            inputs[event["index"]] = inputs.get(event["index"], "") + event["delta"]["partial_json"]
    return Expected(
        model=start.get("model"),
        finish_reasons=[reason] if reason else [],
        tool_calls=[
            (block["id"], block["name"], _sorted_input(block, inputs.get(index)))
            for index, block in sorted(blocks.items())
            if block["type"] == "tool_use"
        ],
        usage=messages_usage(usage),
    )


def _sorted_input(block: dict[str, Any], partial_json: str | None) -> str:
    return json.dumps(json.loads(partial_json) if partial_json else block["input"], sort_keys=True)


def messages_usage(usage: dict[str, Any]) -> dict[str, int | None]:
    if usage.get("input_tokens") is None:
        return {"input_tokens": None, "output_tokens": usage.get("output_tokens")}
    read, written = usage.get("cache_read_input_tokens"), usage.get("cache_creation_input_tokens")
    return {
        "input_tokens": usage["input_tokens"] + (read or 0) + (written or 0),
        "output_tokens": usage.get("output_tokens"),
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
    }
