"""Reports between a real log and real stores: each told once, whatever comes first, twice or after a crash."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.integration.conductors.recording import Killed, Recording, Running, chat, run_until_stored, until_true
from watchllm_proxy import crash_points
from watchllm_proxy.records import Correction, CorrectionKind, Report, ReportKind
from watchllm_proxy.store import erasures
from watchllm_proxy.store.corrections import Corrections
from watchllm_proxy.store.erasures import Erasure, ErasureScope
from watchllm_proxy.store.partitions import drop_expired
from watchllm_proxy.store.reported_reading import EventFilter, search_events
from watchllm_proxy.store.retention import Retention
from watchllm_proxy.store.transfer import EventRows, RunRows
from watchllm_proxy.transferring import check, export, import_

only_embedded = pytest.mark.parametrize("empty_event_store", ["embedded"], indirect=True)
"""For what does not depend on the engine."""

AT = "2026-01-15T10:00:"


def run_body(run_id: str, steps: Sequence[dict[str, Any]] = (), **fields: object) -> bytes:
    return json.dumps({"run_id": run_id, "started_at": f"{AT}00Z", "steps": list(steps), **fields}).encode()


def step(index: int, kind: str = "model_response", **fields: object) -> dict[str, Any]:
    return {
        "step_index": index,
        "timestamp": f"{AT}{index % 60:02}Z",
        "type": kind,
        "summary": f"s{index}",
        **fields,
    }


def event(number: int, kind: str = "prompt_call", run_id: str | None = "r", **fields: object) -> dict[str, Any]:
    told: dict[str, Any] = {
        "event_type": kind, "event_id": f"e{number}", "run_id": run_id, "timestamp": f"{AT}{number:02}Z",
    }  # fmt: skip
    if kind == "prompt_call":
        told |= {
            "model": "gpt-4o-mini",
            "tokens_input": 1000,
            "tokens_output": 100,
            "response": f"answer {number}",
        }
    return told | fields


def of_run(body: bytes, at_us: int = 1) -> Report:
    return Report(uuid4(), "default", ReportKind.RUN, json.loads(body)["run_id"], body, at_us)


def of_events(events: Sequence[dict[str, Any]], at_us: int = 1) -> Report:
    return Report(uuid4(), "default", ReportKind.EVENTS, None, json.dumps(events).encode(), at_us)


ORDER = [
    step(0, "user_input", summary="Where is my order?", token_cost=0, api_cost_usd=0, cache_hit=False),
    step(1, "tool_call", tool="order_lookup", tool_args={"user_id": "user-123", "n": 1.10}, token_cost=45,
         api_cost_usd=0.000135, tool_output_summary="Found order #789"),
    step(2, "model_response", summary="It was shipped", token_cost=32, api_cost_usd=0.000096, custom={"a": [1]}),
]  # fmt: skip


async def rows(recording: Recording) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """Everything that is stored of runs, steps and explanations."""
    pool = recording.runs.pool
    names = ("agent_debug_logs", "agent_debug_steps", "agent_debug_explanations")
    found = [[dict(row) for row in await pool.fetch(f"SELECT * FROM {name} ORDER BY 1, 2, 3")] for name in names]
    return found[0], found[1], found[2]


async def stored_events(recording: Recording) -> list[dict[str, object]]:
    return await recording.events.query("SELECT * EXCEPT (stored_at) FROM reported_events FINAL ORDER BY event_id")


async def tell(recording: Recording, *reports: Report) -> None:
    await recording.write_reports(reports)
    await run_until_stored(recording.recorder())


# --- runs -------------------------------------------------------------------------------------------


async def test_a_reported_run_is_stored_as_it_was_told(recording: Recording) -> None:
    body = run_body(
        "order-1",
        ORDER,
        agent_name="order-assistant-v1",
        ended_at=f"{AT}08Z",
        status="completed",
        meta={"env": "x"},
    )
    await tell(recording, of_run(body))
    (run,), steps, _ = await rows(recording)
    assert (run["run_id"], run["agent_name"], run["status"], run["title"]) == (
        "order-1", "order-assistant-v1", "completed", "Where is my order?",
    )  # fmt: skip
    assert run["total_cost_usd"] == Decimal("0.000231")
    assert (run["total_steps"], run["total_calls"], run["unpriced_calls"]) == (3, 2, 0)
    assert (run["ended_at"] - run["started_at"]).total_seconds() == 8
    assert [(each["type"], each["cost_usd"]) for each in steps] == [
        ("user_input", None), ("tool_call", Decimal("0.000135")), ("model_response", Decimal("0.000096")),
    ]  # fmt: skip
    assert steps[1]["tool_args"] == '{"user_id": "user-123", "n": 1.1}'
    assert json.loads(steps[2]["reported"])["told"]["custom"] == {"a": [1]}


async def test_what_is_sent_a_second_time_changes_nothing(recording: Recording) -> None:
    reports = [
        of_run(run_body("r1", ORDER, status="completed"), at_us=5),
        of_events([event(1), event(2, "error", error={"message": "no"})], at_us=6),
    ]
    await tell(recording, *reports)
    before = await rows(recording), await stored_events(recording)
    await tell(recording, *[type(each)(**{**_fields(each), "report_id": uuid4()}) for each in reports])
    assert (await rows(recording), await stored_events(recording)) == before


def _fields(report: Report) -> dict[str, Any]:
    return {name: getattr(report, name) for name in report.__slots__}  # type: ignore[attr-defined]


@only_embedded
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2), (1, 3, 2, 0)])
async def test_the_parts_of_a_run_give_the_same_run_in_any_order(
    recording: Recording, order: tuple[int, ...]
) -> None:
    """Each in a batch of its own; unit/ingest/test_runs has all orders."""
    parts = [
        of_run(json.dumps({"run_id": "r", "steps": ORDER[1:2]}).encode()),
        of_run(json.dumps({"run_id": "r", "status": "completed", "ended_at": f"{AT}09Z"}).encode()),
        of_run(run_body("r", [ORDER[0], ORDER[2]], agent_name="a")),
        of_events([event(7), event(5, "agent_step", step_number=1, step_type="reasoning")]),
    ]
    for place in order:
        await tell(recording, parts[place])
    (run,), steps, _ = await rows(recording)
    assert (run["agent_name"], run["status"], run["title"]) == ("a", "completed", "Where is my order?")
    assert [each["step_index"] for each in steps] == [0, 1, 2, 3, 4]
    assert [each["type"] for each in steps][3:] == ["decision", "model_response"]
    assert run["total_cost_usd"] == Decimal("0.000441")


@only_embedded
async def test_a_step_that_is_told_anew_is_replaced_as_a_whole(recording: Recording) -> None:
    await tell(recording, of_run(run_body("r", ORDER)))
    await tell(recording, of_run(run_body("r", [step(1, "tool_call", tool="other", api_cost_usd=0.5)])))
    (run,), steps, _ = await rows(recording)
    assert [each["tool"] for each in steps] == [None, "other", None]
    assert steps[1]["tool_output_summary"] is None
    assert run["total_cost_usd"] == Decimal("0.500096")


@only_embedded
async def test_a_step_with_a_model_and_tokens_but_no_cost_is_priced_by_the_table(recording: Recording) -> None:
    steps = [
        step(0, model="gpt-4o-mini", input_tokens=1_000_000, output_tokens=0),
        step(1, model="nobody-knows-it", input_tokens=5, output_tokens=5),
    ]
    await tell(recording, of_run(run_body("r", steps)))
    (run,), stored, _ = await rows(recording)
    assert stored[0]["cost_usd"] == Decimal("0.15")
    assert stored[1]["cost_usd"] is None
    assert (run["total_cost_usd"], run["unpriced_calls"]) == (Decimal("0.15"), 1)


@only_embedded
async def test_what_is_odd_in_a_reported_run_is_kept_exactly_or_shown_as_it_can_be(recording: Recording) -> None:
    odd = b'{"big": 123456789012345678901234567890, "small": 1.00000000000000000000001, "nul": "a\\u0000b"}'
    body = (
        b'{"run_id":"r","started_at":"2026-01-15T10:00:00Z","steps":[{"step_index":0,"timestamp":'
        b'"2026-01-15T10:00:00Z","type":"tool_call","tool":"t\\u0000","tool_args":' + odd + b"}]}"
    )
    await tell(recording, of_run(body))
    _, (stored,), _ = await rows(recording)
    assert stored["tool_args"].encode() == odd
    assert stored["tool"] == "t\ufffd"


@only_embedded
async def test_reported_runs_are_looked_at_for_flags_and_explained(recording: Recording) -> None:
    loop = [step(n, "tool_call", tool="search", tool_args={"q": "same"}) for n in range(4)]
    await tell(recording, of_run(run_body("r", [*loop, step(4, "error", summary="gave up")])))
    (run,), _, explained = await rows(recording)
    assert "loop_detected" in {flag["kind"] for flag in json.loads(run["flags"])}
    assert {row["step_index"] for row in explained} >= {1, 2, 3, 4}


# --- events -----------------------------------------------------------------------------------------


@only_embedded
async def test_events_of_one_run_become_a_run_in_order_of_time(recording: Recording) -> None:
    reasoning = event(2, "agent_step", step_number=0, step_type="reasoning", reasoning="First look it up")
    tool = event(3, "agent_step", step_number=1, step_type="tool_call", step_name="lookup", input_data={"id": 7})
    failed = event(4, status="timeout", error={"message": "too slow", "type": "timeout"})
    await tell(recording, of_events([failed, tool]), of_events([event(5), reasoning]))
    (run,), steps, _ = await rows(recording)
    assert [each["type"] for each in steps] == ["decision", "tool_call", "error", "model_response"]
    assert [each["step_index"] for each in steps] == [0, 1, 2, 3]
    assert (steps[1]["tool"], steps[1]["tool_args"]) == ("lookup", '{"id": 7}')
    assert (steps[2]["error_type"], steps[2]["error_message"]) == ("timeout", "too slow")
    assert (run["status"], run["error_count"], run["is_agent"]) == ("running", 1, True)
    assert run["total_cost_usd"] == Decimal("0.00042")


async def test_every_type_of_event_is_stored_with_its_unknown_fields(recording: Recording) -> None:
    events = [
        event(1, cost_estimate_usd=0.000001, odd={"x": 1.50}),
        event(2, "tool_call", run_id=None, tool="t"),
        event(3, "error", run_id=None, error={"message": "m"}),
        event(4, "assertion_failed", run_id=None),
        event(5, "hallucination_detected", run_id=None, confidence_score=0.5),
        event(6, "cost_threshold_exceeded", run_id=None, threshold=1.5),
        event(7, "performance_alert", run_id=None, window_minutes=5, tags=["slow"]),
    ]
    await tell(recording, of_events(events))
    found = await stored_events(recording)
    assert [row["event_type"] for row in found] == [each["event_type"] for each in events]
    assert found[0]["cost_usd"] == Decimal("0.000001")
    assert json.loads(_text(found[0]["body"]))["odd"] == {"x": 1.5}
    assert (await rows(recording))[0][0]["total_steps"] == 1


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


# --- beside captured runs ---------------------------------------------------------------------------


@only_embedded
@pytest.mark.parametrize("order", ["captured first", "reported first", "one batch"])
async def test_a_run_that_was_reported_under_the_id_of_a_captured_one_stands_beside_it(
    recording: Recording, order: str
) -> None:
    captured = chat(1, run="shared")
    reported = of_run(run_body("shared", ORDER, agent_name="told"))
    for batch in {
        "captured first": [[captured], [reported]],
        "reported first": [[reported], [captured]],
        "one batch": [[reported, captured]],
    }[order]:
        await recording.write_reports(batch)
        await run_until_stored(recording.recorder())
    runs, steps, _ = await rows(recording)
    assert [(row["run_id"], row["parent_run_id"], row["agent_name"]) for row in runs] == [
        ("shared", None, None), ("shared~reported", "shared", "told"),
    ]  # fmt: skip
    assert [row["run_id"] for row in steps].count("shared~reported") == 3
    assert all((row["call_id"] is None) == (row["run_id"] == "shared~reported") for row in steps)
    before = await rows(recording)
    await tell(recording, of_run(run_body("shared", ORDER, agent_name="told")))
    assert await rows(recording) == before


# --- crashes and poison -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "point", ["recorder.after_begin", "recorder.after_reported_events", "recorder.after_commit"]
)
async def test_a_batch_of_reports_cut_short_anywhere_is_finished_with_the_same_rows(
    recording: Recording, point: str
) -> None:
    await tell(recording, of_run(run_body("r", ORDER[:1])))
    await recording.write_reports([of_run(run_body("r", ORDER[1:])), of_events([event(1), event(2)]), chat(1)])

    def kill() -> None:
        raise Killed

    crash_points.arm(point, kill)
    with pytest.raises(Killed):
        await run_until_stored(recording.recorder())
    crash_points._armed.clear()
    recorder = recording.recorder()
    await run_until_stored(recorder)
    runs, steps, _ = await rows(recording)
    assert [row["total_steps"] for row in runs if row["run_id"] == "r"] == [5]
    assert len([row for row in steps if row["run_id"] == "r"]) == 5
    assert await recording.count("reported_events") == 2
    assert recording.in_log(recorder) == 0


@only_embedded
async def test_a_report_that_cannot_be_read_is_set_aside_and_holds_up_no_other(recording: Recording) -> None:
    poison = Report(UUID(int=7), "default", ReportKind.RUN, "bad", b'{"steps":[{"step_index":"x"}]}', 1)
    await tell(recording, of_run(run_body("one", ORDER)), poison, of_run(run_body("two", ORDER)))
    runs, _, _ = await rows(recording)
    assert [row["run_id"] for row in runs] == ["one", "two"]
    letters = await recording.runs.pool.fetch("SELECT record_id, reason FROM dead_letters")
    assert [(row["record_id"], row["reason"]) for row in letters] == [(poison.report_id, "crashed")]
    stored = await recording.in_postgres("SELECT sum(stored_records)::int FROM capture_offsets")
    assert stored == 2


# --- kept, erased, exported -------------------------------------------------------------------------


async def erase(recording: Recording, scope: ErasureScope, subject: str = "") -> dict[str, int]:
    erasure = Erasure(uuid4(), "default", scope, subject, 1)
    await erasures.ask_for(recording.runs.pool, erasure)
    async with Running(recording.recorder()):
        await until_true(lambda: _is_done(recording, erasure.erasure_id), "the erasure")
    progress = await erasures.progress(recording.runs.pool, erasure.erasure_id)
    assert progress.erased is not None, progress.failure
    return progress.erased


async def _is_done(recording: Recording, erasure_id: UUID) -> bool:
    progress = await erasures.progress(recording.runs.pool, erasure_id)
    return progress.erased is not None or progress.failure is not None


@pytest.mark.parametrize(
    ("scope", "subject", "left"),
    [
        (ErasureScope.RUN, "mine", ["r", "r~reported"]),
        (ErasureScope.RUN, "r", ["mine"]),
        (ErasureScope.USER, "ada", ["r", "r~reported"]),
        (ErasureScope.PROJECT, "", []),
    ],
    ids=["a run", "a run that was captured and reported", "a user", "a project"],
)
async def test_what_was_reported_is_erased_with_its_run_its_user_or_its_project(
    recording: Recording, scope: ErasureScope, subject: str, left: list[str]
) -> None:
    events = [event(1, run_id="mine", user_id="ada"), event(2, run_id="r")]
    await recording.write_reports([chat(1, run="r"), of_run(run_body("mine", ORDER)), of_events(events)])
    await run_until_stored(recording.recorder())
    erased = await erase(recording, scope, subject)
    assert [row["run_id"] for row in (await rows(recording))[0]] == left
    events_left = {row["run_id"] for row in await stored_events(recording)}
    assert events_left == {run_id for run_id in ("mine", "r") if run_id in left}
    assert erased["events"] == 2 - len(events_left)


@only_embedded
async def test_reported_events_are_dropped_with_their_partition(recording: Recording) -> None:
    await tell(recording, of_events([event(1)]))
    dropped = await drop_expired(recording.events, date(2200, 1, 1), limit=10)
    assert [each.table for each in dropped] == ["reported_events"]


async def test_a_reported_run_and_its_events_come_back_from_an_export(recording: Recording) -> None:
    reports = [
        of_run(run_body("r", ORDER, meta={"env": "prod"})),
        of_events([event(7), event(8, "error", error={})]),
    ]
    await tell(recording, *reports)
    before = await rows(recording), await stored_events(recording)
    file = io.BytesIO()
    of_runs = RunRows(recording.runs.pool, "default")
    of_events_ = EventRows(recording.events, "default", Retention())
    assert await export(of_runs, of_events_, None, file, lambda *_: None) == 1
    await erase(recording, ErasureScope.PROJECT)
    assert await rows(recording) == ([], [], [])
    file.seek(0)
    assert check(file).runs == 1
    file.seek(0)
    await import_(of_runs, of_events_, file, 1, lambda *_: None)
    assert (await rows(recording), await stored_events(recording)) == before


@only_embedded
async def test_a_reported_run_cannot_be_split_or_merged(recording: Recording) -> None:
    await recording.write_reports([of_run(run_body("told", ORDER)), chat(1, run="seen")])
    await run_until_stored(recording.recorder())
    desk = Corrections(recording.runs.pool)
    before = await rows(recording)
    for run_id, into in (("told", "seen"), ("seen", "told")):
        correction = Correction(uuid4(), "default", CorrectionKind.MERGE, run_id, 1, into_run_id=into)
        await desk.ask(correction)
        async with Running(recording.recorder()):
            await until_true(lambda wanted=correction: _is_answered(desk, wanted), "the correction")
    assert await rows(recording) == before


async def _is_answered(desk: Corrections, correction: Correction) -> bool:
    state = await desk.state("default", correction.correction_id)
    return state is not None and state.refusal is not None


# --- searched ---------------------------------------------------------------------------------------


async def found(recording: Recording, **wanted: Any) -> list[str]:
    page = await search_events(recording.events, "default", EventFilter(**{"order": "asc", **wanted}))
    assert page.total >= len(page.events)
    return [each.event_id for each in page.events]


async def test_events_are_found_by_every_filter_in_every_order_page_by_page(recording: Recording) -> None:
    told = [
        event(
            1, user_id="ada", tags=["a", "b"], latency_ms=30, status="success", response="Ünïcode 100% 'quoted'"
        ),
        event(2, run_id="other", model="m2", latency_ms=10, cost_estimate_usd=9.5),
        event(3, "error", error={"message": "boom"}, status="error", tags=["a"]),
        event(4, "tool_call", run_id=None, latency_ms=20),
    ]
    await tell(recording, of_events(told))
    assert await found(recording) == ["e1", "e2", "e3", "e4"]
    assert await found(recording, run_id="r") == ["e1", "e3"]
    assert await found(recording, user_ids=("nobody", "ada")) == ["e1"]
    assert await found(recording, event_types=("error", "tool_call")) == ["e3", "e4"]
    assert await found(recording, statuses=("error",)) == ["e3"]
    assert await found(recording, models=("m2",)) == ["e2"]
    assert await found(recording, tags=("a", "b")) == ["e1"]
    assert await found(recording, text="ünïcode 100% 'QUOTED'") == ["e1"]
    assert await found(recording, text="no'such\\text") == []
    second = 1_768_471_202_000_000
    assert await found(recording, from_us=second, to_us=second + 1) == ["e2"]
    assert await found(recording, sort_by="latency_ms") == ["e3", "e2", "e4", "e1"]
    assert (await found(recording, sort_by="cost_estimate_usd", order="desc"))[0] == "e2"
    assert await found(recording, offset=3) == ["e4"]
    for sort_by, order in itertools.product(("timestamp", "latency_ms", "cost_estimate_usd"), ("asc", "desc")):
        seen: list[str] = []
        after: tuple[int, str] | None = None
        for _ in told:
            wanted = EventFilter(sort_by=sort_by, order=order, limit=1, after=after)
            page = await search_events(recording.events, "default", wanted)
            assert (page.total, page.has_more) == (4, len(seen) < 3)
            (one,) = page.events
            seen.append(one.event_id)
            after = one.place, one.event_id
        assert seen == await found(recording, sort_by=sort_by, order=order)
    other = await search_events(recording.events, "elsewhere", EventFilter())
    assert (other.events, other.total) == ((), 0)
