"""Prices that are not the built-in table's: those that a project set, and a list as OpenRouter publishes it.

Both become *marginal* prices: what one more of a count costs, given that some counts are part of others (a cached
token is an input token already). So a cost is one sum, whoever's prices they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from enum import StrEnum

MILLION = 1_000_000
_MAX_USD = Decimal(1_000_000)
"""For a million tokens, or for one call. What is beyond is a unit that we do not know."""

Marginals = Mapping[str, Decimal]
"""US dollars for a million more of a count of `prices.billed`."""


class Rate(StrEnum):
    """What has a price. Of tokens: US dollars a million; of a call and a web search: US dollars each."""

    INPUT = "input"
    OUTPUT = "output"
    CACHE_READ = "cache_read"
    CACHE_WRITE = "cache_write"
    CACHE_WRITE_1H = "cache_write_1h"
    REASONING = "reasoning"
    INPUT_AUDIO = "input_audio"
    OUTPUT_AUDIO = "output_audio"
    INPUT_IMAGE = "input_image"
    OUTPUT_IMAGE = "output_image"
    WEB_SEARCH = "web_search"
    CALL = "call"


PER_MILLION = frozenset(Rate) - {Rate.WEB_SEARCH, Rate.CALL}

_INSTEAD = {
    Rate.CACHE_READ: Rate.INPUT,
    Rate.CACHE_WRITE: Rate.INPUT,
    Rate.CACHE_WRITE_1H: Rate.CACHE_WRITE,
    Rate.REASONING: Rate.OUTPUT,
    Rate.INPUT_AUDIO: Rate.INPUT,
    Rate.OUTPUT_AUDIO: Rate.OUTPUT,
    Rate.INPUT_IMAGE: Rate.INPUT,
    Rate.OUTPUT_IMAGE: Rate.OUTPUT,
}


@dataclass(frozen=True, slots=True)
class ModelPrices:
    """Of one model. What has no rate of its own costs what the plain tokens cost; a search and a call, nothing."""

    rates: Mapping[Rate, Decimal]

    def rate(self, rate: Rate) -> Decimal:
        found = self.rates.get(rate)
        if found is not None:
            return found
        instead = _INSTEAD.get(rate)
        return Decimal(0) if instead is None else self.rate(instead)

    @property
    def a_call(self) -> Decimal:
        return self.rate(Rate.CALL)

    def marginals(self) -> Marginals:
        read, written = self.rate(Rate.INPUT), self.rate(Rate.OUTPUT)
        audio, image = self.rate(Rate.INPUT_AUDIO), self.rate(Rate.INPUT_IMAGE)
        return {
            "input_tokens": read,
            "output_tokens": written,
            "cache_read_tokens": self.rate(Rate.CACHE_READ) - read,
            "cache_write_tokens": self.rate(Rate.CACHE_WRITE) - read,
            "cache_write_1h_tokens": self.rate(Rate.CACHE_WRITE_1H) - self.rate(Rate.CACHE_WRITE),
            "output_reasoning_tokens": self.rate(Rate.REASONING) - written,
            "input_audio_tokens": audio - read,
            "cache_audio_read_tokens": read - audio,  # costs what any cached token costs
            "output_audio_tokens": self.rate(Rate.OUTPUT_AUDIO) - written,
            "input_image_tokens": image - read,
            "cache_image_read_tokens": read - image,
            "output_image_tokens": self.rate(Rate.OUTPUT_IMAGE) - written,
            "web_searches": self.rate(Rate.WEB_SEARCH) * MILLION,
        }


@dataclass(frozen=True, slots=True)
class Listed:
    """A model's prices, and since when they hold (ISO): that is told with every cost they made."""

    prices: ModelPrices
    date: str


@dataclass(frozen=True, slots=True)
class PriceBook:
    """Prices that come before the built-in table's. Names of models are in lower case."""

    overrides: Mapping[tuple[str, str], Listed] = field(default_factory=dict)  # (project, model)
    openrouter: Mapping[str, Listed] = field(default_factory=dict)  # as fetched last

    def override(self, project_id: str, model: str) -> Listed | None:
        """That of `vendor/model` holds for `model` too: an upstream may answer with either name."""
        found = self.overrides.get((project_id, model))
        return found or self.overrides.get((project_id, model.rpartition("/")[2]))


