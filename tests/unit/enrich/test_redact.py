"""A call as it may be stored: every part of it redacted, and the same runs found of it as of what it was."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import fields, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests import canaries
from tests.capture_records import make_exchange
from watchllm_proxy.decode import decode, rebuild
from watchllm_proxy.enrich.redact import MAX_PROJECTS, RedactionPolicy, Redactor
from watchllm_proxy.enrich.redaction.kinds import RedactionMode
from watchllm_proxy.enrich.redaction.own import OwnRule
from watchllm_proxy.records import Body, Call, CallError, ClientId, ClientIdKind, Exchange
from watchllm_proxy.replay import SILENCE_US, read_corpus
from watchllm_proxy.sessionize import Sessionizer, names

KEY = bytes(range(32))
CORPORA = sorted((Path(__file__).parents[2] / "data" / "agents").glob("*.jsonl.gz"))


def redactor(mode: RedactionMode = RedactionMode.ALL, **policy: Any) -> Redactor:
    return Redactor(KEY, RedactionPolicy(mode, **policy))


def full_call() -> Call:
    """Every part that is text holds all values."""
    text = canaries.TEXT
    arguments = orjson.dumps({"body": text}).decode()
    asked = {"role": "assistant", "tool_calls": [{"id": f"call {canaries.EMAIL}", "type": "function",
             "function": {"name": canaries.EMAIL, "arguments": arguments}}]}  # fmt: skip
    result = {"role": "tool", "tool_call_id": f"call {canaries.EMAIL}", "content": text}
    tools = [{"type": "function", "function": {"name": "x", "description": text}}]
    body = {"model": canaries.EMAIL, "messages": [{"role": "user", "content": text}, asked, result],
            "tools": tools, "user": text}  # fmt: skip
    answer = {"id": text, "model": text, "provider": text,
              "choices": [{"message": asked, "finish_reason": text}]}  # fmt: skip
    call = decode(make_exchange(orjson.dumps(body), orjson.dumps(answer)))
    return replace(
        call,
        target=f"/v1/x?{text}",
        client_address=f"{canaries.IP}:1",
        error=CallError(text, text, text),
        client_ids=(ClientId(ClientIdKind.RUN, text, "x-run-id", 1),),
        agent_name=text,
        agent_version=text,
        user_id=text,
        user_agent=canaries.KEYS["github"],
        tags=((text, text),),
        issued_ids=(text,),
        response_id=text,
        opaque_reason="for a test",
        raw_request=text.encode(),
        raw_response=text.encode(),
    )


def test_no_part_of_a_call_keeps_a_value() -> None:
    call = full_call()
    redacted = redactor().redact(call)
    for part in fields(Call):
        assert canaries.found_in([repr(getattr(redacted, part.name))]) == set(), part.name
    assert canaries.found_in([repr(call)]) == set(canaries.ALL)


def test_redacting_a_call_twice_takes_nothing_more_out() -> None:
    first = redactor()
    once = first.redact(full_call())
    twice = first.redact(once)
    changed = [part.name for part in fields(Call) if getattr(once, part.name) != getattr(twice, part.name)]
    assert changed == ["request_hash", "redacted"] or changed == ["redacted"]
    assert twice.redacted == ()


def test_what_was_redacted_can_still_be_rebuilt() -> None:
    redacted = redactor().redact(full_call())
    body = orjson.loads(rebuild(redacted.request_skeleton, redacted.messages))
    assert body["messages"][1]["tool_calls"][0]["id"] == body["messages"][2]["tool_call_id"]


def test_a_project_is_redacted_as_it_wants_and_off_is_the_same_object() -> None:
    call = full_call()
    assert redactor(RedactionMode.OFF).redact(call) is call
    assert redactor(modes={call.project_id: RedactionMode.OFF}).redact(call) is call
    found = canaries.found_in([repr(redactor(RedactionMode.SECRETS).redact(call))])
    assert canaries.EMAIL in found
    assert not found & set(canaries.KEYS.values())


def test_rules_of_a_project_hold_there_and_nowhere_else() -> None:
    call = decode(make_exchange(b'{"model":"m","messages":[{"role":"user","content":"EMP-123456"}]}', b"{}"))
    own = redactor(own_rules={"default": (OwnRule("employee", "EMP-[0-9]+"),)})
    assert b"[custom.employee_" in own.redact(call).messages[0].content
    assert b"EMP-123456" in own.redact(replace(call, project_id="other")).messages[0].content


def said(text: str) -> Call:
    return decode(
        make_exchange(orjson.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}), b"{}")
    )


def test_no_hash_says_what_was_taken_out_and_messages_that_differed_still_do() -> None:
    one, other = said("mail bob@example.com"), said("mail rob@example.com")
    mine, yours = redactor(), Redactor(bytes(32))
    redacted = [mine.redact(one), mine.redact(other), yours.redact(one), one]
    assert len({call.messages[0].content_hash for call in redacted}) == 4
    assert len({call.messages[0].link_hash for call in redacted}) == 4
    assert len({call.request_hash for call in redacted}) == 4
    kept = redacted[0].messages[0]
    assert kept.content_hash == blake2b(kept.content, digest_size=16).digest()
    assert redactor().redact(one) == redacted[0]


def test_what_holds_nothing_to_redact_keeps_its_hashes() -> None:
    """So it goes on from what was stored before its project had anything redacted."""
    call = said("nothing to see")
    redacted = redactor().redact(call)
    assert redacted.messages == call.messages
    assert redacted.request_hash == call.request_hash


def test_a_message_is_looked_at_once_and_counted_in_each_call() -> None:
    call = decode(make_exchange(orjson.dumps({"messages": [{"role": "user", "content": canaries.EMAIL}]}), b"{}"))
    mine = redactor()
    first, again = mine.redact(call), mine.redact(call)
    assert again.messages[0] is first.messages[0]
    assert dict(again.redacted) == dict(first.redacted) == {"email": 1}


def test_of_a_record_that_is_set_aside_a_stream_and_a_coded_body_are_left_out() -> None:
    text = canaries.TEXT.encode()
    exchange = make_exchange(text, text)
    plain = redactor().redact_exchange(exchange)
    assert canaries.found_in([repr(plain)]) == set()
    assert plain.request_body.size_bytes == len(plain.request_body.content) > 0
    streamed = replace(exchange, response_headers=(("Content-Type", "text/event-stream"),))
    assert redactor().redact_exchange(streamed).response_body == Body(b"", len(text), "")
    coded = replace(exchange, response_headers=(("Content-Encoding", "gzip"),))
    assert redactor().redact_exchange(coded).response_body.content == b""


def with_tools() -> Call:
    """An address in the prompt, and one where only a tool's schema has it."""
    schema = {"type": "object", "properties": {"to": {"type": "string", "default": canaries.EMAIL}}}
    tools = [{"type": "function", "function": {"name": "send", "description": "Sends.", "parameters": schema}}]
    prompt = {"role": "system", "content": f"You are the helper of {canaries.EMAIL}."}
    body = {"model": "m", "messages": [prompt, {"role": "user", "content": "hello"}], "tools": tools}
    return decode(make_exchange(orjson.dumps(body), b"{}"))


