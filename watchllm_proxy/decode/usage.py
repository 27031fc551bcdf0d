"""Usage and cost: the names of all dialects and upstreams, in OpenTelemetry's words.

The figures are the upstream's own; none is corrected. Upstreams disagree on whether `completion_tokens` holds
the reasoning tokens (xAI leaves them out), and a total may differ from the sum.
"""

from __future__ import annotations

from decimal import Decimal

from watchllm_proxy.decode.values import Json, as_count, as_dict
from watchllm_proxy.records import Usage

_MAX_USD = 1_000_000  # nobody pays more for a call: a figure beyond it is a unit that we do not know
_USD_PER_TICK = Decimal("1e-10")  # xAI, `cost_in_usd_ticks`


def chat_usage(usage: dict[str, Json]) -> Usage:
    """Chat completions, legacy completions and embeddings.

    Cached tokens: OpenAI's details, else DeepSeek's `prompt_cache_hit_tokens`, Moonshot's `cached_tokens`,
    Mistral's `num_cached_tokens`. Written ones: OpenRouter's and LiteLLM's names.
    """
    read = as_dict(usage.get("prompt_tokens_details"))
    written = as_dict(usage.get("completion_tokens_details"))
    return Usage(
        input_tokens=as_count(usage.get("prompt_tokens")),
        output_tokens=as_count(usage.get("completion_tokens")),
        total_tokens=as_count(usage.get("total_tokens")),
        cache_read_input_tokens=_first(
            read.get("cached_tokens"),
            usage.get("prompt_cache_hit_tokens"),
            usage.get("cached_tokens"),
            usage.get("num_cached_tokens"),
            usage.get("cache_read_input_tokens"),
        ),
        cache_creation_input_tokens=_first(
            read.get("cache_write_tokens"),
            read.get("cache_creation_tokens"),
            usage.get("cache_creation_input_tokens"),
        ),
        reasoning_tokens=_first(written.get("reasoning_tokens"), usage.get("reasoning_tokens")),
        cost_usd=upstream_cost(usage),
    )


def responses_usage(usage: dict[str, Json]) -> Usage:
    read = as_dict(usage.get("input_tokens_details"))
    written = as_dict(usage.get("output_tokens_details"))
    return Usage(
        input_tokens=as_count(usage.get("input_tokens")),
        output_tokens=as_count(usage.get("output_tokens")),
        total_tokens=as_count(usage.get("total_tokens")),
        cache_read_input_tokens=as_count(read.get("cached_tokens")),
        cache_creation_input_tokens=as_count(read.get("cache_write_tokens")),
        reasoning_tokens=as_count(written.get("reasoning_tokens")),
        cost_usd=upstream_cost(usage),
    )


def messages_usage(usage: dict[str, Json]) -> Usage:
    """Anthropic's `input_tokens` leaves out what was read from and written to the cache: added here."""
    fresh, output = as_count(usage.get("input_tokens")), as_count(usage.get("output_tokens"))
    cache_read = as_count(usage.get("cache_read_input_tokens"))
    cache_written = as_count(usage.get("cache_creation_input_tokens"))
    read = None if fresh is None else fresh + (cache_read or 0) + (cache_written or 0)
    return Usage(
        input_tokens=read,
        output_tokens=output,
        total_tokens=None if read is None or output is None else read + output,
        cache_read_input_tokens=cache_read,
        cache_creation_input_tokens=cache_written,
        reasoning_tokens=as_count(as_dict(usage.get("output_tokens_details")).get("thinking_tokens")),
        cost_usd=upstream_cost(usage),
    )


def upstream_cost(usage: dict[str, Json]) -> Decimal | None:
    """What the upstream says the call cost, in US dollars.

    OpenRouter: `cost`; with BYOK (the caller's own provider key) that is only OpenRouter's fee, and what the
    provider takes is in `cost_details.upstream_inference_cost`. Perplexity: an object with `total_cost`.
    xAI: `cost_in_usd_ticks`, 10^10 to the dollar.
    """
    ticks = as_count(usage.get("cost_in_usd_ticks"))
    if ticks is not None:
        return ticks * _USD_PER_TICK
    cost = usage.get("cost")
    if isinstance(cost, dict):
        return money(cost.get("total_cost"))
    told = money(cost)
    if usage.get("is_byok") is True:
        upstream = money(as_dict(usage.get("cost_details")).get("upstream_inference_cost"))
        return told if upstream is None else upstream + (told or 0)
    return told


def money(value: Json) -> Decimal | None:
    """Through `str`: the shortest text of a double is the figure that was sent, free of binary noise."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _MAX_USD:
        return None
    return Decimal(str(value))


def _first(*values: Json) -> int | None:
    for value in values:
        if value is not None and (number := as_count(value)) is not None:
            return number
    return None