NO_BOOK = PriceBook()


def read_prices(value: object) -> ModelPrices:
    """Prices by the names of `Rate`, as numbers or decimal texts. Raises ValueError, in words for a person."""
    if not isinstance(value, Mapping) or not value:
        raise ValueError('prices are an object such as {"input": "0.15", "output": "0.60"}')
    rates: dict[Rate, Decimal] = {}
    for name, told in value.items():
        try:
            rate = Rate(str(name))
        except ValueError as exc:
            known = ", ".join(Rate)
            raise ValueError(f"there is no price called {str(name)[:40]!r}; there are {known}") from exc
        rates[rate] = _usd(rate, told)
    if Rate.CALL not in rates and not {Rate.INPUT, Rate.OUTPUT} & rates.keys():
        raise ValueError("prices need input, output or call")
    return ModelPrices(rates)


def _usd(rate: Rate, told: object) -> Decimal:
    unit = "US dollars for a million tokens" if rate in PER_MILLION else "US dollars"
    try:
        usd = Decimal(str(told)) if not isinstance(told, bool) else Decimal("NaN")
    except InvalidOperation as exc:
        raise ValueError(f"{rate} is a number, in {unit}") from exc
    if not usd.is_finite() or not 0 <= usd <= _MAX_USD:
        raise ValueError(f"{rate} is a number from 0 to {_MAX_USD}, in {unit}")
    return usd


def written_prices(prices: ModelPrices) -> dict[str, str]:
    """What `read_prices` reads: exact decimals."""
    return {rate.value: format(prices.rates[rate], "f") for rate in Rate if rate in prices.rates}


# --- a list as OpenRouter's /models tells it -------------------------------------------------------------

_OPENROUTER_TOKENS = {
    "prompt": Rate.INPUT,
    "completion": Rate.OUTPUT,
    "input_cache_read": Rate.CACHE_READ,
    "input_cache_write": Rate.CACHE_WRITE,
    "internal_reasoning": Rate.REASONING,
    "audio": Rate.INPUT_AUDIO,
}
_OPENROUTER_EACH = {"request": Rate.CALL, "web_search": Rate.WEB_SEARCH}


def read_openrouter_models(document: object) -> dict[str, ModelPrices]:
    """By id, in lower case: {"data": [{"id", "pricing": {"prompt": "0.00000015", …}}]}, dollars a token.

    A model without a price that can be told beforehand (routers have "-1") is left out. What an image costs is
    told by the piece there, and nobody counts pieces: it is left out too. Raises ValueError where it is no such
    list, or an empty one.
    """
    models = document.get("data") if isinstance(document, Mapping) else None
    if not isinstance(models, list):
        raise ValueError('no list of models: expected {"data": [{"id": …, "pricing": {…}}, …]}')
    found = dict(_openrouter_models(models))
    if not found:
        raise ValueError("no model of this list tells its prices")
    return found


def _openrouter_models(models: list[object]) -> Iterator[tuple[str, ModelPrices]]:
    for model in models:
        if not isinstance(model, Mapping):
            continue
        pricing = model.get("pricing")
        prices = _openrouter_prices(pricing) if isinstance(pricing, Mapping) else None
        if prices is None:
            continue
        for name in dict.fromkeys((model.get("id"), model.get("canonical_slug"))):
            if isinstance(name, str) and name:
                yield name.lower(), prices


def _openrouter_prices(pricing: Mapping[str, object]) -> ModelPrices | None:
    rates: dict[Rate, Decimal] = {}
    for name, rate in (*_OPENROUTER_TOKENS.items(), *_OPENROUTER_EACH.items()):
        told = pricing.get(name)
        if told is None:
            continue
        try:
            usd = Decimal(str(told))
        except InvalidOperation:
            return None
        usd = usd * MILLION if rate in PER_MILLION else usd
        if not usd.is_finite() or not 0 <= usd <= _MAX_USD:
            return None
        if usd or rate in {Rate.INPUT, Rate.OUTPUT}:  # "0" of the others: no price of its own
            rates[rate] = usd.normalize() + 0
    return ModelPrices(rates) if {Rate.INPUT, Rate.OUTPUT} <= rates.keys() else None
