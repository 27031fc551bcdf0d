"""What is kept of a body, and when a capture is given up."""

from __future__ import annotations

import hashlib
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fixtures.list_log import ListLog, ListSpill
from watchllm_proxy.outcomes import ShedReason
from watchllm_proxy.proxy.tee import (
    CALM_BYTES,
    SPILLED_AT_ONCE_BYTES,
    SPILLED_BYTES,
    BodyTee,
    CaptureBudget,
    Tee,
    is_binary,
    new_exchange_id,
)
from watchllm_proxy.records import Body, ExchangeEnd

CHUNKS = st.lists(st.binary(max_size=40), max_size=12)


@given(CHUNKS, st.integers(0, 100), st.booleans())
def test_a_body_is_kept_up_to_the_limit_with_size_and_hash_of_the_whole(
    chunks: list[bytes], limit_bytes: int, is_length_told: bool
) -> None:
    whole = b"".join(chunks)
    tee = BodyTee(limit_bytes)
    tee.expect(len(whole) if is_length_told else None, b"application/json")
    for chunk in chunks:
        tee.add(chunk)
    body = tee.body()
    assert body.content == whole[:limit_bytes]
    assert body.size_bytes == len(whole)
    assert body.sha256 == (hashlib.sha256(whole).hexdigest() if len(whole) > limit_bytes else None)


def test_of_binary_bodies_size_and_hash_are_kept() -> None:
    tee = BodyTee(100)
    tee.expect(None, b"audio/mpeg")
    tee.add(b"abc")
    assert (tee.body().content, tee.body().size_bytes) == (b"", 3)
    assert tee.body().sha256 == hashlib.sha256(b"abc").hexdigest()


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        (b"image/png", True),
        (b"Audio/MPEG", True),
        (b"multipart/form-data; boundary=x", True),
        (b"application/octet-stream", True),
        (b"application/json", False),
        (b"text/event-stream; charset=utf-8", False),
        (b"", False),
    ],
)
def test_content_types_that_hold_no_text(content_type: bytes, expected: bool) -> None:
    assert is_binary(content_type) is expected


def make_tee(
    log: ListLog, budget: CaptureBudget, *, content_length: int | None = None, body_limit_bytes: int = 1000
) -> Tee:
    return Tee(
        log,
        budget,
        exchange_id=new_exchange_id(),
        project_id="p",
        method="POST",
        target="/v1/x?key=secret",
        fields=((b"Authorization", b"Bearer secret"),),
        client_address="127.0.0.1:1",
        body_limit_bytes=body_limit_bytes,
        content_length=content_length,
    )


def test_an_exchange_over_the_budget_is_shed_counted_and_gives_its_memory_back() -> None:
    log, budget = ListLog(), CaptureBudget(1500)
    first, second = make_tee(log, budget), make_tee(log, budget)
    first.request_body(b"x" * 900)
    second.request_body(b"x" * 900)
    assert 900 <= budget.used_bytes < 1000, "the second gave up at once"
    second.response_body(b"more")
    second.finish(ExchangeEnd.COMPLETE, None)
    first.finish(ExchangeEnd.COMPLETE, None)
    assert (budget.used_bytes, log.shed) == (0, {ShedReason.BUFFER_FULL: 1})
    assert [one.request_body.size_bytes for one in log.exchanges] == [900]


def test_the_exchange_tells_what_was_and_no_secret() -> None:
    log = ListLog()
    tee = make_tee(log, CaptureBudget(10_000))
    tee.request_body(b"ask")
    tee.response_head(200, [(b"Content-Type", b"text/plain")])
    tee.response_body(b"ans")
    tee.response_body(b"wer")
    tee.finish(ExchangeEnd.UPSTREAM_BROKEN, "lost")
    (exchange,) = log.exchanges
    assert (exchange.request_body.content, exchange.response_body.content) == (b"ask", b"answer")
    assert (exchange.end, exchange.error_detail, exchange.status) == (ExchangeEnd.UPSTREAM_BROKEN, "lost", 200)
    assert exchange.first_byte_us is not None
    assert 0 <= exchange.first_byte_us <= exchange.duration_us
    assert "secret" not in repr(exchange)


