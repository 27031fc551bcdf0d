"""`watchllm up -d` and `down`: started without a terminal, found again, stopped with nothing left behind."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

from tests.e2e.commands import KEPT, PROJECT
from tests.fake_openai import FakeOpenAI


def watchllm(environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "watchllm_proxy", *arguments],
        cwd=PROJECT,
        env=kept | environ,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def test_up_in_the_background_prints_its_export_line_once_requests_pass_is_found_again_and_ends() -> None:
    with tempfile.TemporaryDirectory(prefix="watchllm-d-") as made, FakeOpenAI() as fake:
        os.chmod(made, 0o711)  # as root Postgres runs as another user
        data = Path(made) / "data"
        environ = {"WATCHLLM_DATA_DIR": str(data), "WATCHLLM_PORT": "0", "WATCHLLM_UPSTREAM_URL": fake.url}
        refused = watchllm(environ, "up", "-d", "--host", "192.0.2.1")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "192.0.2.1" in refused.stderr

        first = watchllm(environ, "up", "-d", "--print-env")
        try:
            assert first.returncode == 0, first.stderr
            assert re.fullmatch(r"export OPENAI_BASE_URL=http://127\.0\.0\.1:\d+/v1\n", first.stdout)
            pid = int(re.findall(r"pid (\d+)", first.stderr)[0])
            up = psutil.Process(pid)
            assert os.getsid(pid) == pid, "a terminal that closes must not take it along"
            again = watchllm(environ, "up", "-d", "--print-env")
            assert (again.returncode, again.stdout) == (0, first.stdout)
            assert f"running already (pid {pid})" in again.stderr
            family = [up, *up.children(recursive=True)]
        finally:
            ended = watchllm(environ, "down")
        assert ended.returncode == 0, ended.stderr
        assert [each for each in family if each.is_running() and each.status() != psutil.STATUS_ZOMBIE] == []
        assert watchllm(environ, "down").returncode == 3
        assert logged(data / "logs") == {"info"}, "a first start has nothing to warn of"


def logged(directory: Path) -> set[str]:
    """The levels of all lines that the processes of an `up` wrote."""
    texts = [path.read_text() for path in directory.glob("*.log")]
    return {json.loads(line)["level"] for text in texts for line in text.splitlines()}
