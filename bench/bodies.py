"""Request bodies of a stated size, as an agent with tools sends them."""

from __future__ import annotations

import json
from pathlib import Path

Json = dict[str, object]

TOOLS: list[Json] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"Does {name} on the workspace.",
            "parameters": {
                "type": "object",
                "properties": {"path": {"type": "string"}, "query": {"type": "string"}},
                "required": ["path"],
            },
        },
    }
    for name in ("read_file", "search")
]
SOURCE = 'def f_{0}(x):\n    return "value" + str(x)\n'


def chat(size_bytes: int, **fields: object) -> bytes:
    """A chat completion request of exactly `size_bytes`: calls of tools and their results, then a question."""
    messages: list[Json] = [{"role": "system", "content": "You are a careful research agent. Use the tools."}]
    turn = 0
    while len(_body(messages, fields)) < size_bytes - 1000:
        turn += 1
        call_id = f"call_{turn:06d}"
        arguments = json.dumps({"path": f"src/m{turn}.py"})
        call = {"id": call_id, "type": "function", "function": {"name": "read_file", "arguments": arguments}}
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": call_id, "content": SOURCE.format(turn) * 8})
    question: Json = {"role": "user", "content": "Summarise what you found. "}
    messages.append(question)
    missing = size_bytes - len(_body(messages, fields))
    question["content"] = f"{question['content']}{'y' * missing}"
    return _body(messages, fields)


def stream(events: int, pause_us: int) -> bytes:
    """A 2 KB request for a stream; mock.c reads its shape out of `user`."""
    return chat(2048, stream=True, user=f"mock-c{events}-d{pause_us}")


def write_all(directory: Path) -> None:
    (directory / "json_2k.json").write_bytes(chat(2048))
    (directory / "stream_100_5ms.json").write_bytes(stream(100, 5000))


def _body(messages: list[Json], fields: Json) -> bytes:
    body = {"model": "mock-model", **fields, "messages": messages, "tools": TOOLS}
    return json.dumps(body, separators=(",", ":")).encode()