def test_a_call_that_is_read_back_has_the_agent_s_version_that_it_had() -> None:
    """As a backfill does: what is stored is decoded once more, and redacting it changes nothing."""
    mine = redactor()
    call = mine.redact(with_tools())
    body = rebuild(call.request_skeleton, call.messages)
    again = mine.redact(decode(make_exchange(body, b"{}")))
    assert names.agent_version(again) == names.agent_version(call)
    assert names.agent_version(call) != names.agent_version(with_tools()), "no hash of what was taken out"
    assert call.messages[-1].link_hash != with_tools().messages[-1].link_hash


# --- the same runs ----------------------------------------------------------------------------------


Assigned = dict[object, tuple[str | None, str | None, str | None]]


def assigned(calls: Iterable[Call]) -> Assigned:
    sessionizer = Sessionizer(silence_us=SILENCE_US)
    found: Assigned = {}
    for call in calls:
        placement = sessionizer.observe(call, call.ended_at_us)
        found[call.call_id] = (placement.run_id, placement.session_id, placement.parent_run_id)
        changes = sessionizer.drain()
        for placed in (*changes.placements, *changes.moved):
            found[placed.call_id] = (placed.run_id, placed.session_id, placed.parent_run_id)
    return found


def in_order(exchanges: Iterable[Exchange]) -> list[Call]:
    return [decode(exchange) for exchange in sorted(exchanges, key=lambda each: each.ended_at_us)]


@pytest.mark.parametrize("corpus", CORPORA, ids=lambda path: path.name.partition(".")[0])
def test_runs_of_recorded_agents_are_the_same_with_redaction(corpus: Path) -> None:
    calls = in_order(read_corpus(corpus))
    mine = redactor()
    assert assigned(map(mine.redact, calls)) == assigned(calls)


@pytest.mark.parametrize("corpus", CORPORA, ids=lambda path: path.name.partition(".")[0])
def test_runs_are_the_same_where_texts_are_full_of_values(corpus: Path) -> None:
    """Words of the recorded texts become values, each word the same one everywhere."""
    calls = in_order(map(peopled, read_corpus(corpus)))
    mine = redactor()
    redacted = [mine.redact(call) for call in calls]
    assert sum(dict(call.redacted).get("email", 0) for call in redacted) > len(calls) // 4
    assert assigned(redacted) == assigned(calls)


COMMON = (
    b"weather",
    b"Weather",
    b"Oslo",
    b"Paris",
    b"answer",
    b"result",
    b"tool",
    b"city",
    b"London",
    b"user",
    b"data",
)


def peopled(exchange: Exchange) -> Exchange:
    return replace(
        exchange,
        request_body=_with_people(exchange.request_body),
        response_body=_with_people(exchange.response_body),
    )


def _with_people(body: Body) -> Body:
    content = body.content
    for word in COMMON:
        name = random.Random(word).choice(("ann", "bo", "cyd")) + word.decode().lower()
        content = content.replace(b" " + word + b" ", b" " + f"{name}@example.com".encode() + b" ")
    return Body(content, len(content))


def test_of_many_projects_few_are_at_hand_and_each_is_redacted_as_before() -> None:
    one = redactor()
    first = [one.text(canaries.TEXT, f"project-{number}") for number in range(3 * MAX_PROJECTS)]
    assert len(one._projects) == MAX_PROJECTS
    assert first == [one.text(canaries.TEXT, f"project-{number}") for number in range(3 * MAX_PROJECTS)]
    assert len(set(first)) == len(first), "tags of one project say nothing in another"
