"""What a call cost: the upstream's own figure, else the project's prices, else a price table, else not known.

Tables are those of the `PriceBook`, which tells more than the release, and genai-prices, as installed: no network.
Rules and what they give up: docs/decisions/0033-prices.md and 0185-prices-of-ones-own.md.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from types import ModuleType
from typing import TYPE_CHECKING

import orjson

from watchllm_proxy import lean
from watchllm_proxy.enrich.price_lists import NO_BOOK, Listed, Marginals, PriceBook
from watchllm_proxy.records import UNKNOWN_COST, Api, Call, Cost, CostSource, ExchangeEnd, Usage

if TYPE_CHECKING:
    from genai_prices.types import PriceCalculation

_FREE = Decimal(0)
_NOBODY_BILLED = Cost(_FREE, CostSource.PRICE_TABLE)

_MINUTE_US = 60_000_000
_MILLION = 1_000_000
_PROBE = {
    "input_tokens": 40 * _MILLION,
    "output_tokens": 20 * _MILLION,
    "cache_read_tokens": 4 * _MILLION,
    "cache_write_tokens": 4 * _MILLION,
    "cache_write_1h_tokens": _MILLION,
    "input_audio_tokens": 4 * _MILLION,
    "cache_audio_read_tokens": _MILLION // 4,
    "input_image_tokens": 4 * _MILLION,
    "cache_image_read_tokens": _MILLION // 4,
    "output_reasoning_tokens": _MILLION,
    "output_audio_tokens": 2 * _MILLION,
    "output_image_tokens": 2 * _MILLION,
    "web_searches": _MILLION,
}
"""A usage with a million to add or to take anywhere: what is part of something else stays smaller than that."""

_EVERY_TOKEN = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
_ROOM = dict(zip(_EVERY_TOKEN, (2, 1, 0, 0), strict=True))  # for one more cached token, and one more written


_READS = frozenset({"GET", "HEAD", "OPTIONS"})


def price(call: Call, *, upstream_url: str | None = None, book: PriceBook = NO_BOOK) -> Call:
    """The call with its cost. `upstream_url` is where it was sent: it tells whose prices hold."""
    return replace(call, cost=cost_of(call, upstream_url, book))


def cost_of(call: Call, upstream_url: str | None = None, book: PriceBook = NO_BOOK) -> Cost:
    """Never raises: a model or a usage that no list can price is UNKNOWN_COST."""
    usage = call.usage
    if usage.cost_usd is not None:
        return Cost(usage.cost_usd, CostSource.UPSTREAM)
    if _was_turned_away(call):
        return _NOBODY_BILLED
    if not _is_complete(call):
        return UNKNOWN_COST
    billed = billed_of(call)
    for found in _price_lists(call, upstream_url, book, tuple(billed)):
        try:
            return Cost(found.total(billed), found.source, found.provider_id, found.date)
        except ValueError:  # counts that contradict each other
            continue
    return UNKNOWN_COST


def marginals_of(call: Call, upstream_url: str | None = None, book: PriceBook = NO_BOOK) -> Marginals | None:
    """What a million more of each kind of token would have cost, at the price of a prompt of this length. None: no
    list knows."""
    for found in _price_lists(call, upstream_url, book, _EVERY_TOKEN):
        return found.marginals(billed_of(call))
    return None


def _was_turned_away(call: Call) -> bool:
    """No model ran: it only looked something up, or was refused, or never arrived. Nobody bills that."""
    if call.api is Api.OTHER and call.method in _READS:
        return True
    is_refused = call.http_status is not None and call.http_status >= 400
    has_usage = call.usage.input_tokens is not None or call.usage.output_tokens is not None
    return (is_refused or call.end is ExchangeEnd.UPSTREAM_UNREACHABLE) and not has_usage


def _is_complete(call: Call) -> bool:
    """Half a usage would make half a price. Embeddings have no output."""
    usage = call.usage
    return usage.input_tokens is not None and (usage.output_tokens is not None or call.api is Api.EMBEDDINGS)


def _models(call: Call) -> Iterator[str]:
    """The model that answered, then the one that was asked: `openrouter/auto` answers with another."""
    for model in dict.fromkeys((call.response_model, call.request_model)):
        if model:
            yield model.lower()


def _providers(call: Call, model: str, upstream_url: str | None) -> list[str | None]:
    """Whose prices to try, the surest first; None lets the table guess by the model's name."""
    if call.provider_name or (call.response_id or "").startswith("gen-"):  # only OpenRouter says who served
        return ["openrouter"]
    host = _provider_of_url(upstream_url) if upstream_url else None
    if host:
        return [host]
    if "/" in model:
        return ["openrouter"]
    return [None, "openai"]


