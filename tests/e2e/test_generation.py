"""The whole road of a cost that is told late: a stream breaks, the upstream is asked, the run knows."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from typing import Any
from uuid import uuid4

import pytest

from tests.e2e.stack import Stack
from tests.fake_openai import Canned

WAIT_S = 60.0


def test_the_cost_of_a_broken_stream_is_that_which_the_upstream_tells_afterwards(stack: Stack) -> None:
    run_id = f"broken-{uuid4().hex[:8]}"
    chunk = {"id": "gen-9", "model": "openai/gpt-4.1", "choices": [{"index": 0, "delta": {"content": "Hel"}}]}
    head = (("Content-Type", "text/event-stream"), ("X-Generation-Id", "gen-9"))
    cost = {
        "data": {"id": "gen-9", "total_cost": 0.0123, "native_tokens_prompt": 7, "native_tokens_completion": 3}
    }
    stack.fake.answer_next(
        Canned(headers=head, chunks=(b"data: " + json.dumps(chunk).encode() + b"\n\n",), breaks_off=True),
        Canned(chunks=(json.dumps(cost).encode(),)),
    )
    body = {"model": "openai/gpt-4.1", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
    headers = {"Content-Type": "application/json", "X-Run-Id": run_id, "Authorization": "Bearer sk-own"}
    asked = urllib.request.Request(f"{stack.base_url}/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(asked, timeout=10) as answer, pytest.raises(http.client.IncompleteRead):
        answer.read()

    found = _until_told(stack, run_id)

    assert found["summary"]["cost"]["total_cost_usd"] == 0.0123
    (call,) = [step for step in found["steps"] if step["call_id"] and step["model"]]
    assert (call["input_tokens"], call["output_tokens"], call["api_cost_usd"]) == (7, 3, 0.0123)
    told = stack.get(f"/api/calls/{call['call_id']}")["call"]
    assert (told["cost_usd"], told["cost_source"]) == (0.0123, "generation")
    lookup = stack.fake.requests[-1]
    assert lookup.target.endswith("/generation?id=gen-9")
    assert lookup.header("Authorization") == "Bearer sk-own"


def _until_told(stack: Stack, run_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            found = stack.debug(run_id)
            if found["summary"]["cost"]["total_cost_usd"] == 0.0123:
                return found
        except urllib.error.HTTPError:
            found = {}
        assert time.monotonic() < deadline, f"not told within {WAIT_S} s: {found}"
        time.sleep(0.1)
