"""Calls with everything filled in, and batches of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from hashlib import blake2b
from uuid import NAMESPACE_OID, UUID, uuid5

from tests.unit.builders import T0_US, CallBuilder
from watchllm_proxy.records import (
    BatchBounds,
    Call,
    ClientId,
    ClientIdKind,
    Confidence,
    Cost,
    CostSource,
    Link,
    LinkKind,
    LogPosition,
    Message,
    Placement,
    Usage,
)


def bounds(number: int = 1, *, log: str = "w0", now_us: int | None = None) -> BatchBounds:
    return BatchBounds(
        {log: LogPosition(0, number * 100)},
        {log: LogPosition(0, number * 100 + 100)},
        T0_US + number * 1_000_000 if now_us is None else now_us,
    )


def placed(call: Call, run_id: str | None = "run-1", **changes: object) -> tuple[Call, Placement]:
    links = (Link(LinkKind.NEW_RUN, "", Confidence.CERTAIN),)
    session_id = None if run_id is None else "session-1"
    placement = Placement(call.call_id, call.project_id, run_id, session_id, None, links)
    return call, replace(placement, **changes)  # type: ignore[arg-type]


def stored_message(role: str, content: bytes, slot: str = "messages") -> Message:
    digest = blake2b(content, digest_size=16).digest()
    return Message(slot, role, content, digest, digest, content.decode("utf-8", "replace"))


def full_call(number: int = 0, *, project: str = "default") -> tuple[Call, Placement]:
    """A call with every optional field filled in, and a request that `rebuild` can put together again."""
    plain = CallBuilder(name=f"full-{number}")(user="What is new?", project=project)
    call = replace(
        plain,
        call_id=uuid5(NAMESPACE_OID, f"{project}/{number}"),
        messages=(
            stored_message("system", b'{"content":"Be brief.","role":"system"}'),
            stored_message("user", b'{"content":"What is new? %d","role":"user"}' % number),
        ),
        answer=stored_message("assistant", b'{"content":"Nothing.","role":"assistant"}', "answer"),
        request_skeleton=b'{"model":"gpt-4o-mini"}',
        usage=Usage(10, 2, None, 4, 1, 0, cost_usd=Decimal("0.000123456789")),
        cost=Cost(Decimal("0.000000000001"), CostSource.PRICE_TABLE, "openai", "2026-11-01"),
        client_ids=(ClientId(ClientIdKind.RUN, "run-1", "x-run-id", 1),),
        tags=(("team", "search"), ("empty", "")),
        response_id="resp_1",
        response_metadata=b'{"system_fingerprint":"fp_1"}',
        finish_reasons=("stop",),
        agent_name="librarian",
        agent_version="v2",
        user_id="user-1",
        user_agent="OpenAI/Python 3.0",
        raw_request=b"\x1f\x8b\x00raw",
        raw_response=b"",
    )
    return placed(call)


def busy_calls(count: int, *, spread_days: int = 0) -> list[tuple[Call, Placement]]:
    """Calls of one project with some messages in common."""
    step_us = timedelta(days=spread_days) // timedelta(microseconds=1)
    calls = []
    for number in range(count):
        call, placement = full_call(number)
        started_at_us = T0_US + number * (step_us or 1000)
        call = replace(call, started_at_us=started_at_us, ended_at_us=started_at_us + 500)
        calls.append((call, replace(placement, run_id=f"run-{number // 10}")))
    return calls


def call_id_of(number: int, project: str = "default") -> UUID:
    return uuid5(NAMESPACE_OID, f"{project}/{number}")
