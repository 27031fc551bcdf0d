"""A project key from its birth to its end, with everything running: in force and out of force within seconds."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tests.e2e.commands import PROJECT, WAIT_S, Command
from tests.fake_openai import FakeOpenAI

WITHIN_S = 20.0
"""Much more than is promised (core.KEY_REFRESH_S + worker.KEY_POLL_S, three): the machine may be busy."""


def test_keys_and_provider_keys_changed_beside_a_running_server_hold_on_every_worker_within_seconds() -> None:
    with tempfile.TemporaryDirectory(prefix="watchllm-keys-") as made, FakeOpenAI() as fake:
        os.chmod(made, 0o711)  # as root Postgres runs as another user
        environ = {
            "WATCHLLM_UPSTREAM_URL": fake.url,
            "WATCHLLM_UPSTREAM_API_KEY": "sk-of-the-upstream",
            "WATCHLLM_PORT": "0",
            "WATCHLLM_WORKERS": "2",
            "WATCHLLM_ALLOW_ANONYMOUS": "off",
            "WATCHLLM_SECRET_KEY": "s" * 44,
        }
        with Command(Path(made), "up", environ=environ) as up:
            up.serving().ready()
            assert status(up.origin, "lgw_proj_" + "x" * 43) == 401
            key = watchllm(up, "keys", "create").strip()
            assert key.startswith("lgw_proj_")
            assert seconds_until(200, up.origin, key) < WITHIN_S
            assert read_status(up.origin, key) == 403, "it sends and reports, and reads nothing"
            assert paid_with(fake) == "Bearer sk-of-the-upstream"

            watchllm(up, "provider-keys", "set", typed="sk-of-the-project")
            until(lambda: status(up.origin, key) == 200 and paid_with(fake) == "Bearer sk-of-the-project")

            new = watchllm(up, "keys", "rotate", key, "--grace", "0s").strip()
            assert seconds_until(401, up.origin, key) < WITHIN_S
            assert seconds_until(200, up.origin, new) < WITHIN_S

            reader = watchllm(up, "keys", "create", "--scope", "read").strip()
            until(lambda: read_status(up.origin, reader) == 200)
            assert seconds_until(403, up.origin, reader) < WITHIN_S
            watchllm(up, "projects", "revoke", "default", "--yes")
            assert seconds_until(401, up.origin, new) < WITHIN_S
            until(lambda: read_status(up.origin, reader) == 401)
            assert {status(up.origin, new) for _ in range(20)} == {401}, "of both workers"
            for secret in (key, new, reader, "sk-of-the-project"):
                assert secret not in up.err
                assert secret not in up.data_dir.joinpath("keys.json").read_text()


def paid_with(fake: FakeOpenAI) -> str:
    """The credential that came with the newest call."""
    return str(fake.requests[-1].header("Authorization"))


def until(condition: Callable[[], bool]) -> None:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < WITHIN_S, "it did not come true"
        time.sleep(0.05)  # between two looks


def watchllm(up: Command, *words: str, typed: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-m", "watchllm_proxy", *words],
        input=typed,
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


def read_status(origin: str, key: str) -> int:
    return _answered(urllib.request.Request(f"{origin}/api/agent-runs", headers={"X-WatchLLM-Key": key}))


def status(origin: str, key: str) -> int:
    request = urllib.request.Request(
        f"{origin}/v1/chat/completions",
        data=b'{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}',
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    return _answered(request)


def _answered(request: urllib.request.Request) -> int:
    try:
        with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code
