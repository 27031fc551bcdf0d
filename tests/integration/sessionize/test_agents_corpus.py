"""Recorded agents of many frameworks, concurrent and mixed: decoded, grouped, and scored against their labels."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SHARED
from watchllm_proxy.replay import read_corpus, write_assignments

AGENTS = SHARED / "data" / "agents"

pytestmark = pytest.mark.shared

# Session F1 that rules 1-3 reach; sub-agents and text protocols are for rules 4-7. It may only rise.
LOWEST_SESSION_F1 = {
    "openai": 0.86,
    "openai_agents": 0.78,
    "langchain": 0.83,
    "pydantic_ai": 0.76,
    "vercel_ai5": 0.81,
    "mix_sampled": 0.65,
    "mix": 0.79,
}


@pytest.mark.parametrize("name", LOWEST_SESSION_F1)
def test_no_call_is_put_into_a_foreign_session_with_certainty(name: str, tmp_path: Path) -> None:
    corpus, assignments = AGENTS / f"{name}.jsonl.gz", tmp_path / "assignments.jsonl"
    with assignments.open("w", encoding="utf-8") as out:
        count = write_assignments(corpus, out)
    assert count == sum(1 for _ in read_corpus(corpus))
    scored = subprocess.run(
        [sys.executable, str(AGENTS / "score.py"), str(corpus), str(assignments)],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
    last = scored.strip().splitlines()[-1]
    session_f1 = float(re.findall(r"[\d.]+/[\d.]+/([\d.]+)", last)[0])
    assert last.split()[-1] == "0", scored
    assert session_f1 >= LOWEST_SESSION_F1[name], scored
