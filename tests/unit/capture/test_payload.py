"""The payload codec: any exchange comes back equal, any other bytes are refused in one way."""

from __future__ import annotations

import contextlib
import dataclasses
import struct
from pathlib import Path
from uuid import UUID

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.capture_records import make_exchange
from watchllm_proxy.capture.payload import REPORT_VERSION, VERSION, pack, pack_report, unpack, unpack_any
from watchllm_proxy.errors import CaptureLogError
from watchllm_proxy.records import Body, Exchange, ExchangeEnd, Report, ReportKind

GOLDEN = Path(__file__).resolve().parents[2] / "fixtures" / "capture" / "payload-v1.bin"

# Any code points at all: lone surrogates, surrogate pairs never joined, NUL.
texts = st.text(st.characters(exclude_categories=()), max_size=20)
whole_numbers = st.integers(-(2**63), 2**63 - 1)
headers = st.lists(st.tuples(texts, texts), max_size=4).map(tuple)
bodies = st.builds(Body, st.binary(max_size=100), whole_numbers, st.none() | texts, st.booleans())
exchanges = st.builds(
    Exchange,
    exchange_id=st.uuids(),
    project_id=texts,
    method=texts,
    target=texts,
    request_headers=headers,
    request_body=bodies,
    status=st.none() | whole_numbers,
    response_headers=headers,
    response_body=bodies,
    end=st.sampled_from(ExchangeEnd),
    started_at_us=whole_numbers,
    first_byte_us=st.none() | whole_numbers,
    duration_us=whole_numbers,
    client_address=texts,
    error_detail=st.none() | texts,
)


def golden_exchange() -> Exchange:
    """What tests/fixtures/capture/payload-v1.bin was packed from. Never change it."""
    return Exchange(
        exchange_id=UUID("0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"),
        project_id="proj-ä",
        method="POST",
        target="/v1/chat/completions?x=1",
        request_headers=(("Host", "example.test"), ("x-odd", "caf\xe9 \udcff"), ("X-A", "1"), ("X-A", "2")),
        request_body=Body(b'{"model":"m"}\x00\xff', 15),
        status=None,
        response_headers=(),
        response_body=Body(b"data: 1\n\n", 90, "ab" * 32),
        end=ExchangeEnd.UPSTREAM_BROKEN,
        started_at_us=1_790_000_000_000_001,
        first_byte_us=None,
        duration_us=12,
        client_address="[::1]:50001",
        error_detail="connection lost",
    )


@given(exchanges)
@example(golden_exchange())
@example(dataclasses.replace(make_exchange(), target="\ud83d\ude00 \ud800 \x00"))
def test_any_exchange_comes_back_equal(exchange: Exchange) -> None:
    assert unpack(b"".join(pack(exchange))) == exchange


def test_bodies_are_handed_on_without_a_copy() -> None:
    exchange = make_exchange(b"q" * 1000, b"a" * 1000)
    packed = pack(exchange)
    assert packed[1] is exchange.request_body.content
    assert packed[2] is exchange.response_body.content


def test_a_record_of_version_1_is_read_as_on_the_day_it_was_written() -> None:
    assert unpack(GOLDEN.read_bytes()) == golden_exchange()


def test_an_unknown_version_is_named() -> None:
    payload = bytearray(b"".join(pack(make_exchange())))
    payload[0] = 7
    with pytest.raises(CaptureLogError, match=rf"version 7; this watchllm reads versions up to {REPORT_VERSION}"):
        unpack(bytes(payload))


@given(st.binary(max_size=200))
def test_garbage_is_refused_as_a_capture_log_error(garbage: bytes) -> None:
    with pytest.raises(CaptureLogError):
        unpack(garbage)


_WHOLE = b"".join(pack(golden_exchange()))


@given(st.integers(0, len(_WHOLE) - 1), st.binary(min_size=1, max_size=8))
def test_a_damaged_record_is_read_or_refused_and_never_crashes(at: int, junk: bytes) -> None:
    damaged = _WHOLE[:at] + junk + _WHOLE[at + len(junk) :]
    with contextlib.suppress(CaptureLogError):
        assert isinstance(unpack(damaged), Exchange)


@given(st.integers(0, len(_WHOLE) - 1))
def test_a_record_cut_anywhere_is_refused(at: int) -> None:
    with pytest.raises(CaptureLogError):
        unpack(_WHOLE[:at])


json_values = st.recursive(
    st.none()
    | st.booleans()
    | whole_numbers
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def _with_metadata(metadata: object) -> bytes:
    text = orjson.dumps(metadata)
    return struct.pack("<BI", VERSION, len(text)) + text


@given(st.sampled_from(sorted(orjson.loads(_WHOLE[5 : 5 + struct.unpack_from("<I", _WHOLE, 1)[0]]))), json_values)
def test_metadata_with_any_value_in_any_field_is_read_or_refused(name: str, value: object) -> None:
    metadata_bytes = struct.unpack_from("<I", _WHOLE, 1)[0]
    metadata = orjson.loads(_WHOLE[5 : 5 + metadata_bytes])
    payload = _with_metadata({**metadata, name: value}) + _WHOLE[5 + metadata_bytes :]
    with contextlib.suppress(CaptureLogError):
        assert isinstance(unpack(payload), Exchange)


@given(json_values)
def test_metadata_that_is_any_json_is_refused(value: object) -> None:
    with pytest.raises(CaptureLogError):
        unpack(_with_metadata(value))


def test_a_number_that_no_record_can_hold_is_refused_when_packing() -> None:
    with pytest.raises(CaptureLogError, match="cannot be written"):
        pack(dataclasses.replace(make_exchange(), started_at_us=2**80))


# --- reports ------------------------------------------------------------------------------------------

reports = st.builds(
    Report,
    report_id=st.uuids(),
    project_id=st.text(max_size=20),
    kind=st.sampled_from(ReportKind),
    run_id=st.none() | st.text(max_size=20),
    body=st.binary(max_size=100),
    received_at_us=whole_numbers,
    is_content_refused=st.booleans(),
)


@given(reports)
def test_any_report_comes_back_equal(report: Report) -> None:
    assert unpack_any(b"".join(part for part in pack_report(report) if isinstance(part, bytes))) == report


@given(reports, st.data())
def test_a_report_that_was_cut_or_that_is_no_report_is_refused(report: Report, data: st.DataObject) -> None:
    packed = b"".join(part for part in pack_report(report) if isinstance(part, bytes))
    with pytest.raises(CaptureLogError):
        unpack_any(packed[: data.draw(st.integers(0, len(packed) - 1))])
    with pytest.raises(CaptureLogError, match="a report, not an exchange"):
        unpack(packed)
