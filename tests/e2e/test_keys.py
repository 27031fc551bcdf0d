"""A project key from its birth to its end, with everything running: in force and out of force within seconds."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.e2e.commands import PROJECT, WAIT_S, Command
from tests.fake_openai import FakeOpenAI

WITHIN_S = 6.0
"""Twice what is promised (core.KEY_REFRESH_S + app.KEY_POLL_S): the machine may be busy."""


def test_a_key_made_beside_a_running_server_is_let_in_and_once_revoked_is_not() -> None:
    with tempfile.TemporaryDirectory(prefix="watchllm-keys-") as made, FakeOpenAI() as fake:
        os.chmod(made, 0o711)  # as root Postgres runs as another user
        environ = {
            "WATCHLLM_UPSTREAM_URL": fake.url,
            "WATCHLLM_UPSTREAM_API_KEY": "sk-of-the-upstream",
            "WATCHLLM_PORT": "0",
            "WATCHLLM_WORKERS": "2",
            "WATCHLLM_ALLOW_ANONYMOUS": "off",
        }
        with Command(Path(made), "up", environ=environ) as up:
            up.serving().ready()
            assert status(up.origin, "lgw_proj_" + "x" * 43) == 401
            key = watchllm(up, "keys", "create").strip()
            assert key.startswith("lgw_proj_")
            assert seconds_until(200, up.origin, key) < WITHIN_S
            watchllm(up, "keys", "revoke", key)
            assert seconds_until(401, up.origin, key) < WITHIN_S
            assert {status(up.origin, key) for _ in range(20)} == {401}, "of both workers"
            assert key not in up.err


def watchllm(up: Command, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "watchllm_proxy", *words],
        env=up.environ,
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=True,
    )
    return done.stdout


def seconds_until(expected: int, origin: str, key: str) -> float:
    """How long until twenty requests in a row, each on a connection of its own, are answered so."""
    began = time.monotonic()
    in_a_row = 0
    while in_a_row < 20:
        in_a_row = in_a_row + 1 if status(origin, key) == expected else 0
        if time.monotonic() - began > WAIT_S:
            raise AssertionError(f"{status(origin, key)} did not become {expected} within {WAIT_S} s")
        if not in_a_row:
            time.sleep(0.05)  # between two looks
    return time.monotonic() - began


def status(origin: str, key: str) -> int:
    request = urllib.request.Request(
        f"{origin}/v1/chat/completions",
        data=b'{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}',
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code
