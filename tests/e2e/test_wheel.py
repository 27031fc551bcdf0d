"""The wheel holds all of the product: installed elsewhere, it runs from an empty directory."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 100


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="watchllm-wheel-") as made:
        yield Path(made)


@pytest.fixture(scope="module")
def wheel(folder: Path) -> Path:
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(folder),
        str(PROJECT),
    ]
    subprocess.run(command, cwd=folder, check=True, timeout=TIMEOUT_S)
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.slow
def test_it_holds_every_file_of_the_package_and_of_sql(wheel: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "watchllm_proxy", "sql"], cwd=PROJECT, capture_output=True, text=True, check=True
    ).stdout.split()
    wanted = {
        name.replace("sql/", "watchllm_proxy/_sql/", 1) if name.startswith("sql/") else name for name in tracked
    }
    with zipfile.ZipFile(wheel) as archive:
        assert wanted - set(archive.namelist()) == set()


@pytest.mark.slow
def test_the_demo_runs_from_it_in_an_empty_directory(wheel: Path, folder: Path) -> None:
    """The dependencies are those of the interpreter that runs the tests; .ci/run installs them as users do."""
    venv, empty = folder / "venv", folder / "empty"
    empty.mkdir()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True, timeout=TIMEOUT_S)
    python = str(venv / "bin" / "python")
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", str(wheel)]
    subprocess.run(install, cwd=empty, check=True, timeout=TIMEOUT_S)
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    environ = {**kept, "PYTHONPATH": sysconfig.get_path("purelib")}

    where = [python, "-c", "import watchllm_proxy; print(watchllm_proxy.__file__)"]
    found = subprocess.run(where, cwd=empty, env=environ, capture_output=True, text=True, check=True)
    assert found.stdout.startswith(str(venv)), "it is the installed one that runs"

    done = subprocess.run(
        [str(venv / "bin" / "watchllm"), "demo", "--exit", "--port", "0"],
        cwd=empty,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "order-assistant" in done.stdout
    assert "support-refund-agent" in done.stdout
    assert list(empty.iterdir()) == []