@given(CHUNKS, st.integers(0, 300), st.sets(st.integers(0, 12)))
def test_a_body_on_disk_is_the_same_body(chunks: list[bytes], limit_bytes: int, spilled_after: set[int]) -> None:
    whole = b"".join(chunks)
    taken_bytes, released = 0, list[int]()
    tee, spill = BodyTee(limit_bytes), ListSpill(released.append)
    for number, chunk in enumerate(chunks):
        taken_bytes += tee.add(chunk)
        if number in spilled_after:
            tee.to_disk(spill)
            assert tee.held_bytes == 0
    assert sum(released) + tee.held_bytes == taken_bytes
    body = tee.body()
    assert spill.content + body.content == whole[:limit_bytes]
    assert body.size_bytes == len(whole)
    assert body.sha256 == (hashlib.sha256(whole).hexdigest() if len(whole) > limit_bytes else None)


def test_while_there_is_memory_nothing_goes_to_the_disk() -> None:
    log, budget = ListLog(), CaptureBudget(64 * CALM_BYTES)
    tee = make_tee(log, budget, body_limit_bytes=CALM_BYTES)
    tee.response_body(bytes(CALM_BYTES - 1000))
    tee.relieve_memory()
    tee.finish(ExchangeEnd.COMPLETE, None)
    assert (log.spills, budget.used_bytes) == ([], 0)


def test_past_that_what_is_large_goes_at_once_and_what_lasts_with_the_next_sweep() -> None:
    log, budget = ListLog(), CaptureBudget(64 * CALM_BYTES)
    large, lasting, small = (make_tee(log, budget, body_limit_bytes=2 * CALM_BYTES) for _ in range(3))
    lasting.request_body(bytes(SPILLED_BYTES))
    small.request_body(bytes(SPILLED_BYTES - 1000))
    large.response_body(bytes(CALM_BYTES))
    assert budget.used_bytes < 2 * SPILLED_BYTES, "the large one went as it came"
    budget.used_bytes += CALM_BYTES  # of others
    for tee in (large, lasting, small):
        tee.relieve_memory()
    assert [spill.written_bytes for spill in log.spills] == [CALM_BYTES, SPILLED_BYTES]
    for tee in (large, lasting, small):
        tee.finish(ExchangeEnd.COMPLETE, None)
    assert budget.used_bytes == CALM_BYTES
    kept = [(len(one.request_body.content), len(one.response_body.content)) for one in log.exchanges]
    assert kept == [(0, CALM_BYTES), (SPILLED_BYTES, 0), (SPILLED_BYTES - 1000, 0)]


def test_a_disk_that_takes_no_more_sheds_the_capture_and_frees_its_memory() -> None:
    log, budget = ListLog(), CaptureBudget(4 * SPILLED_AT_ONCE_BYTES)
    tee = make_tee(log, budget, body_limit_bytes=64 * CALM_BYTES)
    for _ in range(4):
        tee.response_body(bytes(SPILLED_AT_ONCE_BYTES))
    assert len(log.spills) == 1
    log.spills[0].failure = ShedReason.DISK_FULL
    for _ in range(4):
        tee.response_body(bytes(SPILLED_AT_ONCE_BYTES))
    assert budget.used_bytes == 0
    assert log.discarded == log.spills
    tee.finish(ExchangeEnd.COMPLETE, None)
    assert (log.shed, log.exchanges) == ({ShedReason.DISK_FULL: 1}, [])


@pytest.mark.parametrize(("announced_bytes", "size_bytes"), [(500, 500), (None, 3)])
def test_of_a_request_that_did_not_come_whole_the_part_is_kept_and_marked(
    announced_bytes: int | None, size_bytes: int
) -> None:
    log = ListLog()
    tee = make_tee(log, CaptureBudget(10_000), content_length=announced_bytes)
    tee.request_body(b"ask")
    tee.hold(ExchangeEnd.COMPLETE, None)
    assert [one.request_body for one in log.held] == [Body(b"ask", size_bytes, is_partial=True)]
    tee.finish(ExchangeEnd.COMPLETE, None, is_request_whole=False)
    assert log.held == []
    (exchange,) = log.exchanges
    assert exchange.request_body == Body(b"ask", size_bytes, is_partial=True)


def test_exchange_ids_are_ordered_by_time_and_differ() -> None:
    ids = [new_exchange_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert all(isinstance(one, UUID) and one.version == 7 for one in ids)
    stamps = [one.int >> 80 for one in ids]
    assert stamps == sorted(stamps)
