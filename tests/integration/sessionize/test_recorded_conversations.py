"""Conversations that others recorded: 200 agents at once under one system prompt, each request longer than the
last; and providers' recordings, whose follow-ups are joined, never across recordings by certain evidence."""

from __future__ import annotations

import gzip
import json
import random
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import pytest

from watchllm_proxy.decode import decode
from watchllm_proxy.records import Body, Confidence, Exchange, ExchangeEnd, Placement
from watchllm_proxy.sessionize import Sessionizer

NAMESPACE = UUID(int=7)
AT_ONCE = 200
SECOND_US = 1_000_000
SILENCE_US = 600 * SECOND_US
SYSTEM = {"role": "system", "content": "You are a careful agent. Use the tools."}
PATHS = {"chat": "chat/completions", "chat.completions": "chat/completions", "responses": "responses"}


def exchange(
    key: str, path: str, request: object, answer: object, at_s: float, took_s: float, **more: Any
) -> Exchange:
    sent, got = (
        text.encode() if isinstance(text, str) else json.dumps(text).encode() for text in (request, answer)
    )
    return Exchange(
        exchange_id=uuid5(NAMESPACE, key),
        project_id="default",
        method="POST",
        target=f"/v1/{path}",
        request_headers=(("user-agent", "recorded"),),
        request_body=Body(sent, len(sent)),
        status=more.get("status", 200),
        response_headers=more.get("headers", ()),
        response_body=Body(got, len(got)),
        end=ExchangeEnd.COMPLETE,
        started_at_us=int(at_s * SECOND_US),
        first_byte_us=None,
        duration_us=int(took_s * SECOND_US),
        client_address=more["client"],
    )


def lines(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


# --- trajectories -----------------------------------------------------------------------------------


def growing_requests(
    name: str,
    run: dict[str, Any],
    client: str,
    at_s: float,
    chance: random.Random,
    system: dict[str, Any] = SYSTEM,
) -> list[Exchange]:
    """One request for each answer of the recorded run, with all that came before it, under that system prompt."""
    messages = [message for message in run["messages"] if message.get("role") != "system"]
    made = []
    for index, message in enumerate(messages):
        if message.get("role") != "assistant":
            continue
        request: dict[str, Any] = {"model": "m", "messages": [system, *messages[:index]]}
        if run.get("tools"):
            request["tools"] = run["tools"]
        finish = "tool_calls" if message.get("tool_calls") else "stop"
        choice = {"index": 0, "message": message, "finish_reason": finish}
        answer = {"id": f"chatcmpl-{name}-{index}", "object": "chat.completion", "model": "m", "choices": [choice]}
        at_s += chance.uniform(0.05, 3)
        took_s = chance.uniform(0.2, 4)
        made.append(exchange(f"{name}/{index}", "chat/completions", request, answer, at_s, took_s, client=client))
        at_s += took_s
    return made


def two_hundred_at_once(folder: Path) -> list[tuple[str, Exchange]]:
    chance = random.Random(1)
    free_at_s = [0.0] * AT_ONCE
    exchanges: list[tuple[str, Exchange]] = []
    for number, (name, run) in enumerate(
        (f"{path.name}{index}", run)
        for path in sorted(folder.glob("*.jsonl.gz"))
        for index, run in enumerate(lines(path))
        if run.get("messages")
    ):
        lane = min(range(AT_ONCE), key=free_at_s.__getitem__)
        client = f"10.0.{number // 250}.{number % 250}:40000"
        made = growing_requests(name, run, client, free_at_s[lane] + chance.uniform(0, 1), chance)
        if made:
            free_at_s[lane] = made[-1].ended_at_us / SECOND_US
        exchanges += [(name, each) for each in made]
    return sorted(exchanges, key=lambda pair: pair[1].ended_at_us)


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nearly_every_recorded_run_is_found_exactly_among_two_hundred_at_once(shared: Path) -> None:
    sessionizer = Sessionizer(silence_us=SILENCE_US)
    placed: dict[UUID, Placement] = {}
    name_of: dict[UUID, str] = {}
    for name, each in two_hundred_at_once(shared / "data" / "trajectories"):
        name_of[each.exchange_id] = name
        sessionizer.observe(decode(each), each.ended_at_us)
        placed.update((placement.call_id, placement) for placement in sessionizer.drain().placements)

    sessions_of: dict[str, set[str | None]] = defaultdict(set)
    names_in: dict[str | None, set[str]] = defaultdict(set)
    for call_id, name in name_of.items():
        sessions_of[name].add(placed[call_id].session_id)
        names_in[placed[call_id].session_id].add(name)
    exact = [
        name for name, found in sessions_of.items() if len(found) == 1 and names_in[next(iter(found))] == {name}
    ]
    assert len(sessions_of) > 1000
    assert len(exact) / len(sessions_of) >= 0.995


# --- providers' recordings ----------------------------------------------------------------------------


def recordings(folder: Path) -> dict[tuple[str, str], list[dict[str, Any]]]:
    found: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for path in sorted(folder.glob("*.jsonl.gz")):
        for record in lines(path):
            if record.get("origin_file") is not None and record.get("request_body") is not None:
                found[record["source"], record["origin_file"]].append(record)
    return {key: sorted(records, key=lambda record: record["seq"]) for key, records in found.items()}


@pytest.mark.shared
def test_follow_ups_that_echo_ids_are_joined_and_recordings_are_not_mixed_with_certainty(shared: Path) -> None:
    sessionizer = Sessionizer(silence_us=SILENCE_US)
    found = recordings(shared / "data" / "wire")
    placed: dict[UUID, Placement] = {}
    calls = defaultdict(list)
    at_s = 0.0
    for turn in range(max(map(len, found.values()))):  # all recordings at once, one exchange of each in turn
        for number, (key, records) in enumerate(found.items()):
            if turn >= len(records):
                continue
            record, at_s = records[turn], at_s + 0.02
            headers = tuple(
                (name, str(value))
                for name, value in (record["response_headers"] or {}).items()
                if name.lower() != "content-encoding"  # the recordings hold bodies decoded
            )
            path = PATHS.get(record["api"], record["api"])
            answer = record["response_body"] or ""
            client = f"10.1.{number // 250}.{number % 250}:40000"
            call = decode(
                exchange(
                    f"{key}{turn}",
                    path,
                    record["request_body"],
                    answer,
                    at_s,
                    0.015,
                    status=record["status"],
                    headers=headers,
                    client=client,
                )
            )
            placed[call.call_id] = sessionizer.observe(call, call.ended_at_us)
            placed.update((placement.call_id, placement) for placement in sessionizer.drain().placements)
            calls[key].append(call)

    follow_ups = joined = 0
    recordings_in: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for key, of_recording in calls.items():
        issued: set[str] = set()
        seen: set[str | None] = set()
        for call in of_recording:
            placement = placed[call.call_id]
            if placement.session_id is not None:
                if issued & set(call.mentioned_ids):
                    follow_ups += 1
                    joined += placement.session_id in seen
                seen.add(placement.session_id)
                if placement.links[0].confidence is Confidence.CERTAIN:
                    recordings_in[placement.session_id].add(key)
            issued |= set(call.issued_ids)
    assert follow_ups >= 90
    assert joined == follow_ups
    assert [session for session, keys in recordings_in.items() if len(keys) > 1] == []
