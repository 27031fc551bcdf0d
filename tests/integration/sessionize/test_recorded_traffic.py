"""Agents of ours, recorded through the proxy itself (tests/traffic): decoded, grouped, and scored by their labels.

The floors lie a little below what is reached, and may only rise. Where a figure is below 1, its scenario says why
(tests/traffic/README.md): most are runs that are equal to the letter and start at once, where nobody can know.
"""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SHARED
from tests.traffic.catalogue import CORPORA, SETUPS
from tests.traffic.record import MIX
from tests.traffic.score import Row, replayed, score
from watchllm_proxy.replay import write_assignments

NAMES = (*(setup.name for setup in SETUPS), MIX)
MAX_CORPORA_BYTES = 2_000_000

# name: (session F1, run F1); a run is one task of one agent.
FLOORS = {
    "anthropic_agent": (0.99, 0.99),
    "anthropic_subagents": (0.99, 0.99),
    "anthropic_node": (0.99, 0.99),
    "openai_long": (0.99, 0.99),
    "openai_pool": (0.99, 0.99),
    "openai_rough": (0.99, 0.99),
    "openai_v1": (0.99, 0.99),
    "responses": (0.99, 0.99),
    "responses_node": (0.99, 0.99),
    "openai_agents_team": (0.99, 0.99),
    "openai_agents_js": (0.99, 0.99),
    "home_made": (0.99, 0.99),
    "strands": (0.99, 0.99),
    "agno": (0.99, 0.99),
    "haystack": (0.99, 0.99),
    "mastra": (0.87, 0.99),
    "mix": (0.99, 0.99),
}
LEAST_RIGHT_PARENTS = {
    "anthropic_subagents": 0.99,
    "openai_agents_team": 0.99,
    "openai_agents_js": 0.99,
    "strands": 0.99,
    "agno": 0.99,
    "mastra": 0.64,
    "mix": 0.98,
}


@cache
def rows_of(name: str) -> tuple[Row, ...]:
    return tuple(replayed(_corpus(name)))


@cache
def lines_of(name: str) -> tuple[dict[str, Any], ...]:
    with gzip.open(_corpus(name), "rt", encoding="utf-8") as text:
        return tuple(json.loads(line) for line in text)


@pytest.mark.parametrize("name", NAMES)
def test_no_call_is_put_into_a_foreign_session_with_certainty(name: str) -> None:
    assert score(rows_of(name)).false == ()


@pytest.mark.parametrize("name", NAMES)
def test_calls_that_belong_together_are_put_together(name: str) -> None:
    reached = score(rows_of(name))
    session_f1, run_f1 = FLOORS[name]

    assert reached.sessions.f1 >= session_f1, str(reached)
    assert reached.runs.f1 >= run_f1, str(reached)


@pytest.mark.parametrize("name", LEAST_RIGHT_PARENTS)
def test_a_sub_agent_hangs_under_the_run_that_called_it(name: str) -> None:
    reached = score(rows_of(name))

    assert reached.right_parents / reached.children >= LEAST_RIGHT_PARENTS[name], str(reached)


@pytest.mark.parametrize("name", NAMES)
def test_detection_cannot_see_the_truth(name: str) -> None:
    for line in lines_of(name):
        seen = {field: value for field, value in line.items() if not field.startswith("true_")}
        assert "truth" not in json.dumps(seen).lower()
        assert line["true_run"] not in json.dumps(seen["request_body"])


@pytest.mark.parametrize("name", NAMES)
def test_every_exchange_has_its_label_and_every_parent_is_there(name: str) -> None:
    lines = lines_of(name)
    runs = {line["true_run"] for line in lines}

    assert all(line["true_root_run"] in runs for line in lines)
    assert all(line.get("true_parent_run") in runs | {None} for line in lines)
    assert [line["t_request"] for line in lines] == sorted(line["t_request"] for line in lines)


def test_each_recording_is_tested_and_none_is_large() -> None:
    recorded = sorted(CORPORA.glob("*"))

    assert {path.name.removesuffix(".jsonl.gz") for path in recorded} == set(NAMES)
    assert sum(path.stat().st_size for path in recorded) < MAX_CORPORA_BYTES


@pytest.mark.shared
def test_our_measure_is_that_of_the_benchmark(tmp_path: Path) -> None:
    """On a recording of chat completions and Responses, for the benchmark's scorer leaves Messages out."""
    corpus, assignments = _corpus("openai_agents_team"), tmp_path / "assignments.jsonl"
    with assignments.open("w", encoding="utf-8") as out:
        write_assignments(corpus, out)
    scorer = SHARED / "data" / "agents" / "score.py"
    scored = subprocess.run(
        [sys.executable, str(scorer), str(corpus), str(assignments)],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout.splitlines()[-1]

    ours = score(rows_of("openai_agents_team"))
    assert re.findall(r"\S*\d/\S+|\d+$", scored) == re.findall(r"\S*\d/\S+|\d+$", str(ours))


def _corpus(name: str) -> Path:
    return CORPORA / f"{name}.jsonl.gz"
