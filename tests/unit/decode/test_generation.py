from __future__ import annotations

import gzip
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
import pytest

from tests.unit.decode.exchanges import exchange
from watchllm_proxy.decode import settlement_of
from watchllm_proxy.records import SETTLES_HEADER, CostSource, Exchange, settlement_id

CALL_ID = UUID(int=7)

TOLD = {
    "id": "gen-1",
    "model": "openai/gpt-4o-mini",
    "total_cost": 0.0015,
    "tokens_prompt": 10,
    "tokens_completion": 25,
    "native_tokens_prompt": 12,
    "native_tokens_completion": 30,
    "native_tokens_reasoning": 5,
    "native_tokens_cached": 4,
    "cancelled": True,
}


def _asked(data: Any = TOLD, **fields: Any) -> Exchange:
    made = exchange(
        "/v1/generation?id=gen-1",
        b"",
        {"data": data},
        method="GET",
        headers=((SETTLES_HEADER, str(CALL_ID)),),
        **fields,
    )
    return replace(made, exchange_id=settlement_id(CALL_ID))


def test_tokens_are_those_of_the_provider_and_the_cost_is_told() -> None:
    found = settlement_of(_asked())
    assert found is not None
    assert (found.project_id, found.call_id, found.cost.source) == ("default", CALL_ID, CostSource.GENERATION)
    usage = found.usage
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (12, 30, 42)
    assert (usage.cache_read_input_tokens, usage.reasoning_tokens) == (4, 5)
    assert found.cost.usd == Decimal("0.0015")


def test_with_a_key_of_ones_own_the_providers_bill_is_added() -> None:
    byok = {**TOLD, "is_byok": True, "total_cost": 0.0001, "upstream_inference_cost": 0.002}
    found = settlement_of(_asked(byok))
    assert found is not None
    assert found.cost.usd == Decimal("0.0021")


def test_where_the_provider_does_not_count_openrouters_counts_hold() -> None:
    found = settlement_of(_asked({"total_cost": 1, "tokens_prompt": 3, "tokens_completion": None}))
    assert found is not None
    assert (found.usage.input_tokens, found.usage.output_tokens, found.usage.total_tokens) == (3, None, None)


def test_a_compressed_answer_is_read() -> None:
    asked = _asked(response_headers=(("Content-Encoding", "gzip"),))
    packed = gzip.compress(asked.response_body.content)
    body = replace(asked.response_body, content=packed, size_bytes=len(packed))
    assert settlement_of(replace(asked, response_body=body)) is not None


def test_a_client_cannot_say_what_a_call_cost() -> None:
    assert settlement_of(replace(_asked(), exchange_id=UUID(int=1))) is None
    assert settlement_of(replace(_asked(), request_headers=())) is None
    assert settlement_of(replace(_asked(), request_headers=((SETTLES_HEADER, "no id"),))) is None


@pytest.mark.parametrize(
    "data", [None, [], "x", {}, {"total_cost": None}, {"total_cost": "1"}, {"total_cost": -1}]
)
def test_an_answer_without_a_cost_settles_nothing(data: Any) -> None:
    assert settlement_of(_asked(data)) is None


@pytest.mark.parametrize("answer", [b"", b"{", b"[]", b"\xff", orjson.dumps({"error": {"code": 404}})])
def test_what_cannot_be_read_settles_nothing(answer: bytes) -> None:
    asked = _asked()
    body = replace(asked.response_body, content=answer, size_bytes=len(answer))
    assert settlement_of(replace(asked, response_body=body)) is None


def test_a_refusal_settles_nothing() -> None:
    assert settlement_of(_asked(status=404)) is None
