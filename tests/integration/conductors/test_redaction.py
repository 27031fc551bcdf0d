"""What is redacted reaches neither store in any shape, through any door, and runs are found as without."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest

from tests import canaries
from tests.capture_records import make_exchange
from tests.integration.conductors.recording import Bug, Recording, Running, chat, run_until_stored, until_true
from watchllm_proxy import recorder_metrics
from watchllm_proxy.console.answers import dumps
from watchllm_proxy.console.api.debug import debug_document
from watchllm_proxy.console.desk import NobodysDesk
from watchllm_proxy.console.loading import load_run
from watchllm_proxy.console.pages.step import step_detail
from watchllm_proxy.console.redaction import Wishes
from watchllm_proxy.decode import rebuild
from watchllm_proxy.enrich.redaction.kinds import RedactionMode
from watchllm_proxy.enrich.redaction.own import BadRule, OwnRule
from watchllm_proxy.records import DEFAULT_PROJECT_ID, Body, Exchange, Report, ReportKind
from watchllm_proxy.redacting import ProjectRedaction, Redacting
from watchllm_proxy.store import erasures, project_settings
from watchllm_proxy.store.erasures import Erasure, ErasureScope
from watchllm_proxy.store.project_settings import ProjectSettings
from watchllm_proxy.store.reading import StoreReading
from watchllm_proxy.store.shapes import RunQuery

KEY = bytes(range(32))


def redacting(recording: Recording, mode: RedactionMode = RedactionMode.ALL) -> Redacting:
    return Redacting(recording.runs.pool, KEY, mode)


async def wants(recording: Recording, **settings: Any) -> None:
    def edit(before: ProjectSettings) -> ProjectSettings:
        return replace(before, **settings)

    assert await project_settings.change(recording.runs.pool, DEFAULT_PROJECT_ID, edit)


# --- doors ------------------------------------------------------------------------------------------


def tool_run() -> list[Exchange]:
    """Two calls of an agent; the values are in the prompt, the arguments (escaped), the result, the answer."""
    arguments = orjson.dumps({"to": canaries.EMAIL, "card": int(canaries.CARD), "body": canaries.TEXT}).decode()
    asked = {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "send", "arguments": arguments}},
        ],
    }
    prompt = [{"role": "system", "content": f"You are a helper of {canaries.EMAIL}."},
              {"role": "user", "content": canaries.TEXT}]  # fmt: skip
    nested = orjson.dumps({"sent": True, "password": canaries.PASSWORD, "log": f"\n{canaries.TEXT}"}).decode()
    result = {"role": "tool", "tool_call_id": "call_1", "content": nested}
    return [
        completion(prompt, asked, "tool_calls"),
        completion([*prompt, asked, result], {"role": "assistant", "content": canaries.TEXT}, "stop"),
    ]


def completion(messages: Sequence[object], answer: object, reason: str) -> Exchange:
    body = {
        "model": "gpt-4o-mini",
        "messages": messages,
        "user": canaries.EMAIL,
        "metadata": {"who": canaries.TEXT},
    }
    choice = {"index": 0, "message": answer, "finish_reason": reason}
    made = {"id": "chatcmpl-1", "model": "gpt-4o-mini", "choices": [choice], "system_fingerprint": canaries.TEXT}
    exchange = make_exchange(orjson.dumps(body), orjson.dumps(made))
    headers = (
        ("X-Run-Id", f"run of {canaries.EMAIL}"),
        ("X-User-Id", canaries.EMAIL),
        ("X-Agent-Name", f"agent {canaries.KEYS['openai']}"),
        ("X-Run-Tags", f"who={canaries.EMAIL}"),
        ("User-Agent", f"bird/{canaries.KEYS['github']}"),
    )
    return replace(
        exchange,
        target=f"/v1/chat/completions?to={canaries.EMAIL.replace('@', '%40')}&pw={canaries.KEYS['anthropic']}",
        request_headers=(*exchange.request_headers, *headers),
        client_address=f"{canaries.IP}:51234",
        status=200,
    )


def stream() -> Exchange:
    """Every value comes in pieces of three characters."""
    text = canaries.TEXT
    pieces = [text[at : at + 3] for at in range(0, len(text), 3)]
    events = [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in pieces]
    body = b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events) + b"data: [DONE]\n\n"
    exchange = make_exchange(orjson.dumps({"model": "m", "stream": True, "messages": []}), body)
    return replace(exchange, response_headers=(("Content-Type", "text/event-stream"),), status=200)


def failure() -> Exchange:
    error = {"error": {"message": canaries.TEXT, "type": canaries.EMAIL, "code": canaries.EMAIL}}
    exchange = make_exchange(
        orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "?"}]}), orjson.dumps(error)
    )
    return replace(exchange, status=400)


def not_json() -> list[Exchange]:
    """Bodies that are kept as bytes: text, a cut document, no UTF-8."""
    cut = orjson.dumps({"messages": [{"role": "user", "content": f"a\n{canaries.TEXT}"}]})[:-3]
    return [
        replace(make_exchange(body, canaries.TEXT.encode()), status=200)
        for body in (canaries.TEXT.encode(), cut, b"\xff\xfe" + canaries.TEXT.encode())
    ]


def every_door() -> list[Exchange]:
    return [*tool_run(), stream(), failure(), *not_json()]


# --- the stores, whole ------------------------------------------------------------------------------


async def everything(recording: Recording) -> list[bytes]:
    """All rows of all tables of both stores."""
    texts: list[bytes] = []
    tables = await recording.runs.pool.fetch(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()"
    )
    for (table,) in tables:
        for row in await recording.runs.pool.fetch(f"SELECT * FROM {table}"):
            texts += [value if isinstance(value, bytes) else str(value).encode() for value in row.values()]
    for named in await recording.events.query("SELECT name FROM system.tables WHERE database = currentDatabase()"):
        columns = await recording.events.query(
            f"SELECT name FROM system.columns WHERE database = currentDatabase() AND table = '{named['name']}'"
        )
        shown = ", ".join(f"hex(toString(`{column['name']}`)) AS `{column['name']}`" for column in columns)
        rows = await recording.events.query(f"SELECT {shown} FROM {named['name']}") if columns else []
        texts += [bytes.fromhex(str(value)) for row in rows for value in row.values() if value is not None]
    return texts


@pytest.mark.parametrize("keep_raw_days", [0, 7])
async def test_no_value_reaches_a_store_through_any_door(recording: Recording, keep_raw_days: int) -> None:
    await recording.write(every_door())
    await run_until_stored(recording.recorder(keep_raw_days=keep_raw_days, redacting=redacting(recording)))
    texts = await everything(recording)
    assert await recording.count("events") == len(every_door())
    assert canaries.found_in(texts) == set()
    assert any(b"[email_" in text for text in texts)


async def test_without_redaction_the_same_look_finds_every_value(recording: Recording) -> None:
    await recording.write(every_door())
    await run_until_stored(recording.recorder(redacting=redacting(recording, RedactionMode.OFF)))
    assert canaries.found_in(await everything(recording)) == set(canaries.ALL)


async def test_a_project_that_wants_secrets_only_keeps_addresses(recording: Recording) -> None:
    await wants(recording, redaction="secrets")
    await recording.write(every_door())
    await run_until_stored(recording.recorder(redacting=redacting(recording)))
    found = canaries.found_in(await everything(recording))
    assert canaries.EMAIL in found
    assert not found & {*canaries.KEYS.values(), canaries.PASSWORD}


async def test_a_project_adds_rules_of_its_own_while_the_recorder_runs(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project_settings, "SETTINGS_S", 0.0)
    recorder = recording.recorder(redacting=redacting(recording))
    async with Running(recorder):
        await recording.write([said("Bluebird flies")])
        await until_true(lambda: stored(recording, 1), "the first")
        await wants(recording, redaction_rules=(("project", "Bluebird"),))
        await recording.write([said("Bluebird sings")])
        await until_true(lambda: stored(recording, 2), "the second")
    told = recorder_metrics.exposition(recorder.stats)
    assert b'watchllm_recorder_redacted_values_total{kind="custom"} 2.0' in told
    texts = await everything(recording)
    assert any(b"Bluebird flies" in text for text in texts)
    assert not any(b"Bluebird sings" in text for text in texts)
    (row,) = await recording.events.query(
        "SELECT redacted['custom.project'] AS found FROM events ORDER BY started_at DESC LIMIT 1"
    )
    assert row["found"] == "2", "in the question and in the answer"


async def test_a_project_that_wants_no_content_keeps_figures_only(recording: Recording) -> None:
    await wants(recording, store_content=False, redaction="off")
    await recording.write([said("Bluebird flies"), *every_door()])
    await run_until_stored(recording.recorder(keep_raw_days=7, redacting=redacting(recording)))
    assert await recording.count("events") == 1 + len(every_door())
    assert await recording.count("messages") == 0
    assert await recording.count("raw_exchanges") == 0
    assert not any(b"Bluebird" in text for text in await everything(recording))


async def test_rules_that_can_no_longer_be_used_cost_their_project_its_content_not_its_secrets(
    recording: Recording,
) -> None:
    """They were checked when they were set; only a newer RE2, or a hand in the database, brings this about."""
    await wants(recording, redaction_rules=(("broken", "("),))
    await recording.write(every_door())
    await run_until_stored(recording.recorder(redacting=redacting(recording)))
    assert await recording.count("events") == len(every_door())
    assert await recording.count("messages") == 0
    assert canaries.found_in(await everything(recording)) == set()


def said(text: str) -> Exchange:
    body = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": text}]})
    answer = orjson.dumps({"id": "x", "choices": [{"message": {"role": "assistant", "content": text}}]})
    return replace(
        chat(1), exchange_id=uuid4(), request_body=Body(body, len(body)), response_body=Body(answer, len(answer))
    )


async def stored(recording: Recording, calls: int) -> bool:
    return await recording.count("events") == calls


async def test_a_record_that_a_bug_sets_aside_keeps_no_value_and_can_be_tried_again(
    recording: Recording, bug: Bug
) -> None:
    exchanges = every_door()
    bug({exchange.exchange_id for exchange in exchanges})
    await recording.write(exchanges)
    await run_until_stored(recording.recorder(redacting=redacting(recording)))
    assert len(await recording.dead_letters()) == len(exchanges)
    assert canaries.found_in(await everything(recording)) == set()
    bug(set())
    await recording.runs.pool.execute("UPDATE dead_letters SET retry_requested_at = now()")
    await run_until_stored(recording.recorder(redacting=redacting(recording)))
    assert await recording.count("events") == len(exchanges)
    assert canaries.found_in(await everything(recording)) == set()


async def test_of_a_record_that_its_client_wants_no_content_of_nothing_is_set_aside(
    recording: Recording, bug: Bug
) -> None:
    refused = replace(said("Bluebird"), request_headers=(("X-WatchLLM-No-Content", "true"),))
    bug({refused.exchange_id})
    await recording.write([refused])
    await run_until_stored(recording.recorder(redacting=redacting(recording)))
    assert len(await recording.dead_letters()) == 1
    assert not any(b"Bluebird" in text for text in await everything(recording))


async def test_a_user_whose_id_was_redacted_is_erased_by_the_id(recording: Recording) -> None:
    others = [chat(1), chat(2)]
    await recording.write([*tool_run(), *others])
    recorder = recording.recorder(redacting=redacting(recording))
    await run_until_stored(recorder)
    erasure = Erasure(uuid4(), DEFAULT_PROJECT_ID, ErasureScope.USER, canaries.EMAIL, time.time_ns() // 1000)
    await erasures.ask_for(recording.runs.pool, erasure)

    async def is_done() -> bool:
        return (await erasures.progress(recording.runs.pool, erasure.erasure_id)).erased is not None

    async with Running(recorder):
        await until_true(is_done, "the erasure")
    assert sorted(await recording.call_ids()) == sorted(exchange.exchange_id for exchange in others)


async def test_a_user_is_looked_for_by_the_id_that_was_sent(recording: Recording) -> None:
    await recording.write([*tool_run(), chat(1)])
    await run_until_stored(recording.recorder(redacting=redacting(recording)))
    desk = ProjectRedaction(recording.runs.pool, KEY, RedactionMode.ALL)
    user = await desk.as_stored(DEFAULT_PROJECT_ID, canaries.EMAIL)
    assert user.startswith("[email_")
    reading = StoreReading(recording.runs.pool, recording.events, rebuild=rebuild)
    found = await reading.list_runs(DEFAULT_PROJECT_ID, RunQuery(user=user, with_chats=True))
    assert [row.run.user_id for row in found.rows] == [user]
    assert found.total == 1


async def test_what_the_desk_changes_holds_for_the_recorder(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project_settings, "SETTINGS_S", 0.0)
    desk = ProjectRedaction(recording.runs.pool, KEY, RedactionMode.ALL)
    wishes = Wishes(RedactionMode.SECRETS, (OwnRule("bird", "Blue[a-z]+"),), store_content=True)
    await desk.change(DEFAULT_PROJECT_ID, wishes)
    assert await desk.wishes(DEFAULT_PROJECT_ID) == wishes
    with pytest.raises(LookupError):
        await desk.change("nobody", wishes)
    slow = (OwnRule("slow", "a[ab]{300}c"),)
    with pytest.raises(BadRule, match="too long"):
        await desk.change(DEFAULT_PROJECT_ID, Wishes(rules=slow))
    with pytest.raises(BadRule, match="too long"):
        desk.tried("a", RedactionMode.ALL, slow)
    assert await desk.wishes(DEFAULT_PROJECT_ID) == wishes
    await recording.write([said(f"Bluebird {canaries.EMAIL}")])
    await run_until_stored(recording.recorder(redacting=redacting(recording)))
    stored_as = await desk.as_stored(DEFAULT_PROJECT_ID, f"Bluebird {canaries.EMAIL}")
    assert any(stored_as.encode() in text for text in await everything(recording))
    tried = desk.tried("Bluebird", RedactionMode.ALL, wishes.rules)
    assert tried.redacted == (("custom.bird", 1),)
    assert tried.text not in stored_as, "nobody can try whom a tag stands for"


async def test_what_was_redacted_is_counted_by_kind(recording: Recording) -> None:
    exchange = chat(1)
    body = {"model": "m", "messages": [{"role": "user", "content": f"{canaries.EMAIL}, {canaries.KEYS['aws']}"}]}
    await recording.write([replace(exchange, request_body=make_exchange(orjson.dumps(body)).request_body)])
    await run_until_stored(recording.recorder(redacting=redacting(recording)))
    reading = StoreReading(recording.runs.pool, recording.events, rebuild=rebuild)
    ((found,),) = [(await reading.list_runs(DEFAULT_PROJECT_ID, RunQuery(with_chats=True))).rows]
    calls = await reading.get_redacted(DEFAULT_PROJECT_ID, found.run)
    assert calls == {exchange.exchange_id: (("apikey", 1), ("email", 1))}
    assert await reading.get_redacted("other", found.run) == {}
    (row,) = await recording.events.query(
        "SELECT redacted['email'] AS emails, redacted['apikey'] AS keys FROM events"
    )
    assert (row["emails"], row["keys"]) == ("1", "1")


async def test_what_was_redacted_in_a_reported_run_is_counted_by_kind_and_shown(recording: Recording) -> None:
    step = {"timestamp": "2026-01-15T10:00:00Z", "type": "user_input"}
    steps = [
        {**step, "step_index": 0, "summary": f"I am {canaries.EMAIL}, again {canaries.EMAIL}"},
        {**step, "step_index": 1, "summary": "Hello", "token_cost": int(canaries.CARD)},
    ]
    body = {"run_id": "r", "user_id": canaries.EMAIL, "meta": {"key": canaries.KEYS["aws"]}, "steps": steps}
    event = {
        "event_id": "e", "event_type": "prompt_call", "run_id": "r", "timestamp": "2026-01-15T10:00:02Z",
        "env": "production", "client": {"hostname": "h", "sdk_version": "1", "platform": "p"},
        "prompt": canaries.EMAIL, "model": "m", "status": "success", "tokens_input": 1, "tokens_output": 1,
    }  # fmt: skip
    recorder = recording.recorder(redacting=redacting(recording))
    for number in range(
        2
    ):  # what is sent again is counted once in the run, and as often as it came in the metrics
        await recording.write_reports([report(body, number), report([event], number)])
        await run_until_stored(recorder)
    reading = StoreReading(recording.runs.pool, recording.events, rebuild=rebuild)
    loaded = await load_run(reading, NobodysDesk(), DEFAULT_PROJECT_ID, "r")
    assert loaded is not None
    assert loaded.redacted_values == (("apikey", 1), ("email", 4))
    debug: Any = orjson.loads(dumps(debug_document(loaded)))["debug"]
    assert debug["summary"]["redacted"] == {"apikey": 1, "email": 4}
    assert debug["summary"]["redaction_note"] == "1 API key, 4 e-mail addresses redacted"
    assert [each["redacted"] for each in debug["steps"]] == [{"email": 2}, {}, {"email": 1}]
    assert ("redacted", "2 e-mail addresses") in (step_detail(loaded, 0, has_calls=True) or {})["facts"]
    told = recorder_metrics.exposition(recorder.stats)
    assert b'watchllm_recorder_redacted_values_total{kind="email"} 8.0' in told


def report(body: dict[str, Any] | list[Any], number: int) -> Report:
    kind, run_id = (ReportKind.EVENTS, None) if isinstance(body, list) else (ReportKind.RUN, str(body["run_id"]))
    at_us = time.time_ns() // 1000 + number
    return Report(uuid4(), DEFAULT_PROJECT_ID, kind, run_id, orjson.dumps(body), at_us)


async def test_runs_are_found_as_without_redaction_also_over_restarts(recording: Recording) -> None:
    """A history goes on after a restart by what is stored of it, which is redacted."""
    first, second = tool_run()
    nameless = tuple(field for field in first.request_headers if not field[0].startswith("X-"))
    first, second = replace(first, request_headers=nameless), replace(second, request_headers=nameless)
    for exchange in (first, second):
        await recording.write([exchange])
        await run_until_stored(recording.recorder(redacting=redacting(recording)))
    assert await recording.in_postgres("SELECT count(*) FROM agent_debug_logs") == 1
    assert await recording.in_postgres("SELECT total_calls FROM agent_debug_logs") == 2
    placed = await recording.events.query("SELECT DISTINCT run_id FROM events")
    assert len(placed) == 1
    assert isinstance(first.exchange_id, UUID)
