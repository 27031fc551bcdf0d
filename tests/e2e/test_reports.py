"""Runs and events that are reported to the running product, also while what is behind the log was killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import psutil

from tests.e2e.stack import PROJECT, Stack

AT = (datetime.now(UTC) - timedelta(days=1)).strftime("%Y-%m-%dT10:00:")
"""Not longer ago than runs and events are kept."""

WITHIN_S = 60.0


def send(stack: Stack, method: str, path: str, body: object, **headers: str) -> Any:
    sent = {"Content-Type": "application/json", **headers}
    request = urllib.request.Request(stack.base_url + path, json.dumps(body).encode(), sent, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())


def until_read(stack: Stack, run_id: str, steps: int) -> dict[str, Any]:
    deadline = time.monotonic() + WITHIN_S
    while True:
        try:
            found = stack.debug(quote(run_id, safe=""))
            if len(found["steps"]) == steps and found["summary"]["status"] == "completed":
                return found
        except urllib.error.HTTPError as exc:
            if exc.code not in {404, 502, 503}:
                raise
        assert time.monotonic() < deadline, f"{run_id} is not there with {steps} steps"
        time.sleep(0.05)


def step(index: int, kind: str, **fields: object) -> dict[str, object]:
    return {"step_index": index, "timestamp": f"{AT}{index:02}Z", "type": kind, **fields}


def kill_core(stack: Stack) -> None:
    (core,) = [
        child
        for child in psutil.Process(stack.pid).children(recursive=True)
        if "core" in child.cmdline() and "python" in child.name()
    ] or [None]
    assert core is not None
    core.send_signal(signal.SIGKILL)


def report(stack: Stack, run_id: str) -> None:
    """A run in parts, and events of it; the part behind the log is killed between them."""
    path = f"/agent-runs/{quote(run_id, safe='')}"
    asked = step(0, "user_input", summary="Write to ada.lovelace@example.com")
    run = {"run_id": run_id, "started_at": f"{AT}00Z", "agent_name": "reporter", "meta": {"region": "eu"}}
    send(stack, "POST", "/agent-runs", {**run, "steps": [asked]})
    kill_core(stack)
    tool = step(1, "tool_call", tool="lookup", tool_args={"n": 1.10}, api_cost_usd=0.000135, token_cost=45)
    send(stack, "POST", f"{path}/steps", {"steps": [tool]})
    call = {
        "model": "gpt-4o-mini",
        "tokens_input": 1000,
        "tokens_output": 100,
        "response": "It was shipped",
        "odd": 7,
    }
    event = {"event_id": f"{run_id} e", "run_id": run_id, "timestamp": f"{AT}05Z", **call}
    told = send(stack, "POST", "/events/batch", {"events": [{"event_type": "prompt_call", **event}, {}]})
    assert (told["accepted"], told["rejected"]) == (1, 1)
    send(stack, "PATCH", path, {"status": "completed", "ended_at": f"{AT}08Z"})


def test_a_run_reported_in_parts_around_a_kill_is_there_once_and_the_same_when_sent_again(stack: Stack) -> None:
    run_id = f"order/{uuid4()}"
    before = stack.run_ids()
    report(stack, run_id)
    stack.wait_ready()
    found = until_read(stack, run_id, 3)
    assert [each["type"] for each in found["steps"]] == ["user_input", "tool_call", "model_response"]
    assert found["summary"]["duration_ms"] == 8000
    assert found["summary"]["meta"]["region"] == "eu"
    assert found["summary"]["cost"]["total_cost_usd"] == 0.000345  # as told, and 0.00021 by the table
    assert (found["steps"][1]["token_cost"], found["steps"][1]["tool_args"]) == (45, {"n": 1.1})
    assert "ada.lovelace" not in json.dumps(found)

    report(stack, run_id)
    stack.wait_ready()
    assert until_read(stack, run_id, 3) == found
    assert {run["run_id"] for run in stack.runs()} - before == {run_id}

    asked = send(stack, "POST", "/events/query", {"run_id": run_id})
    assert (asked["total"], asked["has_more"], asked["events"][0]["context"]) == (1, False, {"odd": 7})
    with urllib.request.urlopen(f"{stack.origin}/runs/{quote(run_id, safe='')}", timeout=10) as page:
        assert b"lookup" in page.read() or page.status == 200


def test_a_run_that_was_captured_and_reported_under_one_id_is_there_as_two(stack: Stack) -> None:
    run_id = f"shared-{uuid4()}"
    chat = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": f"Hello {run_id}?"}]}
    send(stack, "POST", "/chat/completions", chat, **{"X-Run-Id": run_id, "Authorization": "Bearer sk-x"})
    run = {"run_id": run_id, "started_at": f"{AT}00Z", "status": "completed", "steps": [step(0, "user_input")]}
    send(stack, "POST", "/agent-runs", run)
    beside = until_read(stack, f"{run_id}~reported", 1)
    assert beside["summary"]["parent_run_id"] == run_id
    captured = stack.debug(run_id)
    assert [child["run_id"] for child in captured["children"]] == [f"{run_id}~reported"]
    assert captured["summary"]["reported"] is None


def test_the_example_that_reports_a_run_works_as_it_stands(stack: Stack) -> None:
    command = [sys.executable, "scripts/report_run.py", "--url", stack.origin]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=True)
    run_id = done.stdout.strip().rpartition("/")[2]
    found = until_read(stack, run_id, 3)
    assert [each["type"] for each in found["steps"]] == ["user_input", "tool_call", "model_response"]
