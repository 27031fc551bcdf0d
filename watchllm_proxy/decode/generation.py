"""What OpenRouter told of a broken call's cost afterwards: the exchange in which the proxy asked -> Settlement."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

import orjson

from watchllm_proxy.decode.content import unpack
from watchllm_proxy.decode.usage import money
from watchllm_proxy.decode.values import Json, as_count, as_dict
from watchllm_proxy.records import SETTLES_HEADER, Exchange, Settlement, Usage, settlement_id


def settlement_of(exchange: Exchange) -> Settlement | None:
    """None for any exchange that the proxy did not make for this, and where no cost was told. Never raises."""
    told = next((value for name, value in exchange.request_headers if name == SETTLES_HEADER), None)
    if told is None or exchange.status != 200:
        return None
    try:
        call_id = UUID(told)
        if exchange.exchange_id != settlement_id(call_id):
            return None  # a client sent this header
        body = unpack(exchange.response_body.content, exchange.response_headers).data
        data = as_dict(as_dict(orjson.loads(body)).get("data"))
    except ValueError:
        return None
    usage = _usage(data)
    return None if usage.cost_usd is None else Settlement(exchange.project_id, call_id, usage)


def _usage(data: dict[str, Json]) -> Usage:
    """Tokens as the provider counts them, which is how they are billed; where it does not say, OpenRouter's."""
    read = _either(data, "native_tokens_prompt", "tokens_prompt")
    written = _either(data, "native_tokens_completion", "tokens_completion")
    return Usage(
        input_tokens=read,
        output_tokens=written,
        total_tokens=None if read is None or written is None else read + written,
        cache_read_input_tokens=as_count(data.get("native_tokens_cached")),
        reasoning_tokens=as_count(data.get("native_tokens_reasoning")),
        cost_usd=_cost(data),
    )


def _either(data: dict[str, Json], first: str, second: str) -> int | None:
    told = as_count(data.get(first))
    return as_count(data.get(second)) if told is None else told


def _cost(data: dict[str, Json]) -> Decimal | None:
    """With BYOK what OpenRouter took is only its fee: the provider's bill comes on top, as in `usage`."""
    told = money(data.get("total_cost"))
    upstream = money(data.get("upstream_inference_cost")) if data.get("is_byok") is True else None
    return told if upstream is None else upstream + (told or 0)
