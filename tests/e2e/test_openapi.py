"""Requests made out of the document at /openapi.json, by the thousand, to the whole product.

make test                                      the seed below, the same cases each time
WATCHLLM_TEST_SEED=7 pytest tests/e2e/test_openapi.py   others
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.stack import Stack
from tests.fake_openai import FakeOpenAI

SEED = os.environ.get("WATCHLLM_TEST_SEED") or "1"
CASES = 5_000
EXAMPLES_PER_OPERATION = "12"
SCHEMATHESIS = (
    Path(sys.executable).with_name("st"),
    *("--config-file", Path(__file__).with_name("schemathesis.toml")),
)
LIMIT_S = 900


@pytest.fixture
def stack() -> Iterator[Stack]:
    """One of its own: keys, rules and prices that are made up would be in the way of other tests."""
    with tempfile.TemporaryDirectory(prefix="watchllm-openapi-") as directory, FakeOpenAI() as fake:
        stack = Stack(Path(directory) / "data", fake).start()
        try:
            yield stack
        finally:
            stack.stop()


def ask_a_model(stack: Stack, run_id: str) -> None:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": f"Who is {run_id}?"}]}
    headers = {"Content-Type": "application/json", "X-Run-Id": run_id}
    request = urllib.request.Request(
        f"{stack.base_url}/chat/completions", data=json.dumps(body).encode(), headers=headers
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        answer.read()


@pytest.mark.slow
@pytest.mark.timeout(LIMIT_S + 120)
def test_thousands_of_requests_made_from_the_document_break_nothing_and_are_answered_as_it_says(
    stack: Stack,
) -> None:
    for number in range(3):
        ask_a_model(stack, f"run-{number}")
    stack.wait_for_steps(set(), 6)

    with tempfile.TemporaryDirectory(prefix="watchllm-openapi-") as directory:
        report = Path(directory) / "events.ndjson"
        found = subprocess.run(
            [
                *SCHEMATHESIS,
                *("run", f"{stack.origin}/openapi.json", "--seed", SEED),
                *("--max-examples", EXAMPLES_PER_OPERATION, "--continue-on-failure"),
                *("--report-json-path", report, "--warnings", "off"),
            ],
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        told = json.loads(report.read_text()) if report.is_file() else {}

    assert found.returncode == 0, found.stdout + found.stderr
    assert told["test_cases"]["generated"] >= CASES
