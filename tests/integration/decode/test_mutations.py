"""Recorded exchanges with random damage: nearer to what a strange upstream sends than random JSON is."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.integration.decode.wire import answer_bytes, exchange_of, read_wire
from watchllm_proxy.decode import decode, rebuild
from watchllm_proxy.decode.sse import parse_events
from watchllm_proxy.enrich.prices import price
from watchllm_proxy.enrich.tokens import estimate_usage
from watchllm_proxy.records import Body

pytestmark = pytest.mark.shared

_STRANGE: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    "",
    "x",
    [],
    {},
    [None],
    [1],
    {"a": 1},
    [[]],
    ["s"],
    10**20,
    "a1" * 9,
]
_STRANGE += [[{}], {"id": 5}, {"type": []}, float("nan"), 1e300, "\u0000"]
_PARSED = {"chat.completions", "completions", "embeddings", "responses", "anthropic.messages"}


@pytest.mark.parametrize("seed", [1, 2])
def test_damaged_exchanges_are_never_a_bug_of_ours(shared: Path, seed: int) -> None:
    chance = random.Random(seed)
    records = [record for record in read_wire(shared / "data" / "wire") if record["api"] in _PARSED]
    for record in chance.sample(records, 1500):
        sent = _damaged_request(record["request_body"], chance)
        answer = _damaged_answer(answer_bytes(record), chance)
        exchange = replace(
            exchange_of(record), request_body=Body(sent, len(sent)), response_body=Body(answer, len(answer))
        )
        call = decode(exchange)
        assert "internal" not in (call.opaque_reason or ""), record["id"]
        if sent and call.raw_request is None:
            assert json.loads(rebuild(call.request_skeleton, call.messages)) == json.loads(sent)
        price(estimate_usage(call))


def _damaged_request(body: Any, chance: random.Random) -> bytes:
    return json.dumps(_damaged(body, chance)).encode() if isinstance(body, dict) else b""


def _damaged_answer(content: bytes, chance: random.Random) -> bytes:
    if content[:1] == b"{":
        return json.dumps(_damaged(json.loads(content), chance)).encode()
    lines = []
    for event, told in parse_events(content):
        data = told
        if chance.random() < 0.1 and data[:1] == b"{":
            data = json.dumps(_damaged(json.loads(data), chance)).encode()
        if chance.random() > 0.02:
            name = f"event: {event}\n".encode() if event else b""
            lines.append(name + b"data: " + data.replace(b"\n", b"\ndata: ") + b"\n\n")
    return b"".join(lines)


def _damaged(value: Any, chance: random.Random) -> Any:
    """One to three nodes deleted or replaced."""
    value = copy.deepcopy(value)
    for _ in range(chance.randrange(1, 4)):
        *path, last = chance.choice([path for path in _paths(value) if path] or [("x",)])
        parent = value
        for key in path:
            parent = parent[key]
        if isinstance(parent, dict) and chance.random() < 0.3:
            parent.pop(last, None)
        elif isinstance(parent, dict | list):
            parent[last] = copy.deepcopy(chance.choice(_STRANGE))
    return value


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value[:8]) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _paths(inner, (*path, key))
