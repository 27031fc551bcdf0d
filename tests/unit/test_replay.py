"""A recorded corpus becomes one assignment per line, in its order."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import pytest

from watchllm_proxy.errors import CaptureLogError
from watchllm_proxy.replay import replay, write_assignments


def line(start: float, messages: list[dict[str, object]], answer: dict[str, object], **more: object) -> str:
    body = {"id": f"chatcmpl-{start}", "object": "chat.completion", "choices": [{"index": 0, "message": answer}]}
    recorded = {
        "t_request": start,
        "t_response": start + 0.5,
        "method": "POST",
        "path": "/v1/chat/completions",
        "request_headers": {"content-type": "application/json"},
        "request_body": {"model": "m", "messages": messages},
        "status": 200,
        "response_headers": {"content-type": "application/json"},
        "response_body": json.dumps(body),
    }
    return json.dumps({**recorded, **more})


USER: dict[str, object] = {"role": "user", "content": "Where is my order?"}
CALL = {"id": "call_abc123def456", "type": "function", "function": {"name": "lookup", "arguments": "{}"}}
ASKS: dict[str, object] = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT: dict[str, object] = {"role": "tool", "tool_call_id": "call_abc123def456", "content": "shipped"}
DONE: dict[str, object] = {"role": "assistant", "content": "It was shipped."}

CORPUS = "\n".join([line(1.0, [USER], ASKS), line(1.2, [USER], DONE), line(2.0, [USER, ASKS, RESULT], DONE), ""])


@pytest.mark.parametrize("name", ["corpus.jsonl", "corpus.jsonl.gz"])
def test_each_line_gets_an_assignment_in_order(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(CORPUS.encode()) if name.endswith(".gz") else CORPUS.encode())
    first, other, last = replay(path)
    assert first["run_id"] == last["run_id"] != other["run_id"]
    assert last["links"] == [{"kind": "issued_id", "value": "call_abc123def456", "confidence": "certain"}]


def test_assignments_are_written_as_lines_of_json(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text(CORPUS, encoding="utf-8")
    out = io.StringIO()
    assert write_assignments(path, out) == 3
    assert [sorted(json.loads(text)) for text in out.getvalue().splitlines()] == [
        ["certain", "links", "parent_run_id", "run_id", "session_id"]
    ] * 3


@pytest.mark.parametrize(
    "bad", ["not json", "[]", '{"t_request": 1}', '{"t_request": "now", "method": "GET", "path": "/"}']
)
def test_a_line_that_is_no_exchange_is_named(bad: str, tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text(line(1.0, [USER], DONE) + "\n" + bad + "\n", encoding="utf-8")
    with pytest.raises(CaptureLogError, match="line 2"):
        list(replay(path))
