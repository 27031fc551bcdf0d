"""Values that must not be kept, sent through `watchllm up`: nothing that it shows or leaves behind holds one."""

from __future__ import annotations

import contextlib
import http.client
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson

from tests import canaries
from tests.e2e.stack import PROJECT, Stack
from tests.fake_openai import Canned, FakeOpenAI

KEY = canaries.KEYS["openai"]


def test_what_up_leaves_behind_holds_no_value_that_was_sent_through_it() -> None:
    with tempfile.TemporaryDirectory(prefix="watchllm-canaries-") as made, FakeOpenAI() as fake:
        os.chmod(made, 0o711)  # as root Postgres runs as another user
        stack = Stack(Path(made) / "data", fake).start()
        try:
            fake.answer_next(*answers())
            for _ in answers():
                ask(stack)
            refusals = list(report(stack))
            stack.wait_for_steps(set(), 10)
            told = [*refusals, *browse(stack), *said(stack)]
        finally:
            assert stack.stop() == 0
        assert canaries.found_in(told) == set()
        assert any(b"[email_" in text for text in told), "what was stored is shown, redacted"
        assert any(b" e-mail addresses" in text for text in told), "and how much of it"
        kept = {str(path.relative_to(made)): canaries.found_in([path.read_bytes()]) for path in files(Path(made))}
        assert {name: found for name, found in kept.items() if found} == {}
        assert (stack.data_dir / "redaction.key").stat().st_mode & 0o777 == 0o600
        exported = export(stack)
        assert canaries.found_in([exported]) == set()
        assert b"[email_" in exported


def answers() -> list[Canned]:
    """An answer with a tool call, a stream in small pieces, an error, one that breaks off."""
    arguments = orjson.dumps({"body": canaries.TEXT, "password": canaries.PASSWORD}).decode()
    call = {"id": "call_1", "type": "function", "function": {"name": "send", "arguments": arguments}}
    message = {"role": "assistant", "content": canaries.TEXT, "tool_calls": [call]}
    whole = orjson.dumps({"id": "chatcmpl-1", "choices": [{"message": message, "finish_reason": "tool_calls"}]})
    pieces = [canaries.TEXT[at : at + 5] for at in range(0, len(canaries.TEXT), 5)]
    deltas = [orjson.dumps({"choices": [{"index": 0, "delta": {"content": piece}}]}) for piece in pieces]
    stream = b"".join(b"data: " + delta + b"\n\n" for delta in deltas)
    events = (("Content-Type", "text/event-stream"),)
    error = orjson.dumps({"error": {"message": canaries.TEXT, "type": "invalid_request_error"}})
    return [
        Canned(chunks=(whole,)),
        Canned(headers=events, chunks=(stream, b"data: [DONE]\n\n")),
        Canned(status=401, chunks=(error,)),
        Canned(headers=events, chunks=(stream,), breaks_off=True),
    ]


def ask(stack: Stack) -> None:
    """A request with the values in its target, its headers and its body. How it ends does not matter."""
    body = {
        "model": "gpt-4o-mini",
        "user": canaries.EMAIL,
        "messages": [{"role": "system", "content": canaries.TEXT}, {"role": "user", "content": canaries.TEXT}],
        "metadata": {"card": canaries.CARD, "who": canaries.EMAIL},
    }
    request = urllib.request.Request(
        f"{stack.base_url}/chat/completions?api_key={KEY}&to={canaries.EMAIL}&note={canaries.KEYS['github']}",
        data=orjson.dumps(body),
        headers={
            "Content-Type": "application/json",
            "Authorization": f"Bearer {canaries.KEYS['openrouter']}",
            "X-Api-Key": canaries.KEYS["anthropic"],
            "Cookie": f"session={canaries.KEYS['jwt']}",
            "X-User-Id": canaries.EMAIL,
            "X-Custom": canaries.KEYS["aws"],
        },
    )
    with (
        contextlib.suppress(OSError, http.client.HTTPException),
        urllib.request.urlopen(request, timeout=30) as answer,
    ):
        answer.read()


