"""A person's corrections through the real stores: asked for, carried out between batches, kept, taken back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID, uuid4

import orjson
import pytest

from tests.capture_records import make_exchange
from tests.integration.conductors.recording import Recording, chat, run_until_stored
from watchllm_proxy import correcting, crash_points
from watchllm_proxy.decode import rebuild
from watchllm_proxy.errors import StoreRejected
from watchllm_proxy.records import Correction, CorrectionKind, Exchange, LinkKind
from watchllm_proxy.store.corrections import Corrections, CorrectionState
from watchllm_proxy.store.reading import StoreReading

SECOND_US = 1_000_000


class Crash(BaseException):
    pass


class Person:
    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.corrections = Corrections(recording.runs.pool)
        self.reading = StoreReading(recording.runs.pool, recording.events, rebuild=rebuild)

    async def ask(self, kind: CorrectionKind, run_id: str, **about: object) -> Correction:
        now_us = time.time_ns() // 1000
        correction = Correction(uuid4(), "default", kind, run_id, now_us, **about)  # type: ignore[arg-type]
        await self.corrections.ask(correction)
        return correction

    async def corrected(self, kind: CorrectionKind, run_id: str, **about: object) -> CorrectionState:
        correction = await self.ask(kind, run_id, **about)
        await run_until_stored(self.recording.recorder())
        return await self.state(correction)

    async def state(self, correction: Correction) -> CorrectionState:
        state = await self.corrections.state("default", correction.correction_id)
        assert state is not None
        return state

    async def calls_of(self, run_id: str) -> list[UUID]:
        steps = await self.reading.get_steps("default", run_id)
        return [step.call_id for step in steps if step.is_priced and step.call_id is not None]

    async def why(self, run_id: str, call_id: UUID) -> list[LinkKind]:
        return [link.kind for link in (await self.reading.get_links("default", run_id))[call_id]]

    async def run_in_events(self, call_id: UUID) -> object:
        sql = (
            "SELECT run_id, session_id FROM events FINAL WHERE call_id = {call_id:UUID} AND project_id = 'default'"
        )
        (row,) = await self.recording.events.query(sql, {"call_id": str(call_id)})
        return row["run_id"], row["session_id"]

    async def rows(self) -> list[object]:
        tables = (
            ("agent_debug_logs", "run_id"),
            ("agent_debug_steps", "run_id, step_index"),
            ("agent_debug_explanations", "run_id, step_index, ordinal"),
            ("run_links", "call_id, ordinal"),
            ("run_anchors", "kind, value"),
        )
        return [
            [tuple(row) for row in await self.recording.runs.pool.fetch(f"SELECT * FROM {table} ORDER BY {order}")]
            for table, order in tables
        ]


@pytest.fixture
def person(recording: Recording) -> Person:
    return Person(recording)


def apart(exchanges: Sequence[Exchange]) -> list[Exchange]:
    """One after the other, the last one just now."""
    now_us = time.time_ns() // 1000
    return [
        replace(each, started_at_us=now_us - (len(exchanges) - n) * SECOND_US, duration_us=SECOND_US // 2)
        for n, each in enumerate(exchanges)
    ]


async def test_a_run_is_split_and_its_calls_move_in_both_stores(recording: Recording, person: Person) -> None:
    calls = await recording.write(apart([chat(n, run="r") for n in range(3)]))
    await run_until_stored(recording.recorder())
    state = await person.corrected(CorrectionKind.SPLIT, "r", call_id=calls[1])
    assert state.refusal is None
    assert state.carried_out is not None
    new = state.carried_out.to_run_id
    assert await person.calls_of("r") == calls[:1]
    assert await person.calls_of(new) == calls[1:]
    row = await person.reading.get_run("default", new)
    assert row is not None
    assert (row.run.title, row.run.total_calls, row.run.session_id) == ("Question 1?", 2, new)
    assert await person.why(new, calls[2]) == [LinkKind.PERSON, LinkKind.EXPLICIT_RUN]
    assert [await person.run_in_events(call) for call in calls] == [("r", "r"), (new, new), (new, new)]


async def test_a_merged_run_is_gone_and_tells_where_it_went(recording: Recording, person: Person) -> None:
    calls = await recording.write(apart([chat(0, run="a"), chat(1, run="b"), chat(2, run="a")]))
    await run_until_stored(recording.recorder())
    before = await person.rows()
    state = await person.corrected(CorrectionKind.MERGE, "b", into_run_id="a")
    assert state.refusal is None
    assert await person.calls_of("a") == calls
    assert await person.reading.get_run("default", "b") is None
    assert await person.corrections.merged_into("default", "b") == "a"
    assert await person.corrections.merged_into("elsewhere", "b") is None
    assert await person.run_in_events(calls[1]) == ("a", "a")

    later = await recording.write([chat(3, run="b")])
    await run_until_stored(recording.recorder())
    assert await person.calls_of("a") == [*calls, *later]
    assert await person.why("a", later[0]) == [LinkKind.EXPLICIT_RUN]

    undone = await person.corrected(CorrectionKind.UNDO, "a", undoes=state.correction.correction_id)
    assert undone.refusal is None
    assert await person.calls_of("b") == [calls[1], *later]
    assert await person.corrections.merged_into("default", "b") is None
    assert await person.run_in_events(calls[1]) == ("b", "b")
    assert len(before[0]) == len((await person.rows())[0])


async def test_taken_back_every_row_is_as_it_was(recording: Recording, person: Person) -> None:
    calls = await recording.write(apart([chat(n, run="r") for n in range(3)]))
    await run_until_stored(recording.recorder())
    before = await person.rows()
    split = await person.corrected(CorrectionKind.SPLIT, "r", call_id=calls[1], is_single=True)
    assert await person.rows() != before
    assert split.carried_out is not None
    await person.corrected(CorrectionKind.UNDO, split.carried_out.to_run_id, undoes=split.correction.correction_id)
    assert await person.rows() == before
    assert (await person.state(split.correction)).is_undone


async def test_a_crash_between_the_stores_changes_nothing_twice(recording: Recording, person: Person) -> None:
    calls = await recording.write(apart([chat(n, run="r") for n in range(3)]))
    await run_until_stored(recording.recorder())
    asked = await person.ask(CorrectionKind.SPLIT, "r", call_id=calls[1])
    crash_points._armed["corrections.after_events"] = _crash
    with pytest.raises(Crash):
        await run_until_stored(recording.recorder())
    assert await person.calls_of("r") == calls
    crash_points._armed.clear()
    await run_until_stored(recording.recorder())
    state = await person.state(asked)
    assert state.carried_out is not None
    assert await person.calls_of("r") == calls[:1]
    assert [(await person.run_in_events(call))[0] for call in calls[1:]] == [state.carried_out.to_run_id] * 2  # type: ignore[index]


def _crash() -> None:
    raise Crash


async def test_what_cannot_be_carried_out_is_refused_and_holds_up_nothing(
    recording: Recording, person: Person
) -> None:
    await recording.write(apart([chat(0, run="a"), chat(1, run="b")]))
    await run_until_stored(recording.recorder())
    before = await person.rows()
    refused = [
        await person.corrected(CorrectionKind.MERGE, "a", into_run_id="nobody"),
        await person.corrected(CorrectionKind.SPLIT, "a", call_id=uuid4()),
        await person.corrected(CorrectionKind.UNDO, "a", undoes=uuid4()),
    ]
    assert [state.refusal[0] for state in refused if state.refusal] == [
        "run_not_found",
        "call_not_found",
        "not_in_force",
    ]
    assert await person.rows() == before
    later = await recording.write([chat(2, run="a")])
    await run_until_stored(recording.recorder())
    assert later[0] in await person.calls_of("a")


async def test_a_store_that_refuses_the_rows_leaves_all_as_it_was(
    recording: Recording, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = await recording.write(apart([chat(n, run="r") for n in range(2)]))
    await run_until_stored(recording.recorder())
    before = await person.rows()

    async def reject(*_: object, **__: object) -> None:
        raise StoreRejected("a poison row")

    with monkeypatch.context() as patched:
        patched.setattr(correcting, "commit_correction", reject)
        state = await person.corrected(CorrectionKind.SPLIT, "r", call_id=calls[1])
    assert state.refusal is not None
    assert state.refusal[0] == "failed"
    assert await person.rows() == before
    assert await person.run_in_events(calls[1]) == ("r", "r")


async def test_a_bug_of_ours_costs_the_correction_and_nothing_else(
    recording: Recording, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = await recording.write(apart([chat(n, run="r") for n in range(2)]))
    await run_until_stored(recording.recorder())

    def crash(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(correcting, "plan", crash)
        state = await person.corrected(CorrectionKind.SPLIT, "r", call_id=calls[1])
    assert state.refusal is not None
    assert state.refusal[0] == "failed"
    later = await recording.write([chat(2, run="r")])
    await run_until_stored(recording.recorder())
    assert await person.calls_of("r") == [*calls, *later]


async def test_a_conversation_goes_on_in_the_run_it_was_put_into(recording: Recording, person: Person) -> None:
    """A tool call is asked for, split off, and answered after a restart."""
    asked = _agents_exchange([{"role": "user", "content": "What is it like?"}], calls=["call_1"])
    results = [
        {"role": "user", "content": "What is it like?"},
        _asking("call_1"),
        {"role": "tool", "tool_call_id": "call_1", "content": "12 °C"},
    ]
    more = _agents_exchange(results, calls=["call_2"])
    calls = await recording.write(apart([asked, more]))
    await run_until_stored(recording.recorder())
    run_id = str((await person.run_in_events(calls[0]))[0])  # type: ignore[index]
    state = await person.corrected(CorrectionKind.SPLIT, run_id, call_id=calls[1])
    assert state.carried_out is not None
    new = state.carried_out.to_run_id
    last = [*results, _asking("call_2"), {"role": "tool", "tool_call_id": "call_2", "content": "[map]"}]
    done = await recording.write([_agents_exchange(last, calls=[])])
    await run_until_stored(recording.recorder())
    assert await person.calls_of(new) == [calls[1], *done]
    outputs = [step.tool_output_summary for step in await person.reading.get_steps("default", new) if step.tool]
    assert outputs == ["[map]"]
    row = await person.reading.get_run("default", new)
    assert row is not None
    assert row.run.agent_name == "Weather"


def _asking(call_id: str) -> dict[str, object]:
    call = {"id": call_id, "type": "function", "function": {"name": "look", "arguments": "{}"}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def _agents_exchange(messages: list[dict[str, object]], *, calls: list[str]) -> Exchange:
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    system = {"role": "system", "content": "Your name is Weather. Be brief."}
    request = {"model": "gpt-4o-mini", "messages": [system, *messages], "tools": tools}
    message = _asking(calls[0]) if calls else {"role": "assistant", "content": "Mild."}
    answer = {
        "id": f"chatcmpl-{uuid4()}",
        "model": "gpt-4o-mini",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13},
    }
    return replace(
        make_exchange(orjson.dumps(request), orjson.dumps(answer)),
        status=200,
        started_at_us=time.time_ns() // 1000,
    )
