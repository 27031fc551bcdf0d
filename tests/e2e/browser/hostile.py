"""Traffic that means harm: runs that carry each payload in every field which traffic can fill, a few at a time."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from collections.abc import Iterable, Sequence
from typing import Any

from tests.e2e.browser.payloads import PAYLOADS
from tests.e2e.stack import Stack
from tests.e2e.test_reports import AT, send
from tests.fake_openai import Canned

MAX_TEXT = 180
"""Characters of a group: ids are kept up to 256."""


def groups(payloads: Sequence[str]) -> list[str]:
    """Payloads one below the other, as many as a field keeps. One that is longer stands alone."""
    found = [payloads[0]]
    for text in payloads[1:]:
        if len(found[-1]) + 1 + len(text) <= MAX_TEXT:
            found[-1] += f"\n{text}"
        else:
            found.append(text)
    return found


TEXTS = groups(PAYLOADS)


def run_id_of(number: int) -> str:
    """What of it can be an id; the number keeps apart what is then the same."""
    return f"{number} {as_header(TEXTS[number])}".encode("ascii", "ignore").decode()[:MAX_TEXT].strip()


def as_header(text: str) -> str:
    """What of a text can travel as a header's value."""
    return without_halves("".join(c for c in text if c.isprintable())).strip() or "x"


def without_halves(text: str) -> str:
    """Of surrogate pairs: those are no Unicode text."""
    return text.encode("utf-8", "replace").decode()


def attack(stack: Stack, number: int) -> str:
    """Four calls: a tool call, an error, an answer to the tool's output, and a sub-agent's. The run's id."""
    text, run_id = TEXTS[number], run_id_of(number)
    asked = {"role": "user", "content": text}
    called, output = tool_turn(number, text)
    failure = {"error": {"message": text, "type": text, "code": text, "param": text}}
    ask(stack, run_id, text, [asked], answer(text, called))
    ask(stack, run_id, text, [asked, called, output], Canned(status=400, chunks=(dumped(failure),)))
    ask(stack, run_id, text, [asked, called, output], answer(text, {"role": "assistant", "content": text}))
    child = {"X-Parent-Run-Id": run_id, "X-Run-Id": f"child of {number}"}
    ask(stack, run_id, text, [asked], answer(text, {"role": "assistant", "content": text}), **child)
    return run_id


def tool_turn(number: int, text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A tool call and what the tool says to it."""
    use_id = f"call_{number}_{text}"[:60]
    function = {"name": text, "arguments": json.dumps({text: text})}
    use = {"id": use_id, "type": "function", "function": function}
    refused = json.dumps({"error": {"message": text, "param": text}})
    called = {"role": "assistant", "content": text, "tool_calls": [use]}
    return called, {"role": "tool", "tool_call_id": use_id, "name": text, "content": refused}


def ask(stack: Stack, run_id: str, text: str, messages: list[Any], given: Canned, **headers: str) -> None:
    tool = {"type": "function", "function": {"name": text, "description": text, "parameters": {text: text}}}
    body = {
        "model": text, "messages": [{"role": "system", "content": text}, *messages], "user": text,
        "metadata": {text[:60]: text}, text: text,
        "tools": [tool],
    }  # fmt: skip
    value = as_header(text)
    fields = {
        "Content-Type": "application/json", "Authorization": "Bearer sk-test", "X-Run-Id": run_id,
        "X-Agent-Name": value, "X-Agent-Version": value, "X-Session-Id": value, "X-User-Id": value,
        "X-WatchLLM-Tags": value, "User-Agent": value, **headers,
    }  # fmt: skip
    stack.fake.answer_next(given)
    address = f"{stack.base_url}/chat/completions?{urllib.parse.urlencode({'q': value})}"
    sent = {name: value.encode().decode("latin-1") for name, value in fields.items()}
    request = urllib.request.Request(address, dumped(body), sent)
    try:
        urllib.request.urlopen(request, timeout=20).read()
    except urllib.error.HTTPError as refused:
        if refused.code != given.status:
            raise


def answer(text: str, message: dict[str, Any]) -> Canned:
    whole = {
        "id": text, "object": text, "model": text, "system_fingerprint": text, text: text,
        "choices": [{"index": 0, "message": message, "finish_reason": text}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18, text: text},
    }  # fmt: skip
    return Canned(chunks=(dumped(whole),))


def report(stack: Stack, run_id: str) -> int:
    """A reported run with all of them, in each field of a report; how many steps it has."""
    everything = without_halves("\n".join(PAYLOADS))
    steps = list(_steps(PAYLOADS))
    run = {
        "run_id": run_id, "started_at": f"{AT}00Z", "ended_at": f"{AT}59Z", "status": "failed", "steps": steps,
        "meta": {text: text for text in PAYLOADS},
        **dict.fromkeys(("agent_name", "agent_version", "title", "user_id"), everything),
    }  # fmt: skip
    send(stack, "POST", "/agent-runs", run)
    events = [_event(number, text, run_id) for number, text in enumerate(PAYLOADS)]
    send(stack, "POST", "/events/batch", {"events": events})
    return len(steps)


def _steps(texts: Iterable[str]) -> Iterable[dict[str, Any]]:
    for number, text in enumerate(texts):
        said = dict.fromkeys(("summary", "decision", "tool", "tool_output_summary", "model"), text)
        wrong = {"error_type": text, "error_message": text} if number % 2 else {}
        yield {
            "step_index": number, "timestamp": f"{AT}{number % 60:02}Z", "input_tokens": 1, "output_tokens": 1,
            "type": ("tool_call", "decision", "error", "model_response")[number % 4],
            "tool_args": {text: [text]}, "raw": {text: text}, **said, **wrong,
        }  # fmt: skip


def _event(number: int, text: str, run_id: str) -> dict[str, Any]:
    return {
        "event_type": "error", "event_id": f"{run_id}-{number}", "timestamp": f"{AT}00Z", "run_id": run_id,
        "user_id": text, "tags": [text], "release": text, "context": {text: text},
        "error": dict.fromkeys(("message", "type", "code", "stack"), text),
    }  # fmt: skip


def dumped(value: object) -> bytes:
    """As ASCII: half a surrogate pair travels as its escape."""
    return json.dumps(value).encode()
