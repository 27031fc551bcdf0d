"""Agent conversations as exchanges: tools called turn after turn, the whole conversation sent each time.

Tool outputs are passages of Python's own library: real text, neither constant nor noise, so that what is said
about compression means something. The same seed gives the same conversations (for one Python version).
"""

from __future__ import annotations

import itertools
import json
import random
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from watchllm_proxy.records import Body, Exchange, ExchangeEnd, Headers

Json = dict[str, object]

MODEL = "gpt-4o-mini"
EPOCH_US = 1_795_000_000_000_000
STEP_US = 2_000_000
TOOL_NAMES = ("read_file", "search", "run_tests", "list_directory")
TOOLS: list[Json] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"{name.replace('_', ' ').capitalize()} in the workspace and return what it printed.",
            "parameters": {
                "type": "object",
                "properties": {"path": {"type": "string"}, "query": {"type": "string"}},
                "required": ["path"],
            },
        },
    }
    for name in TOOL_NAMES
]
REQUEST_HEADERS: Headers = (
    ("Host", "127.0.0.1:8787"),
    ("Accept", "application/json"),
    ("Content-Type", "application/json"),
    ("User-Agent", "OpenAI/Python 2.8.0"),
    ("X-Stainless-Lang", "python"),
    ("X-Stainless-Retry-Count", "0"),
    ("Authorization", "[stripped]"),
)


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a conversation: how many calls, how long each tool's output and what is said beside it (characters)."""

    name: str
    steps: int
    system_characters: int
    output_characters: int
    said_characters: int


SMALL = Shape("5 KB", steps=10, system_characters=500, output_characters=160, said_characters=30)
LARGE = Shape("50 KB", steps=40, system_characters=3000, output_characters=1750, said_characters=120)
LONG_RUNS = tuple(
    Shape(f"{steps} steps", steps=steps, system_characters=3000, output_characters=2000, said_characters=200)
    for steps in (5, 30, 100)
)


class Texts:
    """Passages of the standard library's sources, at random."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        library = Path(sysconfig.get_path("stdlib"))
        sources = sorted(library.glob("*.py"))
        self._files = [path.read_text(encoding="utf-8", errors="replace") for path in sources]
        self._files = [text for text in self._files if len(text) > 10_000]

    def passage(self, characters: int) -> str:
        text = self._chance.choice(self._files)
        start = self._chance.randrange(len(text) - characters)
        return text[start : start + characters]


def log_of(shape: Shape, conversations: int, *, at_once: int = 20, seed: int = 1) -> Iterator[Exchange]:
    """Many conversations, `at_once` of them under way at any time, their calls interleaved."""
    chance = random.Random(seed)
    texts = Texts(chance)
    waiting = iter(range(conversations))
    first = itertools.islice(waiting, at_once)
    running = [conversation(shape, number, chance, texts) for number in first]
    while running:
        chosen = chance.randrange(len(running))
        exchange = next(running[chosen], None)
        if exchange is not None:
            yield exchange
        elif (number := next(waiting, None)) is not None:
            running[chosen] = conversation(shape, number, chance, texts)
        else:
            del running[chosen]


def conversation(shape: Shape, number: int, chance: random.Random, texts: Texts) -> Iterator[Exchange]:
    """One run: every request holds all that was said before. Every other conversation streams its answers."""
    messages: list[Json] = [
        {"role": "system", "content": "You are a careful engineer.\n" + texts.passage(shape.system_characters)},
        {"role": "user", "content": f"Task {number}: find out why this fails.\n" + texts.passage(200)},
    ]
    is_stream = number % 2 == 1
    for step in range(shape.steps):
        is_last = step == shape.steps - 1
        said = texts.passage(shape.said_characters)
        answer: Json = {"role": "assistant", "content": said}
        call_id = f"call_{chance.getrandbits(96):024x}"
        if not is_last:
            arguments = json.dumps({"path": f"src/part_{step}.py", "query": texts.passage(20)})
            function = {"name": chance.choice(TOOL_NAMES), "arguments": arguments}
            answer["tool_calls"] = [{"id": call_id, "type": "function", "function": function}]
        yield _exchange(number, step, messages, answer, chance, is_stream=is_stream)
        messages.append(answer)
        if not is_last:
            output = texts.passage(shape.output_characters)
            messages.append({"role": "tool", "tool_call_id": call_id, "content": output})


def _exchange(
    number: int, step: int, messages: Sequence[Json], answer: Json, chance: random.Random, *, is_stream: bool
) -> Exchange:
    fields: Json = {"model": MODEL, "messages": messages, "tools": TOOLS, "temperature": 0.2}
    if is_stream:
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
    request = json.dumps(fields).encode()
    response_id = f"chatcmpl-{chance.getrandbits(96):024x}"
    prompt_tokens = len(request) // 4
    usage: Json = {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": 60,
        "total_tokens": prompt_tokens + 60,
    }
    write = _event_stream if is_stream else _json_answer
    response = write(response_id, answer, usage)
    kind = "text/event-stream" if is_stream else "application/json"
    started_at_us = EPOCH_US + number * 10_000 + step * STEP_US
    return Exchange(
        exchange_id=UUID(int=chance.getrandbits(128), version=4),
        project_id="default",
        method="POST",
        target="/v1/chat/completions",
        request_headers=REQUEST_HEADERS,
        request_body=Body(request, len(request)),
        status=200,
        response_headers=(("Content-Type", kind), ("Server", "cloudflare"), ("X-Request-Id", response_id)),
        response_body=Body(response, len(response)),
        end=ExchangeEnd.COMPLETE,
        started_at_us=started_at_us,
        first_byte_us=350_000,
        duration_us=900_000,
        client_address=f"127.0.0.1:{20_000 + number % 40_000}",
    )


def _json_answer(response_id: str, answer: Json, usage: Json) -> bytes:
    finish = "tool_calls" if "tool_calls" in answer else "stop"
    body = {
        "id": response_id,
        "object": "chat.completion",
        "created": 1_795_000_000,
        "model": MODEL,
        "choices": [{"index": 0, "message": answer, "logprobs": None, "finish_reason": finish}],
        "usage": usage,
        "system_fingerprint": "fp_44709d6fcb",
    }
    return json.dumps(body).encode()


def _event_stream(response_id: str, answer: Json, usage: Json) -> bytes:
    """A chunk for every few characters, as models do."""
    said = str(answer["content"])
    deltas: list[Json] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": said[start : start + 5]} for start in range(0, len(said), 5)]
    calls = answer.get("tool_calls")
    if isinstance(calls, list):
        deltas += [{"tool_calls": [{"index": index, **call}]} for index, call in enumerate(calls)]
    chunks = [_chunk(response_id, [{"index": 0, "delta": delta, "finish_reason": None}]) for delta in deltas]
    finish = "tool_calls" if calls else "stop"
    chunks.append(_chunk(response_id, [{"index": 0, "delta": {}, "finish_reason": finish}]))
    chunks.append({**_chunk(response_id, []), "usage": usage})
    events = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
    return ("".join(events) + "data: [DONE]\n\n").encode()


def _chunk(response_id: str, choices: list[Json]) -> Json:
    return {
        "id": response_id,
        "object": "chat.completion.chunk",
        "created": 1_795_000_000,
        "model": MODEL,
        "choices": choices,
    }
