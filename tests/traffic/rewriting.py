"""What clients are seen to do to their history on its way back, done to recorded traffic.

A rewriting changes every request of a corpus alike, as the client's own code would, and none of the answers.
The measure then says what detection still finds (tests/integration/sessionize/test_rewritten_traffic.py,
docs/accuracy.md). Chat completions are rewritten in all ways; Responses and Messages where their shape has it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from itertools import groupby
from typing import Any

Json = dict[str, Any]
Messages = list[Json]
Rewrite = Callable[[Messages, Json], Messages]
"""The messages of one chat request, and the line that it stands in."""

KEPT_MESSAGES = 6
"""Of a trimmed history."""

SUMMARISED_FROM = 8
"""Messages in a history before its head is summarised."""


# --- the same in other words ------------------------------------------------------------------------


def content_in_parts(messages: Messages, _: Json) -> Messages:
    return [{**m, "content": _in_parts(m["content"])} if m.get("content") else m for m in messages]


def content_missing(messages: Messages, _: Json) -> Messages:
    """Where an answer only asked for tools: no content, for null or "" as it was."""
    return [{k: v for k, v in m.items() if k != "content" or v or not m.get("tool_calls")} for m in messages]


def content_empty(messages: Messages, _: Json) -> Messages:
    return [{**m, "content": m.get("content") or ""} if m["role"] == "assistant" else m for m in messages]


def fields_added(messages: Messages, _: Json) -> Messages:
    added = {"refusal": None, "annotations": [], "audio": None, "function_call": None, "name": "assistant"}
    return [{**m, **added} if m["role"] == "assistant" else m for m in messages]


def arguments_reserialised(messages: Messages, _: Json) -> Messages:
    return [_with_calls(m, _reserialised) for m in messages]


def text_beside_calls_dropped(messages: Messages, _: Json) -> Messages:
    return [{**m, "content": None} if m.get("tool_calls") else m for m in messages]


def white_space_changed(messages: Messages, _: Json) -> Messages:
    return [
        _with_text(m, lambda text: "\n".join(line.rstrip() for line in text.strip().split("\n")) + "\n")
        if m["role"] != "system"
        else m
        for m in messages
    ]


def clock_in_system_prompt(messages: Messages, line: Json) -> Messages:
    told = f"It is {datetime.fromtimestamp(line['t_request'], UTC):%A, %d %B %Y, %H:%M:%S.%f}."
    system = [m for m in messages if m["role"] in _SYSTEM]
    if not system:
        return [{"role": "system", "content": told}, *messages]
    return [_with_text(m, lambda text: f"{text}\n{told}") if m is system[0] else m for m in messages]


# --- in another order -------------------------------------------------------------------------------


def steps_merged(messages: Messages, _: Json) -> Messages:
    """All steps of a turn in one assistant message, all results behind it."""
    merged: Messages = []
    for is_work, group in groupby(messages, key=lambda m: m["role"] in {"assistant", "tool"}):
        work = list(group)
        if not is_work:
            merged += work
            continue
        said = [m for m in work if m["role"] == "assistant"]
        closing = [said.pop()] if said and work[-1] is said[-1] and not said[-1].get("tool_calls") else []
        if said:
            text = "\n".join(filter(None, map(_text, said)))
            calls = [call for m in said for call in m.get("tool_calls") or ()]
            merged.append({"role": "assistant", "content": text, **({"tool_calls": calls} if calls else {})})
        merged += [m for m in work if m["role"] == "tool"] + closing
    return merged


def questions_first(messages: Messages, _: Json) -> Messages:
    """Old messages reordered: what users said moves in front of the work; what is new stays last."""
    last_said = max((at for at, m in enumerate(messages) if m["role"] == "assistant"), default=-1)
    old, new = messages[: last_said + 1], messages[last_said + 1 :]
    return sorted(old, key=lambda m: m["role"] in {"assistant", "tool"}) + new


# --- with less of it --------------------------------------------------------------------------------


def head_cut(messages: Messages, _: Json) -> Messages:
    system, rest = _parted(messages)
    return [*system, *_from_a_start(rest[-KEPT_MESSAGES:])]


def head_summarised(messages: Messages, _: Json) -> Messages:
    """The old messages as one text, which quotes the beginning of each."""
    system, rest = _parted(messages)
    if len(rest) < SUMMARISED_FROM:
        return messages
    kept = _from_a_start(rest[-KEPT_MESSAGES:])
    old = rest[: len(rest) - len(kept)]
    told = "; ".join(f"{m['role']}: {' '.join(_text(m).split()[:8])}" for m in old if _text(m))
    return [*system, {"role": "user", "content": f"Summary of what was said before: {told}"}, *kept]


def earlier_turns_as_text(messages: Messages, _: Json) -> Messages:
    """Of earlier turns only what was said; the work of this turn whole."""
    last_user = max((at for at, m in enumerate(messages) if m["role"] == "user"), default=0)
    said = [{k: v for k, v in m.items() if k != "tool_calls"} for m in messages[:last_user] if m["role"] != "tool"]
    return [m for m in said if _text(m)] + messages[last_user:]


# --- without ids ------------------------------------------------------------------------------------


def ids_renamed(messages: Messages, line: Json) -> Messages:
    """The client gives its own ids to what it was asked for."""

    def renamed(old: str) -> str:
        return f"own_{blake2b(old.encode(), digest_size=9).hexdigest()}"

    out = [_with_calls(m, lambda call: {**call, "id": renamed(str(call.get("id")))}) for m in messages]
    return [{**m, "tool_call_id": renamed(str(m["tool_call_id"]))} if "tool_call_id" in m else m for m in out]


def calls_told_as_text(messages: Messages, _: Json) -> Messages:
    """A hand-off's history: what was done is told, and no call or result is left."""
    told = []
    for message in messages:
        calls = message.get("tool_calls") or ()
        if message["role"] == "tool":
            told.append({"role": "user", "content": f"The tool returned: {_text(message)}"})
        elif calls:
            asked = "\n".join(f"I call {c['function']['name']} with {c['function']['arguments']}" for c in calls)
            told.append({"role": "assistant", "content": f"{_text(message)}\n{asked}".strip()})
        else:
            told.append(message)
    return told


