"""A step beside what its agent's runs usually cost: the same live, in one batch, thought again, and reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import orjson
import pytest

from tests.integration.conductors.recording import Recording, chat, run_until_stored
from tests.integration.conductors.test_backfilling import LONG_AFTER_US, NOW_US, backfill
from tests.integration.conductors.test_reporting import of_run, run_body, step
from watchllm_proxy.records import Body, Exchange

USUAL, DEAR = 20_000, 200_000
SECOND_US = 1_000_000


def run_of(agent: str, number: int, input_tokens: int) -> Exchange:
    """A run of one call, a second after the one before it."""
    plain = chat(number, run=f"{agent}-{number:02}", ended_at_us=NOW_US + number * SECOND_US)
    answer = orjson.loads(plain.response_body.content)
    answer["usage"] = {"prompt_tokens": input_tokens, "completion_tokens": 3, "total_tokens": input_tokens + 3}
    body = orjson.dumps(answer)
    headers = (*plain.request_headers, ("X-Agent-Name", agent))
    return replace(plain, request_headers=headers, response_body=Body(body, len(body)))


RUNS = [
    *[run_of("old-hand", number, USUAL + 100 * number) for number in range(10)],
    *[run_of("newcomer", number, USUAL) for number in range(8)],
    *[run_of(agent, 20, DEAR) for agent in ("old-hand", "newcomer")],
]


async def dear(recording: Recording) -> dict[str, str]:
    """Which runs have a dear step, and what is said of it."""
    rows = await recording.runs.pool.fetch("SELECT run_id, flags FROM agent_debug_logs WHERE run_id LIKE '%-__'")
    found = {row["run_id"]: orjson.loads(row["flags"]) for row in rows}
    return {run_id: flags[0]["message"] for run_id, flags in found.items() if flags}


SAID = {
    "old-hand-20": (
        "Step 1 cost $0.0300, 100% of the run. That is 9.8 times what the dearest step of this agent's runs "
        "usually costs ($0.0031, the median of 10 runs)."
    )
}


@pytest.mark.parametrize("batches", [[20], [10, 8, 2], [4, 14, 1, 1]])
async def test_a_step_is_dear_beside_the_runs_that_its_agent_had_before_wherever_a_batch_ends(
    recording: Recording, batches: Sequence[int]
) -> None:
    waiting = sorted(RUNS, key=lambda each: each.ended_at_us)
    for size in batches:
        await recording.write(waiting[:size])
        del waiting[:size]
        await run_until_stored(recording.recorder())  # each is a new process
    assert await dear(recording) == SAID


async def test_thought_again_and_told_by_a_client_it_is_laid_beside_the_same_runs(recording: Recording) -> None:
    await recording.write([*RUNS, chat(99, run="later", ended_at_us=LONG_AFTER_US)])
    await run_until_stored(recording.recorder())
    await recording.runs.pool.execute("UPDATE agent_debug_logs SET flags = '[]'")
    await backfill(recording)
    assert await dear(recording) == SAID

    told = step(0, api_cost_usd=0.03, token_cost=1)
    for agent in ("old-hand", "newcomer"):
        at = "2026-12-01T00:00:00Z"
        body = run_body(f"{agent}-xx", [{**told, "timestamp": at}], agent_name=agent, started_at=at)
        await recording.write_reports([of_run(body)])
    await run_until_stored(recording.recorder())
    assert list(await dear(recording)) == ["old-hand-20", "old-hand-xx"]
    costs = await recording.runs.pool.fetch(
        "SELECT dearest_step_usd FROM agent_debug_logs WHERE run_id LIKE '%-xx'"
    )
    assert [row["dearest_step_usd"] for row in costs] == [Decimal("0.03")] * 2
