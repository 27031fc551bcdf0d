"""`watchllm export` and `diff` beside a running `watchllm up`, whose ClickHouse no other process may open."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections import Counter
from pathlib import Path

import orjson

from tests.e2e.stack import PROJECT, Stack
from watchllm_proxy.transferring import check

CALLS = 5


def watchllm(stack: Stack, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "watchllm_proxy", *words],
        env={"PATH": os.environ["PATH"], "WATCHLLM_DATA_DIR": str(stack.data_dir)},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def ask(stack: Stack, number: int) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": f"Question {number}?"}]}
    headers = {"Content-Type": "application/json", "X-Run-Id": "export-beside"}
    request = urllib.request.Request(f"{stack.base_url}/chat/completions", orjson.dumps(body), headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200


def test_runs_are_exported_whole_and_an_import_is_refused(stack: Stack, tmp_path: Path) -> None:
    before = stack.run_ids()
    for number in range(CALLS):
        ask(stack, number)
    stack.wait_for_steps(before, 2 * CALLS)
    file = tmp_path / "runs.ndjson"
    done = watchllm(stack, "export", "--run", "export-beside", "--to", str(file))
    assert (done.returncode, done.stderr.splitlines()[0]) == (0, "1 run exported.")
    assert done.stderr.splitlines()[1].startswith("open http://")
    assert done.stderr.splitlines()[1].endswith("/runs/export-beside")
    with file.open("rb") as lines:
        assert check(lines).runs == 1
    tables = Counter(orjson.loads(line).get("table") for line in file.read_bytes().splitlines())
    assert (tables["agent_debug_logs"], tables["events"], tables["agent_debug_steps"]) == (1, CALLS, 2 * CALLS)
    lines = watchllm(stack, "export", "--run", "export-b", "--as", "ndjson", "--url", stack.origin)
    assert (lines.returncode, lines.stderr.splitlines()[-1]) == (0, f"open {stack.origin}/runs/export-beside")
    told = [orjson.loads(line) for line in lines.stdout.splitlines()]
    questions = [each["call"]["request"]["messages"][0]["content"] for each in told if "call" in each]
    assert sorted(questions) == [f"Question {number}?" for number in range(CALLS)]
    assert told[-1] == {"end": {"steps": 2 * CALLS, "calls": CALLS, "missing_calls": 0}}
    compared = watchllm(stack, "diff", "export-b", "0", "2", "--url", stack.origin)
    assert (compared.returncode, "Question [-0-]{+1+}?" in compared.stdout) == (0, True)
    missing = watchllm(stack, "export", "--run", "nobody")
    assert (missing.returncode, "not there" in missing.stderr) == (3, True)
    refused = watchllm(stack, "import", str(file))
    assert (refused.returncode, "stop `watchllm up`" in refused.stderr) == (1, True)