@functools.lru_cache(maxsize=64)
def _provider_of_url(url: str) -> str | None:
    try:
        provider = _table().data_snapshot.get_snapshot().find_provider(None, None, url)
    except LookupError:
        return None
    return str(provider.id)


def _price_lists(
    call: Call, upstream_url: str | None, book: PriceBook, names: tuple[str, ...]
) -> Iterator[_PriceList]:
    """Whose prices hold for a usage that tells `names`, the surest first."""
    models = list(_models(call))
    for model in models:
        own = book.override(call.project_id, model)
        if own is not None:
            yield _listed(own, CostSource.OVERRIDE, None)
    for model in models:
        if model.endswith(":free"):
            yield _PriceList(CostSource.PRICE_TABLE, "openrouter", _table_version())
        for provider in _providers(call, model, upstream_url):
            if provider == "openrouter" and model in book.openrouter:
                yield _listed(book.openrouter[model], CostSource.PRICE_TABLE, "openrouter")
            built_in = _look_up(call, model, provider, names)
            if built_in is not None:
                yield built_in


def _look_up(call: Call, model: str, provider: str | None, names: tuple[str, ...]) -> _PriceList | None:
    minute = call.started_at_us // _MINUTE_US
    return _price_list(model, provider, minute, _service_tier(_metadata(call)), names)


@dataclass(frozen=True, slots=True)
class _PriceList:
    """One model's prices as a sum: reading the table takes a tenth of a millisecond, adding takes microseconds.

    `calculate` is there where a model gets dearer or cheaper with the size of its prompt, and is asked each time.
    """

    source: CostSource
    provider_id: str | None
    date: str
    a_call: Decimal = _FREE
    by_million: Marginals | None = None
    calculate: Callable[[dict[str, int]], PriceCalculation] | None = None

    def total(self, billed: dict[str, int]) -> Decimal:
        """Raises ValueError for counts that contradict each other."""
        if self.calculate is not None:
            return self.calculate(billed).total_price
        return self.a_call + _sum(self.by_million or {}, billed)

    def marginals(self, billed: dict[str, int]) -> Marginals:
        if self.calculate is None:
            return self.by_million or {}
        some = {name: billed.get(name, 0) + room for name, room in _ROOM.items()}
        total = self.calculate(some).total_price
        return {
            name: (self.calculate({**some, name: count + 1}).total_price - total) * _MILLION
            for name, count in some.items()
        }


def _listed(listed: Listed, source: CostSource, provider_id: str | None) -> _PriceList:
    prices = listed.prices
    return _PriceList(source, provider_id, listed.date, prices.a_call, prices.marginals())


def _sum(by_million: Marginals, billed: dict[str, int]) -> Decimal:
    """A count that the list does not name is free."""
    priced = [by_million[name] * count for name, count in billed.items() if name in by_million]
    return sum(priced, _FREE) / _MILLION


@functools.lru_cache(maxsize=4096)
def _price_list(
    model: str, provider: str | None, minute: int, service_tier: str | None, names: tuple[str, ...]
) -> _PriceList | None:
    """What holds at this minute (some prices have a day they begin, or hours), for a usage that tells `names`.

    None for what the table does not know, or cannot price with these names.
    """
    table = _table()
    timestamp = datetime.fromtimestamp(minute * _MINUTE_US / 1e6, tz=UTC)
    context = {} if service_tier is None else {"service_tier": service_tier}

    def calculate(billed: dict[str, int]) -> PriceCalculation:
        found: PriceCalculation = table.calc_price(
            table.Usage(**billed),
            model,
            provider_id=provider,
            genai_request_timestamp=timestamp,
            price_context=context,
        )
        return found

    probe = {name: _PROBE[name] for name in names}
    try:
        found = calculate(probe)
        if any(isinstance(price, table.types.TieredPrices) for price in vars(found.model_price).values()):
            return _PriceList(CostSource.PRICE_TABLE, found.provider.id, _table_version(), calculate=calculate)
        more = {name: calculate({**probe, name: probe[name] + _MILLION}).total_price for name in names}
    except (LookupError, ValueError):  # not in the table, or not by these names
        return None
    by_million = {name: total - found.total_price for name, total in more.items()}
    a_call = found.total_price - _sum(by_million, probe)
    return _PriceList(CostSource.PRICE_TABLE, found.provider.id, _table_version(), a_call, by_million)


