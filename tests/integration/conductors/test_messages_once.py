"""Messages are stored once, and every request can be had again from the stores: as it meant, or byte for byte."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest

from tests.integration.conductors.recording import Recording, chat, run_until_stored
from tests.integration.decode.wire import exchange_of, read_wire
from watchllm_proxy.decode import rebuild
from watchllm_proxy.records import DEFAULT_PROJECT_ID, Body, Exchange
from watchllm_proxy.store.reading import StoreReading

EVERY = 15
"""Of the recordings each fifteenth: they are of all providers, dialects and clients."""


@pytest.mark.shared
@pytest.mark.timeout(300)
async def test_recorded_requests_are_rebuilt_from_the_stores_and_their_bytes_are_kept(
    recording: Recording, shared: Path
) -> None:
    now_us = time.time_ns() // 1000
    sent: list[tuple[Exchange, dict[str, Any]]] = []
    for record in list(read_wire(shared / "data" / "wire"))[::EVERY]:
        if isinstance(record["request_body"], dict):
            plain = exchange_of(record)
            sent.append((replace(plain, exchange_id=uuid4(), started_at_us=now_us), record["request_body"]))
    assert len(sent) > 150
    await recording.write([exchange for exchange, _ in sent])
    await run_until_stored(recording.recorder(keep_raw_days=1), within_s=100.0)
    await recording.assert_adds_up()

    reading = StoreReading(recording.runs.pool, recording.events, rebuild=rebuild)
    understood = 0
    for exchange, body in sent:
        call = await reading.get_call(DEFAULT_PROJECT_ID, exchange.exchange_id)
        assert call is not None
        raw = await recording.raw(exchange.exchange_id)
        assert raw == (exchange.request_body.content, exchange.response_body.content)
        if call.opaque_reason is None:
            assert call.request is not None
            assert json.loads(call.request) == body, body
            understood += 1
    assert understood > len(sent) * 0.9


async def test_a_conversation_that_is_sent_again_is_not_stored_again(recording: Recording) -> None:
    messages = [{"role": "user", "content": f"message {number}"} for number in range(30)]
    bodies = [orjson.dumps({"model": "m", "messages": messages[: n + 1]}) for n in range(30)]
    await recording.write([replace(chat(0, run="one"), request_body=Body(body, len(body))) for body in bodies])
    await run_until_stored(recording.recorder())
    rows = await recording.events.query(
        "SELECT uniqExact(content_hash) AS messages FROM messages WHERE role = 'user'"
    )
    assert rows == [{"messages": 30}]
    assert await recording.count("messages FINAL") == 31, "and the answer, which is the same each time"
