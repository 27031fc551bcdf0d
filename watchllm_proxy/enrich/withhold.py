"""Calls whose content must not be stored: figures and ids stay, every text is replaced.

The client asked for it by a header (`X-WatchLLM-No-Content: true`, or another tool's word for the same); the proxy
adds that to what is beyond a project's quota, where it is passed on all the same.
Hashes stay, so that runs are found as for any other call: they do not give a text back.
"""

from __future__ import annotations

from dataclasses import replace

from watchllm_proxy.records import Call, CallError, Message, ToolCall, ToolResult

WITHHELD = "[not stored: figures only]"


def withhold_content(call: Call) -> Call:
    """The call as it may be shown and stored. Unchanged unless `is_content_refused`."""
    if not call.is_content_refused:
        return call
    return replace(
        call,
        messages=tuple(map(_without_text, call.messages)),
        answer=_without_text(call.answer) if call.answer is not None else None,
        error=_without_words(call.error) if call.error is not None else None,
    )


def _without_text(message: Message) -> Message:
    return replace(
        message,
        # An agent's name is read from its system prompt: better none than this sentence.
        text=WITHHELD if message.text and message.role not in {"system", "developer"} else "",
        tool_calls=tuple(ToolCall(asked.tool_call_id, asked.name, WITHHELD) for asked in message.tool_calls),
        tool_results=tuple(ToolResult(got.tool_call_id, WITHHELD, got.is_error) for got in message.tool_results),
    )


def _without_words(error: CallError) -> CallError:
    return replace(error, message=WITHHELD)
