"""`watchllm demo --exit`, as a stranger runs it first."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 90


@pytest.fixture(scope="module")
def demo() -> subprocess.CompletedProcess[str]:
    """One demo for all tests here."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "watchllm_proxy", "demo", "--exit", "--port", "0"],
        cwd=PROJECT,
        env=kept,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def _block(output: str, agent: str) -> list[str]:
    """The lines of one agent's run: from its title to the next blank line."""
    lines = output.splitlines()
    starts = [i for i, line in enumerate(lines) if line[:2] in {"✓ ", "✗ "} and line[2:].startswith(agent)]
    assert len(starts) == 1, f"{agent} is printed {len(starts)} times in:\n{output}"
    rest = lines[starts[0] :]
    return rest[: rest.index("")] if "" in rest else rest


def test_it_ends_well_by_itself(demo: subprocess.CompletedProcess[str]) -> None:
    assert demo.returncode == 0, demo.stderr
    assert "Traceback" not in demo.stderr


@pytest.mark.parametrize(
    ("agent", "steps"),
    [("order-assistant", 6), ("support-refund-agent", 21), ("trip-planner", 9), ("daily-brief", 5)],
)
def test_each_sample_agent_is_one_run_with_its_steps_tokens_and_cost(
    demo: subprocess.CompletedProcess[str], agent: str, steps: int
) -> None:
    title, figures, *_ = _block(demo.stdout, agent)

    assert "Done" in title
    assert f"{steps} steps" in figures
    assert "$0.00" in figures
    assert "unpriced" not in figures
    assert "tokens" in figures


def test_the_refund_that_was_refused_again_and_again_is_flagged(demo: subprocess.CompletedProcess[str]) -> None:
    lines = _block(demo.stdout, "support-refund-agent")

    refused = [line for line in lines if "currency_mismatch" in line]
    assert len(refused) == 4
    assert any("loop" in line for line in refused)
    assert any("429" in line or "Rate limit" in line for line in lines)


def test_the_sub_agent_stands_inside_the_run_that_called_it(demo: subprocess.CompletedProcess[str]) -> None:
    lines = _block(demo.stdout, "trip-planner")

    place = next(i for i, line in enumerate(lines) if "⬡" in line)
    assert "researcher" in lines[place]
    assert any("│" in line and "search_web" in line for line in lines[place:])


def test_the_way_to_the_dashboard_is_told(demo: subprocess.CompletedProcess[str]) -> None:
    assert "http://127.0.0.1:" in demo.stdout + demo.stderr
    assert "export OPENAI_BASE_URL=http://127.0.0.1:" in demo.stdout
