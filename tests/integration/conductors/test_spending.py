"""What messages of stored runs cost: read from real stores, adding up to what the runs cost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import orjson
import pytest

from tests.conftest import PROJECT
from tests.integration.conductors.recording import Recording, chat, run_until_stored
from watchllm_proxy.decode import rebuild
from watchllm_proxy.insights.caching import cache_breaks, readable, with_characters
from watchllm_proxy.insights.carried import carried_costs
from watchllm_proxy.records import DEFAULT_PROJECT_ID, Body, Exchange, Report, ReportKind, SentCall
from watchllm_proxy.replay import read_corpus
from watchllm_proxy.store import sent_calls as sent_calls_module
from watchllm_proxy.store import usage
from watchllm_proxy.store.costs import CostBy
from watchllm_proxy.store.reading import StoreReading

TINY = Decimal("1e-9")
PICTURE = "iVBORw0KGgo" * 2_000


def asked(number: int, messages: list[dict[str, object]], *, answer: str = "Yes.", **usage: object) -> Exchange:
    plain = chat(number, run="task")
    got = orjson.loads(plain.response_body.content)
    got["choices"][0]["message"]["content"] = answer
    got["usage"] = usage
    request = orjson.dumps({"model": "gpt-4o-mini", "messages": messages})
    body = orjson.dumps(got)
    return replace(
        plain,
        request_body=Body(request, len(request)),
        response_body=Body(body, len(body)),
        started_at_us=plain.started_at_us + number * 1_000_000,
    )


def reading_of(recording: Recording) -> StoreReading:
    return StoreReading(recording.runs.pool, recording.events, rebuild=rebuild)


async def sent_calls_of(recording: Recording, run_id: str) -> Sequence[SentCall] | None:
    reading = reading_of(recording)
    found = await reading.get_run(DEFAULT_PROJECT_ID, run_id)
    assert found is not None
    return await reading.get_sent_calls(DEFAULT_PROJECT_ID, found.run)


async def test_each_call_tells_what_it_sent_beyond_the_call_before(recording: Recording) -> None:
    system: dict[str, object] = {"role": "system", "content": "Be brief."}
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}}
    user: dict[str, object] = {"role": "user", "content": [{"type": "text", "text": "What is it?"}, picture]}
    ask: dict[str, object] = {
        "role": "assistant",
        "tool_calls": [{"id": "id-1", "type": "function", "function": {"name": "look", "arguments": "{}"}}],
    }
    result: dict[str, object] = {"role": "tool", "tool_call_id": "id-1", "content": "x" * 500}
    calls = [
        asked(1, [system, user], prompt_tokens=1000, completion_tokens=10),
        asked(2, [system, user, ask, result], prompt_tokens=1200, completion_tokens=10),
        asked(3, [system, {"role": "user", "content": "Another."}], prompt_tokens=50, completion_tokens=1),
    ]
    await recording.write(calls)
    await run_until_stored(recording.recorder())
    found = await sent_calls_of(recording, "task")
    assert found is not None
    assert [each.call.call_id for each in found] == [call.exchange_id for call in calls]
    assert [each.kept for each in found] == [0, 2, 1]
    assert [[message.role for message in each.new] for each in found] == [
        ["system", "user"],
        ["assistant", "tool"],
        ["user"],
    ]
    first, second = found[0].new, found[1].new
    assert 3900 < first[1].size < 5000, "a picture counts as a piece, not by its bytes"
    assert [tool_call_id for tool_call_id, _ in second[1].tool_results] == ["id-1"]
    assert 500 < second[1].tool_results[0][1] < 600
    steps = await reading_of(recording).get_steps(DEFAULT_PROJECT_ID, "task")
    costs = carried_costs(found, steps)
    total = await recording.in_postgres("SELECT sum(total_cost_usd) FROM agent_debug_logs")
    assert isinstance(total, Decimal)
    assert abs(costs.total_usd - total) < TINY
    assert abs(sum(e.direct_usd + e.carried_usd for e in costs.steps.values()) - total) < TINY


@pytest.mark.parametrize("empty_event_store", ["embedded"], indirect=True)
@pytest.mark.parametrize("name", ["langgraph_swarm"])
async def test_parts_add_up_for_every_recorded_agent(recording: Recording, name: str) -> None:
    corpus = list(read_corpus(PROJECT / "tests" / "data" / "agents" / f"{name}.jsonl.gz"))
    await recording.write(corpus)
    await run_until_stored(recording.recorder(), within_s=120)
    runs = await recording.runs.pool.fetch("SELECT run_id, total_cost_usd, total_calls FROM agent_debug_logs")
    reading = reading_of(recording)
    compared = carried = 0
    for run in runs:
        sent = await sent_calls_of(recording, run["run_id"])
        assert sent is not None
        costs = carried_costs(sent, await reading.get_steps(DEFAULT_PROJECT_ID, run["run_id"]))
        by_steps = sum((e.direct_usd + e.carried_usd for e in costs.steps.values()), Decimal(0))
        assert abs(by_steps - (run["total_cost_usd"] or 0)) < TINY, run["run_id"]
        compared += run["total_cost_usd"] is not None
        carried += costs.carried_usd > 0
    assert compared > 5
    assert carried > 3


async def test_a_cache_that_broke_is_found_in_what_is_stored(recording: Recording) -> None:
    system: dict[str, object] = {"role": "system", "content": "Be brief. " * 500}
    told: dict[str, Any] = {"completion_tokens": 1, "prompt_tokens": 6000}
    calls = [
        asked(
            1, [system, {"role": "user", "content": "a"}], **told, prompt_tokens_details={"cached_tokens": 5120}
        ),
        asked(
            2,
            [system, {"role": "user", "content": "b"}, {"role": "user", "content": "c"}],
            **told,
            prompt_tokens_details={"cached_tokens": 0},
        ),
    ]
    await recording.write(calls)
    await run_until_stored(recording.recorder())
    sent = await sent_calls_of(recording, "task")
    assert sent is not None
    (broke,) = cache_breaks(sent)
    assert (broke.call_id, broke.tokens_lost, broke.message_index) == (calls[1].exchange_id, 5120, 1)
    assert broke.previous is not None
    assert broke.message is not None
    hashes = [broke.previous.content_hash, broke.message.content_hash]
    contents = await reading_of(recording).get_messages(DEFAULT_PROJECT_ID, hashes)
    assert [readable(contents[each]) for each in hashes] == ["a", "b"]
    assert with_characters([broke], contents)[0].character == 0
    assert await reading_of(recording).get_messages("nobody", hashes) == {}


@pytest.mark.parametrize("empty_event_store", ["embedded"], indirect=True)
async def test_a_run_that_is_too_long_is_told_so(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sent_calls_module, "MAX_MESSAGES_SENT", 1)
    call = asked(1, [{"role": "system", "content": "x"}, {"role": "user", "content": "y"}], prompt_tokens=1)
    await recording.write([call])
    await run_until_stored(recording.recorder())
    assert await sent_calls_of(recording, "task") is None


async def test_the_month_the_costs_and_the_runs_tell_the_same_money_and_reports_stand_beside_it(
    recording: Recording,
) -> None:
    calls = [
        asked(
            number, [{"role": "user", "content": f"{number}?"}], prompt_tokens=1000 * number, completion_tokens=7
        )
        for number in range(1, 6)
    ]
    step = {"step_index": 0, "timestamp": "2026-01-15T10:00:00Z", "type": "model_response", "api_cost_usd": 7}
    now_us = time.time_ns() // 1000
    reports = [
        Report(
            uuid4(),
            DEFAULT_PROJECT_ID,
            ReportKind.RUN,
            name,
            orjson.dumps({"run_id": name, "steps": [step]}),
            now_us,
        )
        for name in ("told", "task")  # one of them was captured as well
    ]
    await recording.write(calls)
    await recording.write_reports(reports)
    await run_until_stored(recording.recorder())
    pool, reading = recording.runs.pool, reading_of(recording)
    runs = {row["run_id"]: row for row in await pool.fetch("SELECT * FROM agent_debug_logs")}
    captured = sum(row["total_cost_usd"] for row in runs.values() if row["reported"] is None)
    assert captured > 0
    assert {name: row["total_cost_usd"] for name, row in runs.items() if row["reported"]} == {
        "told": 7,
        "task~reported": 7,
    }
    day = datetime.fromtimestamp(now_us / 1e6, UTC).date()
    span = day - timedelta(days=2), day + timedelta(days=2)
    used = await usage.used_days(pool, DEFAULT_PROJECT_ID, *span)
    by_key = await usage.spent_by_key(pool, DEFAULT_PROJECT_ID, *span)
    assert sum(each.cost_usd for each in used) == sum(each.cost_usd for each in by_key) == captured
    hour_us = 3_600_000_000
    for by in CostBy:
        from_us = now_us - now_us % hour_us - 24 * hour_us
        groups = await reading.costs(DEFAULT_PROJECT_ID, by, from_us=from_us, to_us=from_us + 48 * hour_us)
        assert sum(each.cost_usd for each in groups) == captured, by
