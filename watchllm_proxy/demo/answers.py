"""One answer of the scripted model in each of the three dialects: as a JSON body, or as the frames of a stream."""

from __future__ import annotations

import json
import re
import secrets
import string
import time
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from watchllm_proxy.demo.conversation import CHARS_PER_TOKEN, Conversation
from watchllm_proxy.demo.json_access import JsonObject, as_list, as_object, as_text
from watchllm_proxy.demo.script import PRICES, Turn, Use

CACHE_BLOCK_TOKENS = 64  # providers cache whole blocks of a prompt
ANSWER_OVERHEAD_TOKENS = 8
ALPHABET = string.ascii_letters + string.digits


class Dialect(StrEnum):
    CHAT = "chat"
    RESPONSES = "responses"
    MESSAGES = "messages"


RESPONSE_ID_PREFIX = {Dialect.CHAT: "chatcmpl-", Dialect.RESPONSES: "resp_", Dialect.MESSAGES: "msg_"}
CALL_ID_PREFIX = {Dialect.CHAT: "call_", Dialect.RESPONSES: "call_", Dialect.MESSAGES: "toolu_"}


@dataclass(frozen=True, slots=True)
class Answer:
    """A turn with the ids and figures that this one answer got. `input_tokens` includes the cached ones."""

    response_id: str
    created_at_s: int
    model: str
    turn: Turn
    call_ids: tuple[str, ...]
    item_ids: tuple[str, ...]  # Responses: of the message (if any), then of each function call
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost_usd: Decimal | None

    @property
    def calls(self) -> Iterator[tuple[str, Use]]:
        return zip(self.call_ids, self.turn.uses, strict=True)


def new_id(prefix: str) -> str:
    return prefix + "".join(secrets.choice(ALPHABET) for _ in range(24))


def make_answer(turn: Turn, dialect: Dialect, model: str, conversation: Conversation) -> Answer:
    """Give a turn its ids, its time and its figures."""
    said = turn.text + "".join(use.tool + arguments_text(use) for use in turn.uses)
    output_tokens = ANSWER_OVERHEAD_TOKENS + len(said) // CHARS_PER_TOKEN
    cached_tokens = conversation.earlier_tokens // CACHE_BLOCK_TOKENS * CACHE_BLOCK_TOKENS
    items = ["msg_"] * bool(turn.text) + ["fc_"] * len(turn.uses)
    return Answer(
        response_id=new_id(RESPONSE_ID_PREFIX[dialect]),
        created_at_s=int(time.time()),
        model=model,
        turn=turn,
        call_ids=tuple(new_id(CALL_ID_PREFIX[dialect]) for _ in turn.uses),
        item_ids=tuple(new_id(prefix) for prefix in items),
        input_tokens=conversation.input_tokens,
        cached_tokens=cached_tokens,
        output_tokens=output_tokens,
        cost_usd=_cost(model, conversation.input_tokens - cached_tokens, cached_tokens, output_tokens),
    )


def arguments_text(use: Use) -> str:
    return json.dumps(dict(use.arguments), ensure_ascii=False)


def _cost(model: str, fresh_tokens: int, cached_tokens: int, output_tokens: int) -> Decimal | None:
    price = PRICES.get(model)
    if price is None:
        return None
    micro_usd = (
        fresh_tokens * price.input_usd + cached_tokens * price.cached_input_usd + output_tokens * price.output_usd
    )
    return micro_usd / 1_000_000


def _with_cost(usage: JsonObject, answer: Answer) -> JsonObject:
    """OpenRouter's extra figures, for a model whose price is known."""
    if answer.cost_usd is None:
        return usage
    cost = float(answer.cost_usd)
    return {**usage, "cost": cost, "is_byok": False, "cost_details": {"upstream_inference_cost": None}}


def pieces(text: str) -> list[str]:
    """The text as a model streams it: about a word at a time, nothing lost."""
    return re.findall(r"\s*\S+|\s+$", text)


def _frame(value: JsonObject, event: str | None = None) -> bytes:
    data = f"data: {json.dumps(value, ensure_ascii=False, separators=(',', ':'))}\n\n"
    return (f"event: {event}\n{data}" if event else data).encode()


# --- chat completions -------------------------------------------------------------------------------


