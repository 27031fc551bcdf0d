"""Runs of thousands of steps, made of recorded agents: their conversations one after the other under one run id.

Each request holds what was said before in its conversation, as an agent sends it; with each recording it begins
anew, as an agent does that works through a list of tasks. Needs ../shared.
"""

from __future__ import annotations

import gzip
import itertools
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RECORDINGS = ("tau-bench", "swe-agent", "toolbench-legacy", "openhands-sdk-logs", "intercode")
SYSTEM = {"role": "system", "content": "You are a careful agent. Use the tools."}
MODEL = "gpt-4.1-mini"


@dataclass(frozen=True, slots=True)
class Call:
    """What an agent sends, and what the model answers."""

    request: bytes
    answer: bytes
    took_s: float
    pause_s: float  # before it


def calls(folder: Path, count: int) -> Iterator[Call]:
    """Of the recorded agents in `folder`, beginning again where they end."""
    chance = random.Random(1)
    return itertools.islice(_all(folder, chance), count)


def _all(folder: Path, chance: random.Random) -> Iterator[Call]:
    for name in itertools.cycle(RECORDINGS):
        with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            for number, line in enumerate(file):
                yield from _conversation(f"{name}-{number}", json.loads(line), chance)


def _conversation(name: str, recorded: dict[str, Any], chance: random.Random) -> Iterator[Call]:
    messages = [message for message in recorded["messages"] if message.get("role") != "system"]
    for index, message in enumerate(messages):
        if message.get("role") != "assistant":
            continue
        request: dict[str, Any] = {"model": MODEL, "messages": [SYSTEM, *messages[:index]]}
        if recorded.get("tools"):
            request["tools"] = recorded["tools"]
        sent = json.dumps(request).encode()
        finish = "tool_calls" if message.get("tool_calls") else "stop"
        usage = {"prompt_tokens": len(sent) // 4, "completion_tokens": 40, "total_tokens": len(sent) // 4 + 40}
        answer = {
            "id": f"chatcmpl-{name}-{index}-{chance.getrandbits(48):x}", "object": "chat.completion",
            "model": f"{MODEL}-2025-04-14", "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "usage": usage,
        }  # fmt: skip
        yield Call(sent, json.dumps(answer).encode(), chance.uniform(0.2, 4), chance.uniform(0.05, 3))
