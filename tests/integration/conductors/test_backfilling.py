"""Stored calls thought about again: the same rows where the rules are the same, whole runs where they are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from uuid import UUID

import orjson
import pytest

from tests.conftest import PROJECT
from tests.integration.conductors.recording import SILENCE_US, Recording, chat, run_until_stored
from watchllm_proxy import crash_points
from watchllm_proxy.backfilling import Backfill
from watchllm_proxy.pricing import Pricing
from watchllm_proxy.records import Correction, CorrectionKind, Exchange
from watchllm_proxy.replay import read_corpus
from watchllm_proxy.sessionize import Sessionizer
from watchllm_proxy.sessionize.person import SaidByPeople
from watchllm_proxy.store import prices
from watchllm_proxy.store.backfills import Progress
from watchllm_proxy.store.corrections import Corrections

DAY_US = 86_400_000_000
NOW_US = 1_790_000_000_000_000
LONG_AFTER_US = NOW_US + 3 * DAY_US
TABLES = {
    "agent_debug_logs": "run_id",
    "agent_debug_steps": "run_id, step_index",
    "agent_debug_explanations": "run_id, step_index, ordinal",
    "run_links": "call_id, ordinal",
}


class Crash(BaseException):
    """Stands for kill -9."""


async def rows(recording: Recording) -> dict[str, list[dict[str, object]]]:
    """All that is stored of runs, in both stores."""
    found = {
        table: [dict(row) for row in await recording.runs.pool.fetch(f"SELECT * FROM {table} ORDER BY {order}")]
        for table, order in TABLES.items()
    }
    sql = "SELECT toString(call_id) AS call, run_id, session_id, parent_run_id FROM events FINAL ORDER BY call"
    return {**found, "events": await recording.events.query(sql)}


async def backfill(
    recording: Recording, *, from_us: int = 0, is_dry: bool = False, rules: object = None
) -> Progress:
    work = Backfill(
        recording.runs,
        recording.events,
        "default",
        new_sessionizer=rules or (lambda shelf: Sessionizer(silence_us=SILENCE_US, shelf=shelf)),  # type: ignore[arg-type]
        said=SaidByPeople(await Corrections(recording.runs.pool).in_force()),
        pricing=Pricing(recording.runs.pool, None),
        now_us=LONG_AFTER_US,
        is_dry=is_dry,
    )
    return await work.run(from_us or NOW_US - 5 * DAY_US, LONG_AFTER_US)


def corpus(name: str) -> list[Exchange]:
    """Recorded agents, moved to days of which the last is long past."""
    exchanges = list(read_corpus(PROJECT / "tests" / "data" / "agents" / f"{name}.jsonl.gz"))
    later_us = NOW_US - max(each.ended_at_us for each in exchanges)
    return sorted(
        (replace(each, started_at_us=each.started_at_us + later_us) for each in exchanges),
        key=lambda each: (each.ended_at_us, each.exchange_id),
    )


async def recorded(recording: Recording, exchanges: Sequence[Exchange]) -> None:
    """Stored, with a call long after them: so they are settled."""
    await recording.write([*exchanges, chat(999_999, ended_at_us=LONG_AFTER_US)])
    await run_until_stored(recording.recorder(), within_s=120)


@pytest.mark.parametrize("name", ["openai_agents", "smolagents", "mix_sampled"])
async def test_the_same_rules_give_the_same_rows(recording: Recording, name: str) -> None:
    exchanges = corpus(name)
    await recorded(recording, exchanges)
    before = await rows(recording)
    done = await backfill(recording)
    after = await rows(recording)
    for table, expected in before.items():
        assert after[table] == expected, table
    assert (done.thought_calls, done.moved_calls, done.left_calls) == (len(exchanges), 0, 0)
    assert await recording.in_postgres("SELECT count(*) FROM backfills") == 0


def forgetful(shelf: object) -> Sessionizer:
    """Other rules: nothing is known for longer than a moment, so that most calls begin a run."""
    return Sessionizer(silence_us=SILENCE_US, horizon_us=50_000, shelf=shelf)  # type: ignore[arg-type]


async def test_other_rules_move_calls_and_the_old_ones_move_them_back(recording: Recording) -> None:
    """Runs that come to be, go, are numbered anew: nothing of them is left over when it is undone."""
    await recorded(recording, corpus("instructor"))
    before = await rows(recording)
    done = await backfill(recording, rules=forgetful)
    otherwise = await rows(recording)
    assert done.moved_calls > 3
    assert done.left_calls == 0
    assert len(otherwise["agent_debug_logs"]) > len(before["agent_debug_logs"])
    named = {row["run_id"] for row in otherwise["events"]} - {None}
    assert named == {row["run_id"] for row in otherwise["agent_debug_logs"]}
    back = await backfill(recording)
    assert back.moved_calls == done.moved_calls
    assert await rows(recording) == before


async def test_a_dry_run_counts_what_would_move_and_writes_nothing(recording: Recording) -> None:
    await recorded(recording, corpus("instructor"))
    before = await rows(recording)
    would = await backfill(recording, rules=forgetful, is_dry=True)
    assert await rows(recording) == before
    assert await recording.in_postgres("SELECT count(*) FROM backfills") == 0
    done = await backfill(recording, rules=forgetful)
    assert (would.thought_calls, would.moved_calls) == (done.thought_calls, done.moved_calls)


@pytest.mark.parametrize("point", ["backfill.after_events", "backfill.after_runs"])
async def test_one_that_was_killed_is_taken_up(
    recording: Recording, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watchllm_proxy.backfilling.WRITTEN_AT_ONCE", 20)
    later = [replace(each, exchange_id=UUID(int=each.exchange_id.int ^ 1)) for each in corpus("instructor")]
    earlier = [replace(each, started_at_us=each.started_at_us - 2 * DAY_US) for each in corpus("langgraph_swarm")]
    await recorded(recording, [*earlier, *later])
    before = await rows(recording)
    await backfill(recording, rules=forgetful)
    expected = await rows(recording)
    assert expected != before
    await backfill(recording)
    passed = 0

    def kill() -> None:
        nonlocal passed
        passed += 1
        if passed % 2 == 0:
            raise Crash

    crash_points.arm(point, kill)
    kills = 0
    for _ in range(20):
        try:
            done = await backfill(recording, rules=forgetful)
            assert done.thought_calls == len(earlier) + len(later)  # those of before the kills as well, and once
            break
        except Crash:
            kills += 1
            assert await recording.in_postgres("SELECT count(*) FROM backfills WHERE done_until > from_at") == 1
            crash_points.arm(point, kill) if kills < 3 else crash_points._armed.clear()
    assert kills == 3
    assert await rows(recording) == expected


async def test_a_window_that_cuts_runs_in_two_writes_them_whole(recording: Recording) -> None:
    exchanges = corpus("crewai")
    await recorded(recording, exchanges)
    before = await rows(recording)
    middle = exchanges[len(exchanges) // 2].ended_at_us
    done = await backfill(recording, from_us=middle)
    assert 0 < done.thought_calls < len(exchanges)
    assert (done.moved_calls, done.left_calls) == (0, 0)
    assert await rows(recording) == before


async def test_named_runs_of_several_days_stay_whole(recording: Recording) -> None:
    """Their calls are in several windows; evidence of one is a day away from that of the other."""
    exchanges = [
        chat(number, run=f"r{number % 3}", ended_at_us=NOW_US - 4 * DAY_US + number * DAY_US // 4)
        for number in range(16)
    ]
    await recorded(recording, exchanges)
    before = await rows(recording)
    done = await backfill(recording)
    assert (done.thought_calls, done.moved_calls, done.left_calls) == (16, 0, 0)
    assert await rows(recording) == before


async def test_what_is_wrong_in_the_rows_is_put_right(recording: Recording) -> None:
    await recorded(recording, [chat(n, run="r", ended_at_us=NOW_US + n) for n in range(3)])
    before = await rows(recording)
    await recording.runs.pool.execute("UPDATE agent_debug_logs SET title = 'wrong' WHERE run_id = 'r'")
    await recording.runs.pool.execute("UPDATE agent_debug_steps SET summary = 'wrong', occurrence = 'o'")
    assert await rows(recording) != before
    await backfill(recording)
    (run, *_) = [row for row in (await rows(recording))["agent_debug_logs"] if row["run_id"] == "r"]
    assert run["title"] == "Question 0?"


async def test_a_persons_word_is_obeyed(recording: Recording) -> None:
    calls = await recording.write([chat(n, run="r", ended_at_us=NOW_US + n * 1_000_000) for n in range(4)])
    await recorded(recording, [])
    correction = Correction(
        UUID(int=7), "default", CorrectionKind.SPLIT, "r", LONG_AFTER_US, call_id=calls[1], is_single=True
    )
    await Corrections(recording.runs.pool).ask(correction)
    await run_until_stored(recording.recorder())
    before = await rows(recording)
    state = await Corrections(recording.runs.pool).state("default", correction.correction_id)
    assert state is not None
    assert state.carried_out is not None, state.refusal
    done = await backfill(recording, rules=forgetful)
    after = await rows(recording)
    assert done.moved_calls == 0
    assert after["events"] == before["events"]
    placed = {row["call_id"]: row["run_id"] for row in after["run_links"] if row["ordinal"] == 0}
    assert placed[calls[1]] == state.carried_out.to_run_id
    assert {placed[call] for call in (calls[0], *calls[2:])} == {"r"}


async def test_calls_whose_text_is_gone_stay_where_they_are(recording: Recording) -> None:
    plain = [chat(n, ended_at_us=NOW_US + n * 1_000_000) for n in range(4)]
    silent = replace(plain[1], request_headers=(*plain[1].request_headers, ("X-WatchLLM-No-Content", "true")))
    await recorded(recording, [plain[0], silent, *plain[2:]])
    before = await rows(recording)
    done = await backfill(recording, rules=forgetful)
    assert done.left_calls == 1
    assert await rows(recording) == before


async def test_what_may_still_be_continued_is_left_alone(recording: Recording) -> None:
    await recorded(recording, [chat(1, ended_at_us=NOW_US), chat(2, ended_at_us=LONG_AFTER_US - DAY_US // 2)])
    done = await backfill(recording)
    assert done.thought_calls == 1
    assert done.done_until_us == LONG_AFTER_US - DAY_US


async def costs(recording: Recording) -> list[tuple[object, ...]]:
    """What each call costs by ClickHouse, and by its step in Postgres."""
    events = await recording.events.query(
        "SELECT toString(call_id) AS call, cost_usd, cost_source, price_date FROM events FINAL "
        "WHERE isNotNull(run_id) ORDER BY call"
    )
    found = await recording.runs.pool.fetch("SELECT call_id, cost_usd FROM agent_debug_steps WHERE is_priced")
    by_step = {str(row["call_id"]): row["cost_usd"] for row in found}
    return [(row["cost_usd"], by_step[str(row["call"])], row["cost_source"], row["price_date"]) for row in events]


async def test_stored_calls_are_priced_by_todays_prices(recording: Recording) -> None:
    stated = {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13, "cost": 0.5}
    calls = [chat(number, ended_at_us=NOW_US) for number in range(3)]
    answer = orjson.loads(calls[2].response_body.content) | {"usage": stated}
    body = orjson.dumps(answer)
    calls[2] = replace(calls[2], response_body=replace(calls[2].response_body, content=body, size_bytes=len(body)))
    await recorded(recording, calls)
    before = await costs(recording)
    await prices.set_override(recording.runs.pool, "default", "gpt-4o-mini", {"input": "1", "output": "10"})
    would = await backfill(recording, is_dry=True)
    assert await costs(recording) == before
    done = await backfill(recording)
    assert (would.repriced_calls, done.repriced_calls, done.moved_calls) == (2, 2, 0)
    after = await costs(recording)
    assert sorted((usd, source) for usd, _, source, _ in after) == [
        (Decimal("0.0000033"), "price_table"),  # too late to be settled: left as it was
        (Decimal("0.00004"), "override"),
        (Decimal("0.00004"), "override"),
        (Decimal("0.5"), "upstream"),
    ]
    assert all(usd == by_step for usd, by_step, *_ in after)
    total = await recording.in_postgres("SELECT sum(total_cost_usd) FROM agent_debug_logs")
    assert total == sum(usd for usd, *_ in after)  # type: ignore[misc]
    assert (await backfill(recording)).repriced_calls == 0
    await prices.remove_override(recording.runs.pool, "default", "gpt-4o-mini")
    assert (await backfill(recording)).repriced_calls == 2
    assert await costs(recording) == before
