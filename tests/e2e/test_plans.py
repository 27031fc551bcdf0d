"""A quota with everything running: to the last request over two workers, kills and a restart; and passed over."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import tempfile
import urllib.error
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg

from tests.e2e.commands import WAIT_S, Command
from tests.e2e.test_keys import watchllm
from tests.fake_openai import FakeOpenAI
from watchllm_proxy.store.embedded import EmbeddedPostgres

WORKERS = 2
NO_ANSWER = 0
CLIENTS = 6
"""At once, each request on a connection of its own, so that both workers get some."""


def test_a_quota_is_used_up_once_by_all_workers_whatever_dies_and_may_be_passed_over() -> None:
    with tempfile.TemporaryDirectory(prefix="watchllm-plans-") as made, FakeOpenAI() as fake:
        os.chmod(made, 0o711)  # as root Postgres runs as another user
        environ = {
            "WATCHLLM_UPSTREAM_URL": fake.url,
            "WATCHLLM_PORT": "0",
            "WATCHLLM_WORKERS": str(WORKERS),
        }
        with Command(Path(made), "up", environ=environ) as up:
            up.serving().ready()
            watchllm(up, "projects", "plan", "default", "free")
            asyncio.run(let_pass(up.data_dir, 0))
            up.until(lambda: {ask(up.origin)[0] for _ in range(20)} == {429}, "both workers to know the quota")
            quota = len(fake.requests) + 40
            asyncio.run(let_pass(up.data_dir, quota))
            up.until(lambda: ask(up.origin)[0] == 200, "a worker to know of more")
            assert set(until_refused(up.origin)) == {200, 429}
            forwarded = len(fake.requests)
            assert quota <= forwarded < quota + WORKERS, "at most one more for each further worker"

            refusal = ask(up.origin)
            assert refusal[1]["error"]["code"] == "quota_exceeded"
            assert 0 < refusal[2] <= 31 * 86_400
            os.kill(up.child("w0").pid, signal.SIGKILL)
            assert set(until_refused(up.origin)) == {429}
            up.until(lambda: used(up)["requests"] == forwarded, "Postgres to know it")
            assert used(up)["refused"]["quota"] > 0
            assert used(up)["warnings"] == ["over_quota"]
            up.until(lambda: 'watchllm_quota_projects{state="over"} 1.0' in metrics(up), "the metrics to tell it")
            assert len(fake.requests) == forwarded
            up.stop()

        with Command(Path(made), "up", environ=environ) as up:
            up.serving()
            assert set(until_refused(up.origin)) == {429}, "before Postgres can be asked"
            up.ready()
            watchllm(up, "projects", "limits", "default", "--over-quota", "pass")
            up.until(lambda: {ask(up.origin)[0] for _ in range(10)} == {200}, "requests to pass again")
            up.until(lambda: used(up)["passed_over_quota"] >= 10, "Postgres to know it")
            assert used(up)["requests"] == forwarded + used(up)["passed_over_quota"]


async def let_pass(data_dir: Path, monthly_requests: int) -> None:
    """Plans are rows: what the free one has is changed beside the running server."""
    dsn = EmbeddedPostgres(data_dir / "postgres").running_dsn
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            await connection.execute("SET LOCAL ROLE watchllm_recorder")
            await connection.execute(
                "UPDATE plans SET monthly_requests = $1 WHERE plan = 'free'", monthly_requests
            )
    finally:
        await connection.close()


def until_refused(origin: str) -> Counter[int]:
    """What requests were answered, many at once, until a hundred in a row were refused."""
    seen: Counter[int] = Counter()
    in_a_row = 0
    with ThreadPoolExecutor(CLIENTS) as clients:
        while in_a_row < 100:
            statuses = list(clients.map(lambda _: ask(origin)[0], range(CLIENTS)))
            seen.update(status for status in statuses if status != NO_ANSWER)
            in_a_row = in_a_row + CLIENTS if set(statuses) == {429} else 0
            assert seen.total() < 2_000, seen
    return seen


def ask(origin: str) -> tuple[int, dict[str, Any], int]:
    """Status, body, and `Retry-After`."""
    request = urllib.request.Request(
        f"{origin}/v1/chat/completions",
        data=b'{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}',
        headers={"Authorization": "Bearer sk-mine", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
            return int(answer.status), json.loads(answer.read()), 0
    except urllib.error.HTTPError as refused:
        return refused.code, json.loads(refused.read()), int(refused.headers["Retry-After"])
    except (urllib.error.URLError, ConnectionError):  # it waited at the door of a worker that was killed
        return NO_ANSWER, {}, 0


def used(up: Command) -> dict[str, Any]:
    month = datetime.now(UTC).strftime("%Y-%m")
    found: dict[str, Any] = json.loads(up.get(f"/api/usage?month={month}"))["usage"]
    return found


def metrics(up: Command) -> str:
    return up.get("/metrics").decode()
