"""`kill -9` at any moment: what was acknowledged is there, once, and nobody has to help."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[3]


def run_harness(directory: Path, kills: int) -> dict[str, float]:
    seed = random.randrange(10**6)
    command = [sys.executable, "-m", "tests.integration.capture.kill_harness"]
    done = subprocess.run(
        [*command, str(directory), str(seed), str(kills)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, f"seed {seed}: {done.stdout}{done.stderr}"
    result: dict[str, float] = json.loads(done.stdout)
    print(f"seed {seed}: {result}")
    return result


def assert_nothing_lost(result: dict[str, float], kills: int) -> None:
    assert (result["lost"], result["doubled"]) == (0, 0)
    assert (result["miscounted"], result["shed"]) == (0, 0)
    assert result["acked"] > kills * 5, "the writers hardly wrote: this proved nothing"


def test_fifty_kills_and_every_crash_point_lose_and_double_nothing(tmp_path: Path) -> None:
    assert_nothing_lost(run_harness(tmp_path / "w0", 50), 50)


@pytest.mark.slow
def test_four_hundred_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    assert_nothing_lost(run_harness(tmp_path / "w0", 400), 400)