def report(stack: Stack) -> Iterator[bytes]:
    """Runs and events with the values in all their words; what is refused is told without them."""
    step = {
        "step_index": 0, "timestamp": "2026-01-15T10:00:00Z", "type": "tool_call", "tool": "send",
        "summary": canaries.TEXT, "decision": canaries.TEXT, "tool_args": {"to": canaries.EMAIL},
        "tool_output_summary": canaries.TEXT, "raw": {"log": canaries.TEXT},
    }  # fmt: skip
    run = {
        "run_id": f"reported by {canaries.EMAIL}", "agent_name": f"agent of {canaries.EMAIL}",
        "started_at": "2026-01-15T10:00:00Z", "user_id": canaries.EMAIL, "meta": {"who": canaries.TEXT},
        "steps": [step, {**step, "step_index": 1, "type": "error"}],
    }  # fmt: skip
    event = {
        "event_id": f"event of {canaries.EMAIL}", "event_type": "prompt_call", "run_id": canaries.EMAIL,
        "timestamp": "2026-01-15T10:00:00Z", "user_id": canaries.EMAIL, "prompt": canaries.TEXT,
        "response": canaries.TEXT, "model": "gpt-4o-mini", "tags": [canaries.EMAIL],
        "client": {"hostname": canaries.EMAIL}, "status": "success",
    }  # fmt: skip
    assert send(stack, "/v1/agent-runs", run)[0] == 202
    assert send(stack, "/v1/events/batch", {"events": [event]})[0] < 300
    wrong = {**run, "steps": [{**step, "type": canaries.EMAIL}], "status": canaries.CARD}
    status, refusal = send(stack, "/v1/agent-runs", wrong)
    assert status == 422
    yield refusal


def browse(stack: Stack) -> Iterator[bytes]:
    """Values in what the console is asked, tried on and refused: it must not write them down. What a person
    searched for stands on the page that answers, so those answers are not looked at."""
    fetch(stack, f"/runs?q={quote(canaries.EMAIL)}")
    found = fetch(stack, f"/api/agent-runs?kind=all&user={quote(canaries.EMAIL)}")
    assert orjson.loads(found)["total"] > 0, "a user is found by the address that was sent"
    yield found
    yield fetch(stack, f"/api/agent-runs/{quote(canaries.EMAIL)}/debug")
    yield send(stack, "/api/redaction/try", {"text": canaries.TEXT})[1]
    yield send(stack, "/settings/redaction", {"rules": canaries.TEXT})[1]


def fetch(stack: Stack, path: str) -> bytes:
    try:
        with urllib.request.urlopen(f"{stack.origin}{path}", timeout=10) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as exc:
        return bytes(exc.read())


def send(stack: Stack, path: str, body: object) -> tuple[int, bytes]:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{stack.origin}{path}", orjson.dumps(body), headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as exc:
        return exc.code, exc.read()


def said(stack: Stack) -> Iterator[bytes]:
    """Pages, API and metrics, of every run and call."""
    paths = ["/metrics", "/readyz", "/runs?kind=all", "/api/agent-runs?kind=all", "/api/calls"]
    for run in stack.runs():
        run_id = quote(run["run_id"], safe="")
        paths += [f"/api/agent-runs/{run_id}/debug", f"/runs/{run_id}", f"/runs/{run_id}/steps/0"]
    listed: dict[str, Any] = stack.get("/api/calls")
    paths += [f"/api/calls/{call['call_id']}" for call in listed["calls"]]
    yield send(stack, "/v1/events/query", {"limit": 100})[1]
    for path in paths:
        yield fetch(stack, path)


def files(folder: Path) -> Iterator[Path]:
    """All that is there: the capture log, the stores' own files, logs, what was printed, sockets left out."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())


def export(stack: Stack) -> bytes:
    """Both stores, out of the product's own hand."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-m", "watchllm_proxy", "export"],
        env={**kept, "WATCHLLM_DATA_DIR": str(stack.data_dir)},
        cwd=PROJECT,
        capture_output=True,
        timeout=60,
        check=True,
    )
    return done.stdout
