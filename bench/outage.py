"""The recorder stands still while agents go on: does any client notice, and is everything there afterwards?

`watchllm up` before an upstream of our own; its core process (recorder and console) is stopped with SIGSTOP and
continued with SIGCONT. Used by `python -m bench outage` and, shorter, by tests/e2e/test_outage.py.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp import web

from bench import targets
from bench.entering import entered
from bench.processes import find_child, held_still

RUNS = 100
DRAIN_LIMIT_S = 180.0
CLIENT_TIMEOUT_S = 10.0
POLL_S = 0.25
SAMPLED_CALLS = 50


@dataclass(frozen=True, slots=True)
class Plan:
    """Requests at `per_s` for `calm_s`, then on through `outage_s` in which nothing is recorded."""

    per_s: int
    calm_s: float
    outage_s: float


@dataclass(slots=True)
class Phase:
    """What the clients saw: seconds from the instant a request was due to its whole answer."""

    latencies_s: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def percentile_ms(self, share: float) -> float:
        ordered = sorted(self.latencies_s)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass(slots=True)
class Outcome:
    """`lost` and `doubled` name answers; `unreadable` counts sampled calls whose bodies cannot be shown."""

    calm: Phase
    outage: Phase
    sent: int
    stored: int
    lost: list[str]
    doubled: list[str]
    unreadable: int
    drain_s: float  # from the recorder's return until everything was stored


def run(plan: Plan) -> Outcome:
    return asyncio.run(_run(plan))


async def _run(plan: Plan) -> Outcome:
    upstream = web.AppRunner(_upstream(), access_log=None)
    await upstream.setup()
    site = web.TCPSite(upstream, "127.0.0.1", 0)
    await site.start()
    try:
        with tempfile.TemporaryDirectory(prefix="watchllm-bench-") as folder:
            port = upstream.addresses[0][1]
            async with entered(targets.up(Path(folder), port)) as product, _session(product.port) as session:
                core = find_child(product.pids()[0], "core")
                return await _through_the_outage(plan, session, core)
    finally:
        await upstream.cleanup()


async def _through_the_outage(plan: Plan, session: aiohttp.ClientSession, core: int) -> Outcome:
    calm, outage = Phase(), Phase()
    await _drive(session, Phase(), per_s=50, numbers=range(-50, 0))  # connections opened, code warm
    calm_count, outage_count = int(plan.per_s * plan.calm_s), int(plan.per_s * plan.outage_s)
    await _drive(session, calm, plan.per_s, range(calm_count))
    numbers = range(calm_count, calm_count + outage_count)
    with held_still(core):
        await _drive(session, outage, plan.per_s, numbers)
    back_at_s = time.monotonic()
    sent = calm_count + outage_count
    await _until_stored(session, sent)
    drain_s = time.monotonic() - back_at_s
    answers, calls = await _stored(session)
    wanted = {answer_to(number) for number in range(sent)}
    return Outcome(
        calm=calm,
        outage=outage,
        sent=sent,
        stored=sum(answers.values()),
        lost=sorted(wanted - answers.keys()),
        doubled=sorted(answer for answer, count in answers.items() if count > 1),
        unreadable=await _unreadable(session, calls),
        drain_s=drain_s,
    )


def answer_to(number: int) -> str:
    """What the upstream says to a request: unique, so that a stored step tells which call it is."""
    return f"answer to {number}"


# --- the clients ------------------------------------------------------------------------------------


def _session(port: int) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        f"http://127.0.0.1:{port}",
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=CLIENT_TIMEOUT_S),
    )


async def _drive(session: aiohttp.ClientSession, phase: Phase, per_s: int, numbers: range) -> None:
    """An open loop: requests go out when they are due, however slow the answers are."""
    began_s = time.monotonic()
    async with asyncio.TaskGroup() as task_group:
        for index, number in enumerate(numbers):
            due_s = began_s + index / per_s
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            task_group.create_task(_ask(session, phase, number, due_s))


async def _ask(session: aiohttp.ClientSession, phase: Phase, number: int, due_s: float) -> None:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": f"question {number}"}]}
    run_id = f"outage-{number % RUNS}" if number >= 0 else "warm-up"
    try:
        async with session.post("/v1/chat/completions", json=body, headers={"X-Run-Id": run_id}) as response:
            answer = await response.json()
        if response.status != 200 or answer["choices"][0]["message"]["content"] != answer_to(number):
            phase.errors.append(f"{number}: status {response.status}")
    except (aiohttp.ClientError, TimeoutError, ValueError) as exc:
        phase.errors.append(f"{number}: {type(exc).__name__}")
    phase.latencies_s.append(time.monotonic() - due_s)


# --- what was stored --------------------------------------------------------------------------------


async def _until_stored(session: aiohttp.ClientSession, count: int) -> None:
    """Two steps a call: the question and the answer."""
    deadline_s = time.monotonic() + DRAIN_LIMIT_S
    steps = 0
    while time.monotonic() < deadline_s:
        async with session.get(f"/api/agent-runs?limit={2 * RUNS}&kind=all") as response:
            listed = await response.json()
        steps = sum(run["total_steps"] for run in listed["runs"] if run["run_id"] != "warm-up")
        if steps >= 2 * count:
            return
        await asyncio.sleep(POLL_S)
    raise RuntimeError(f"after {DRAIN_LIMIT_S:.0f} s not everything is stored: {steps} of {2 * count} steps")


async def _stored(session: aiohttp.ClientSession) -> tuple[Counter[str], list[str]]:
    """How often each answer is a step of a run, and the ids of the calls."""
    answers: Counter[str] = Counter()
    calls: list[str] = []
    for number in range(RUNS):
        async with session.get(f"/api/agent-runs/outage-{number}/debug") as response:
            steps = (await response.json())["debug"]["steps"]
        said = [step for step in steps if step["type"] == "model_response"]
        answers.update(step["summary"] for step in said)
        calls += [step["call_id"] for step in said]
    return answers, calls


async def _unreadable(session: aiohttp.ClientSession, calls: Sequence[str]) -> int:
    """Of some calls, how many cannot be shown whole: the steps lie in Postgres, the bodies in ClickHouse."""
    missing = 0
    for call_id in calls[:: max(1, len(calls) // SAMPLED_CALLS)]:
        async with session.get(f"/api/calls/{call_id}") as response:
            text = await response.text()
        missing += response.status != 200 or "question" not in text or "answer to" not in text
    return missing


# --- the upstream -----------------------------------------------------------------------------------


def _upstream() -> web.Application:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", _answer)
    return app


async def _answer(request: web.Request) -> web.Response:
    asked = json.loads(await request.read())
    number = asked["messages"][-1]["content"].removeprefix("question ")
    message = {"role": "assistant", "content": f"answer to {number}"}
    return web.json_response(
        {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": asked["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13},
        }
    )