def billed_of(call: Call) -> dict[str, int]:
    """What is billed of a call, in the table's words: tokens and searches, each part no larger than its whole."""
    return _billed(call.usage, _metadata(call))


def _billed(usage: Usage, metadata: dict[str, object]) -> dict[str, int]:
    """Cached tokens are part of the input there, as they are here.

    What is sound or a picture, Anthropic's writes for an hour and its web searches have prices of their own; only
    the usage as sent, which decode keeps in the metadata, tells them.
    """
    read, written = usage.input_tokens or 0, usage.output_tokens or 0
    reasoning = usage.reasoning_tokens or 0
    if reasoning and usage.total_tokens == read + written + reasoning:
        written += reasoning  # xAI counts them beside the output, and bills them
    cache_read = min(usage.cache_read_input_tokens or 0, read)
    cache_written = min(usage.cache_creation_input_tokens or 0, read - cache_read)
    told = metadata.get("usage")
    audio = min(_first_number(told, _INPUT_DETAILS, "audio_tokens"), read)
    image = min(_first_number(told, _INPUT_DETAILS, "image_tokens"), read - audio)
    audio_written = min(_first_number(told, _OUTPUT_DETAILS, "audio_tokens"), written)
    cached_audio = _first_number(told, _INPUT_DETAILS, "cached_tokens_details", "audio_tokens")
    cached_image = _first_number(told, _INPUT_DETAILS, "cached_tokens_details", "image_tokens")
    cached_audio = min(cached_audio, audio, cache_read)
    billed = {
        "input_tokens": read,
        "output_tokens": written,
        "cache_read_tokens": cache_read,
        "cache_write_tokens": cache_written,
        "cache_write_1h_tokens": min(
            _number_at(told, "cache_creation", "ephemeral_1h_input_tokens"), cache_written
        ),
        "input_audio_tokens": audio,
        "cache_audio_read_tokens": cached_audio,
        "input_image_tokens": image,
        "cache_image_read_tokens": min(cached_image, image, cache_read - cached_audio),
        "output_reasoning_tokens": min(reasoning, written - audio_written),
        "output_audio_tokens": audio_written,
        "output_image_tokens": min(
            _first_number(told, _OUTPUT_DETAILS, "image_tokens"), max(0, written - audio_written - reasoning)
        ),
        "web_searches": _number_at(told, "server_tool_use", "web_search_requests"),
    }
    return {name: count for name, count in billed.items() if count or name in ("input_tokens", "output_tokens")}


_INPUT_DETAILS = ("prompt_tokens_details", "input_tokens_details")
_OUTPUT_DETAILS = ("completion_tokens_details", "output_tokens_details")


def _first_number(told: object, blocks: tuple[str, ...], *path: str) -> int:
    """Of blocks that chat completions and Responses name differently."""
    return next((number for block in blocks if (number := _number_at(told, block, *path))), 0)


def _number_at(value: object, *path: str) -> int:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, int) and value > 0 else 0


def _metadata(call: Call) -> dict[str, object]:
    metadata: object = orjson.loads(call.response_metadata or b"{}")
    return metadata if isinstance(metadata, dict) else {}


def _service_tier(metadata: dict[str, object]) -> str | None:
    """Some models cost less or more in another service tier; the answer says which one it was."""
    tier = metadata.get("service_tier")
    return tier if isinstance(tier, str) else None


@functools.cache
def _table() -> ModuleType:
    with lean.hollow("httpx2"):  # to fetch newer prices, which is not its work here
        import genai_prices  # noqa: PLC0415 - 0.2 s, and OpenRouter tells its own figure

    return genai_prices


def read_table(upstream_url: str | None) -> None:
    """Before the first call waits for it. Not where the upstream tells what its calls cost, as OpenRouter does."""
    if upstream_url is not None and "openrouter.ai" not in upstream_url:
        _provider_of_url(upstream_url)


@functools.cache
def _table_version() -> str:
    """The prices of a release are those of its day; the package has no date of its own."""
    return f"genai-prices {_table().__version__}"