def all_in_one_prompt(messages: Messages, _: Json) -> Messages:
    """A text protocol: everything so far in one user message."""
    system, rest = _parted(messages)
    if all(m["role"] == "user" for m in rest):
        return messages
    lines = [f"{m['role'].title()}: {_text(m)}" for m in calls_told_as_text(rest, {})]
    return [*system, {"role": "user", "content": "\n\n".join(lines)}]


REWRITINGS: dict[str, Rewrite] = {
    rewrite.__name__: rewrite
    for rewrite in (
        content_in_parts,
        content_missing,
        content_empty,
        fields_added,
        arguments_reserialised,
        text_beside_calls_dropped,
        white_space_changed,
        clock_in_system_prompt,
        steps_merged,
        questions_first,
        head_cut,
        head_summarised,
        earlier_turns_as_text,
        ids_renamed,
        calls_told_as_text,
        all_in_one_prompt,
    )
}

_SYSTEM = frozenset({"system", "developer"})


def rewritten(lines: Iterable[Json], rewrite: Rewrite) -> Iterator[Json]:
    """Every chat request of a corpus as this client would have sent it; other lines as they are. What a run
    sends again, word for word, it sends again."""
    sent: dict[str, Messages] = {}
    for line in lines:
        body = line["request_body"]
        is_chat = str(line["path"]).partition("?")[0].endswith("/chat/completions")
        if is_chat and isinstance(body, dict) and isinstance(body.get("messages"), list):
            key = json.dumps([line["true_run"], body], sort_keys=True)
            if key not in sent:
                sent[key] = rewrite(body["messages"], line)
            yield {**line, "request_body": {**body, "messages": sent[key]}}
        else:
            yield line


def _parted(messages: Messages) -> tuple[Messages, Messages]:
    return [m for m in messages if m["role"] in _SYSTEM], [m for m in messages if m["role"] not in _SYSTEM]


def _from_a_start(messages: Sequence[Json]) -> Messages:
    """A result without its call is refused by upstreams."""
    first = next((at for at, m in enumerate(messages) if m["role"] != "tool"), len(messages))
    return list(messages[first:])


def _text(message: Json) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content or ""


def _with_text(message: Json, change: Callable[[str], str]) -> Json:
    text = _text(message)
    return {**message, "content": change(text)} if text else message


def _in_parts(content: object) -> object:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _with_calls(message: Json, change: Callable[[Json], Json]) -> Json:
    calls = message.get("tool_calls")
    return {**message, "tool_calls": [change(call) for call in calls]} if calls else message


def _reserialised(call: Json) -> Json:
    function = call["function"]
    try:
        arguments = json.dumps(json.loads(function["arguments"]), sort_keys=True, indent=1)
    except ValueError:
        return call
    return {**call, "function": {**function, "arguments": arguments}}