def chat_body(answer: Answer) -> JsonObject:
    message: JsonObject = {"role": "assistant", "content": answer.turn.text or None, "refusal": None}
    if answer.call_ids:
        message["tool_calls"] = [
            {"id": call_id, "type": "function", "function": {"name": use.tool, "arguments": arguments_text(use)}}
            for call_id, use in answer.calls
        ]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _chat_finish(answer)}
    return {**_chat_head(answer, "chat.completion"), "choices": [choice], "usage": chat_usage(answer)}


def chat_frames(answer: Answer) -> Iterator[bytes]:
    """As OpenRouter streams: a comment, small deltas, the usage in a last chunk without choices, `[DONE]`."""
    head = _chat_head(answer, "chat.completion.chunk")

    def chunk(delta: JsonObject, finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return _frame({**head, "choices": [choice]})

    yield b": OPENROUTER PROCESSING\n\n"
    yield chunk({"role": "assistant", "content": ""})
    for piece in pieces(answer.turn.text):
        yield chunk({"content": piece})
    for index, (call_id, use) in enumerate(answer.calls):
        function: JsonObject = {"name": use.tool, "arguments": ""}
        yield chunk({"tool_calls": [{"index": index, "id": call_id, "type": "function", "function": function}]})
        for piece in pieces(arguments_text(use)):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    yield chunk({}, _chat_finish(answer))
    yield _frame({**head, "choices": [], "usage": chat_usage(answer)})
    yield b"data: [DONE]\n\n"


def chat_usage(answer: Answer) -> JsonObject:
    usage: JsonObject = {
        "prompt_tokens": answer.input_tokens,
        "completion_tokens": answer.output_tokens,
        "total_tokens": answer.input_tokens + answer.output_tokens,
        "prompt_tokens_details": {"cached_tokens": answer.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
    return _with_cost(usage, answer)


def _chat_head(answer: Answer, kind: str) -> JsonObject:
    return {"id": answer.response_id, "object": kind, "created": answer.created_at_s, "model": answer.model}


def _chat_finish(answer: Answer) -> str:
    return "tool_calls" if answer.call_ids else "stop"


# --- Responses --------------------------------------------------------------------------------------


def output_items(answer: Answer) -> list[JsonObject]:
    """The answer's output: a message if it says something, then its function calls."""
    item_ids = iter(answer.item_ids)
    items: list[JsonObject] = []
    if answer.turn.text:
        part = {"type": "output_text", "text": answer.turn.text, "annotations": [], "logprobs": []}
        items.append(
            {
                "id": next(item_ids),
                "type": "message",
                "status": "completed",
                "role": "assistant",
                "content": [part],
            }
        )
    for call_id, use in answer.calls:
        call: JsonObject = {
            "id": next(item_ids),
            "type": "function_call",
            "status": "completed",
            "call_id": call_id,
        }
        items.append({**call, "name": use.tool, "arguments": arguments_text(use)})
    return items


def responses_body(answer: Answer, request: JsonObject) -> JsonObject:
    usage: JsonObject = {
        "input_tokens": answer.input_tokens,
        "input_tokens_details": {"cached_tokens": answer.cached_tokens},
        "output_tokens": answer.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": answer.input_tokens + answer.output_tokens,
    }
    return {
        "id": answer.response_id,
        "object": "response",
        "created_at": answer.created_at_s,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": request.get("instructions"),
        "max_output_tokens": request.get("max_output_tokens"),
        "metadata": request.get("metadata") or {},
        "model": answer.model,
        "output": output_items(answer),
        "parallel_tool_calls": request.get("parallel_tool_calls", True),
        "previous_response_id": request.get("previous_response_id"),
        "reasoning": {"effort": None, "summary": None},
        "store": request.get("store", True),
        "temperature": request.get("temperature", 1.0),
        "text": request.get("text") or {"format": {"type": "text"}},
        "tool_choice": request.get("tool_choice") or "auto",
        "tools": request.get("tools") or [],
        "top_p": request.get("top_p", 1.0),
        "truncation": "disabled",
        "usage": _with_cost(usage, answer),
    }


def responses_frames(answer: Answer, request: JsonObject) -> Iterator[bytes]:
    """The event stream: every event is numbered, and the last one repeats the whole response."""
    whole = responses_body(answer, request)
    opened = {**whole, "status": "in_progress", "output": [], "usage": None}
    events: list[JsonObject] = [
        {"type": "response.created", "response": opened},
        {"type": "response.in_progress", "response": opened},
    ]
    for index, item in enumerate(output_items(answer)):
        write = _message_events if item["type"] == "message" else _function_call_events
        events += ({**event, "output_index": index} for event in write(item))
    events.append({"type": "response.completed", "response": whole})
    for number, event in enumerate(events):
        yield _frame({**event, "sequence_number": number}, str(event["type"]))


def _message_events(item: JsonObject) -> Iterator[JsonObject]:
    part = as_object(as_list(item["content"])[0])
    text = as_text(part["text"])
    place: JsonObject = {"item_id": item["id"], "content_index": 0}
    yield {"type": "response.output_item.added", "item": {**item, "status": "in_progress", "content": []}}
    yield {"type": "response.content_part.added", **place, "part": {**part, "text": ""}}
    for piece in pieces(text):
        yield {"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []}
    yield {"type": "response.output_text.done", **place, "text": text, "logprobs": []}
    yield {"type": "response.content_part.done", **place, "part": part}
    yield {"type": "response.output_item.done", "item": item}


def _function_call_events(item: JsonObject) -> Iterator[JsonObject]:
    arguments = str(item["arguments"])
    yield {"type": "response.output_item.added", "item": {**item, "status": "in_progress", "arguments": ""}}
    for piece in pieces(arguments):
        yield {"type": "response.function_call_arguments.delta", "item_id": item["id"], "delta": piece}
    done = {"type": "response.function_call_arguments.done", "item_id": item["id"], "name": item["name"]}
    yield {**done, "arguments": arguments}
    yield {"type": "response.output_item.done", "item": item}


# --- Messages ---------------------------------------------------------------------------------------


def messages_body(answer: Answer) -> JsonObject:
    content: list[JsonObject] = [{"type": "text", "text": answer.turn.text}] if answer.turn.text else []
    for call_id, use in answer.calls:
        content.append({"type": "tool_use", "id": call_id, "name": use.tool, "input": dict(use.arguments)})
    return {
        **_messages_head(answer),
        "content": content,
        "stop_reason": _stop_reason(answer),
        "usage": _usage(answer),
    }


def messages_frames(answer: Answer) -> Iterator[bytes]:
    """Anthropic's stream: input figures come with the start, output figures with the end."""

    def frame(kind: str, **fields: object) -> bytes:
        return _frame({"type": kind, **fields}, kind)

    opening_usage = {**_usage(answer), "output_tokens": 1}
    yield frame("message_start", message={**_messages_head(answer), "content": [], "usage": opening_usage})
    yield frame("ping")
    index = 0
    if answer.turn.text:
        yield frame("content_block_start", index=index, content_block={"type": "text", "text": ""})
        for piece in pieces(answer.turn.text):
            yield frame("content_block_delta", index=index, delta={"type": "text_delta", "text": piece})
        yield frame("content_block_stop", index=index)
        index += 1
    for call_id, use in answer.calls:
        block = {"type": "tool_use", "id": call_id, "name": use.tool, "input": {}}
        yield frame("content_block_start", index=index, content_block=block)
        for piece in pieces(arguments_text(use)):
            yield frame(
                "content_block_delta", index=index, delta={"type": "input_json_delta", "partial_json": piece}
            )
        yield frame("content_block_stop", index=index)
        index += 1
    delta = {"stop_reason": _stop_reason(answer), "stop_sequence": None}
    yield frame("message_delta", delta=delta, usage=_usage(answer))
    yield frame("message_stop")


def _messages_head(answer: Answer) -> JsonObject:
    return {
        "id": answer.response_id,
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "stop_reason": None,
        "stop_sequence": None,
    }


def _stop_reason(answer: Answer) -> str:
    return "tool_use" if answer.call_ids else "end_turn"


def _usage(answer: Answer) -> JsonObject:
    """Anthropic's names; here `input_tokens` leaves the cached ones out."""
    usage: JsonObject = {
        "input_tokens": answer.input_tokens - answer.cached_tokens,
        "cache_read_input_tokens": answer.cached_tokens,
        "cache_creation_input_tokens": 0,
        "output_tokens": answer.output_tokens,
    }
    return _with_cost(usage, answer)
