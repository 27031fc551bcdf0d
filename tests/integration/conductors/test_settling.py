"""What the upstream tells afterwards of a broken call's cost reaches both stores, whenever it is told."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from uuid import UUID

import orjson
import pytest

from tests.integration.conductors.recording import Killed, Recording, chat, run_until_stored
from watchllm_proxy import crash_points
from watchllm_proxy.records import SETTLES_HEADER, Body, Exchange, ExchangeEnd, settlement_id

CHUNK = {"id": "gen-1", "model": "openai/gpt-4o-mini", "choices": [{"index": 0, "delta": {"content": "Hel"}}]}
TOLD = {
    "total_cost": 0.0015,
    "native_tokens_prompt": 12,
    "native_tokens_completion": 30,
    "native_tokens_cached": 4,
}

only_embedded = pytest.mark.parametrize("empty_event_store", ["embedded"], indirect=True)


def broken(number: int, *, run: str | None = None) -> Exchange:
    """A stream whose client left after a word."""
    plain = chat(number, run=run)
    request = {**orjson.loads(plain.request_body.content), "stream": True}
    sent, got = orjson.dumps(request), b"data: " + orjson.dumps(CHUNK) + b"\n\n"
    return replace(
        plain,
        request_body=Body(sent, len(sent)),
        response_body=Body(got, len(got)),
        response_headers=(("Content-Type", "text/event-stream"), ("X-Generation-Id", "gen-1")),
        end=ExchangeEnd.CLIENT_ABORTED,
    )


def told_of(call: Exchange, **more: object) -> Exchange:
    """As the proxy writes it down, a while later."""
    body = orjson.dumps({"data": {**TOLD, **more}})
    return replace(
        call,
        exchange_id=settlement_id(call.exchange_id),
        method="GET",
        target="/v1/generation?id=gen-1",
        request_headers=((SETTLES_HEADER, str(call.exchange_id)),),
        request_body=Body(b"", 0),
        response_headers=(("Content-Type", "application/json"),),
        response_body=Body(body, len(body)),
        end=ExchangeEnd.COMPLETE,
        started_at_us=call.ended_at_us + 1_000_000,
        client_address="",
    )


async def stored(recording: Recording, call: Exchange) -> dict[str, object]:
    """The call's figures: of its event, and of its step and run."""
    (event,) = await recording.events.query(
        "SELECT cost_usd, upstream_cost_usd, cost_source, price_provider, input_tokens, output_tokens, "
        "cache_read_input_tokens, is_usage_estimated FROM events FINAL WHERE call_id = {call_id:UUID}",
        {"call_id": str(call.exchange_id)},
    )
    step = await recording.runs.pool.fetchrow(
        "SELECT run_id, cost_usd, input_tokens, output_tokens, cache_read_input_tokens FROM agent_debug_steps "
        "WHERE call_id = $1 AND is_priced",
        call.exchange_id,
    )
    run = await recording.runs.pool.fetchrow(
        "SELECT total_cost_usd, input_tokens, output_tokens FROM agent_debug_logs WHERE run_id = $1",
        step["run_id"],
    )
    return {"event": dict(event), "step": dict(step), "run": dict(run)}


def assert_settled(found: dict[str, object]) -> None:
    assert found["event"] == {
        "cost_usd": Decimal("0.0015"),
        "upstream_cost_usd": Decimal("0.0015"),
        "cost_source": "generation",
        "price_provider": None,
        "input_tokens": 12,
        "output_tokens": 30,
        "cache_read_input_tokens": 4,
        "is_usage_estimated": False,
    }
    step, run = found["step"], found["run"]
    assert isinstance(step, dict)
    assert isinstance(run, dict)
    assert (step["cost_usd"], step["input_tokens"], step["output_tokens"]) == (Decimal("0.0015"), 12, 30)
    assert (run["total_cost_usd"], run["input_tokens"]) == (Decimal("0.0015"), 12)


async def test_until_it_is_told_the_cost_is_an_estimate(recording: Recording) -> None:
    call = broken(1)
    await recording.write([call])
    await run_until_stored(recording.recorder())
    event = (await stored(recording, call))["event"]
    assert isinstance(event, dict)
    assert (event["cost_source"], event["is_usage_estimated"]) == ("price_table", True)


async def test_it_is_told_in_the_batch_of_the_call(recording: Recording) -> None:
    call = broken(1)
    await recording.write([call, told_of(call)])
    await run_until_stored(recording.recorder())
    assert_settled(await stored(recording, call))
    await recording.assert_adds_up()


async def test_it_is_told_after_the_call_was_stored(recording: Recording) -> None:
    call = broken(1)
    await recording.write([call])
    recorder = recording.recorder()
    await run_until_stored(recorder)
    await recording.write([told_of(call)])
    await run_until_stored(recorder)
    assert_settled(await stored(recording, call))


async def test_it_is_told_to_another_recorder_than_the_call(recording: Recording) -> None:
    call = broken(1, run="task-7")
    await recording.write([call])
    await run_until_stored(recording.recorder())
    await recording.write([told_of(call)])
    await run_until_stored(recording.recorder())
    assert_settled(await stored(recording, call))
    await recording.assert_adds_up()


@only_embedded
async def test_only_its_own_call_changes(recording: Recording) -> None:
    calls = [broken(n, run="task-7") for n in range(3)]
    await recording.write(calls)
    await run_until_stored(recording.recorder())
    before = [(await stored(recording, call))["event"] for call in calls]
    await recording.write([told_of(calls[1])])
    await run_until_stored(recording.recorder())
    after = [(await stored(recording, call))["event"] for call in calls]
    assert (after[0], after[2]) == (before[0], before[2])
    assert after[1] != before[1]


@pytest.mark.parametrize("point", ["recorder.after_begin", "recorder.after_events", "recorder.after_commit"])
@only_embedded
async def test_a_crash_in_between_settles_it_all_the_same(recording: Recording, point: str) -> None:
    call = broken(1)
    await recording.write([call])
    await run_until_stored(recording.recorder())
    await recording.write([told_of(call)])

    def kill() -> None:
        raise Killed

    crash_points.arm(point, kill)
    with pytest.raises(Killed):
        await run_until_stored(recording.recorder())
    crash_points._armed.clear()
    await run_until_stored(recording.recorder())
    assert_settled(await stored(recording, call))
    await recording.assert_adds_up()


@only_embedded
async def test_what_is_told_of_a_call_that_nobody_has_changes_nothing(recording: Recording) -> None:
    call, gone = chat(1), broken(2)
    await recording.write([call, told_of(gone)])
    await run_until_stored(recording.recorder())
    assert set(await recording.call_ids()) == {call.exchange_id, settlement_id(gone.exchange_id)}
    await recording.assert_adds_up()


@only_embedded
async def test_the_question_itself_costs_nothing_and_is_no_run(recording: Recording) -> None:
    call = broken(1)
    asked = told_of(call)
    await recording.write([call, asked])
    await run_until_stored(recording.recorder())
    (row,) = await recording.events.query(
        "SELECT cost_usd, run_id, target FROM events FINAL WHERE call_id = {call_id:UUID}",
        {"call_id": str(asked.exchange_id)},
    )
    assert row == {"cost_usd": Decimal(0), "run_id": None, "target": "/v1/generation?id=gen-1"}
    assert UUID(str(asked.exchange_id)) == settlement_id(call.exchange_id)
