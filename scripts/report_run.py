"""Reports one agent run, step by step, as an agent that is not behind the proxy would: a small example to copy."""

from __future__ import annotations

import argparse
import json
import os
import urllib.parse
import urllib.request
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4


def send(url: str, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Raises `urllib.error.HTTPError`; its body says which field is wrong."""
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("WATCHLLM_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(url + path, json.dumps(body).encode(), headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        answered: dict[str, Any] = json.load(answer)
        return answered


def now() -> str:
    return datetime.now(UTC).isoformat()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8787", help="where the proxy listens")
    url = parser.parse_args().url.rstrip("/")

    run_id = f"order-{uuid4()}"
    path = f"/v1/agent-runs/{urllib.parse.quote(run_id, safe='')}"
    asked = {"step_index": 0, "timestamp": now(), "type": "user_input", "summary": "Where is my order?"}
    run = {"run_id": run_id, "agent_name": "order-assistant", "agent_version": "v1", "started_at": now()}
    send(url, "POST", "/v1/agent-runs", {**run, "status": "running", "steps": [asked], "meta": {"env": "example"}})

    looked_up = {
        "step_index": 1,
        "timestamp": now(),
        "type": "tool_call",
        "tool": "order_lookup",
        "tool_args": {"user_id": "user-123"},
        "tool_output_summary": "Found order #789, status: shipped",
        "token_cost": 45,
        "api_cost_usd": 0.000135,
    }
    answered = {
        "step_index": 2,
        "timestamp": now(),
        "type": "model_response",
        "summary": "Your order #789 was shipped today",
        "model": "gpt-4o-mini",
        "input_tokens": 320,
        "output_tokens": 32,  # no api_cost_usd: priced by the table
    }
    send(url, "POST", f"{path}/steps", {"steps": [looked_up, answered]})
    send(url, "PATCH", path, {"status": "completed", "ended_at": now()})
    print(f"reported: {url}/runs/{urllib.parse.quote(run_id, safe='')}")


if __name__ == "__main__":
    main()
