"""What the prompt cache saved a run, and where it broke: a request that could not read what the one before could.

Where upstreams tell how many tokens came from their cache; None accuses nobody. A break is a fall of that number
from one request of a run to the next one of the same model. Where the histories differ, the first message that is
not the same broke the prefix; where they do not, the cache was gone by itself (its time was over, or another
machine served it), and no message is to blame.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from uuid import UUID

import orjson

from watchllm_proxy.enrich.price_lists import MILLION
from watchllm_proxy.enrich.prices import marginals_of
from watchllm_proxy.records import Call, SentCall, SentMessage

MIN_LOST_TOKENS = 1024
"""Providers cache no shorter prompt, and most count in steps of 64 to 128."""


@dataclass(frozen=True, slots=True)
class CacheBreak:
    """`message_index`: of the first message that differs, in the request; None: none does. `usd_lost` None: the
    model's prices are not known."""

    call_id: UUID
    previous_call_id: UUID
    tokens_lost: int
    usd_lost: Decimal | None
    message_index: int | None
    message: SentMessage | None  # what stands there now
    previous: SentMessage | None  # what stood there before
    character: int | None = None  # of its text, the first that differs; None: not looked for


def cache_breaks(calls: Sequence[SentCall]) -> tuple[CacheBreak, ...]:
    """`calls`: all of a run, in the order they began in."""
    return tuple(_breaks(calls))


def _breaks(calls: Sequence[SentCall]) -> Iterator[CacheBreak]:
    before: SentCall | None = None
    line: list[SentMessage] = []
    for sent in calls:
        kept = min(sent.kept, len(line))
        if before is not None and kept and _model(before.call) == _model(sent.call):
            lost = _cached(before.call) - _cached(sent.call)
            if lost >= MIN_LOST_TOKENS and sent.call.usage.cache_read_input_tokens is not None:
                is_changed = kept < len(line)
                yield CacheBreak(
                    sent.call.call_id,
                    before.call.call_id,
                    lost,
                    saved_usd(sent.call, min(lost, _fresh(sent.call))),
                    kept if is_changed else None,
                    sent.new[0] if is_changed and sent.new else None,
                    line[kept] if is_changed else None,
                )
        line[kept:] = sent.new
        before = sent


def saved_by_cache_usd(calls: Sequence[SentCall]) -> Decimal | None:
    """What the cached tokens would have cost more as fresh ones, less what writing to the cache cost more. None:
    no call with cached tokens has a model whose prices are known."""
    saved = [usd for sent in calls if (usd := _saved(sent.call)) is not None]
    return sum(saved, Decimal(0)) if saved else None


def saved_usd(call: Call, cached_tokens: int) -> Decimal | None:
    """What so many tokens cost less from the cache than fresh, at this call's price."""
    known = marginals_of(call)
    return None if known is None else -known.get("cache_read_tokens", Decimal(0)) * cached_tokens / MILLION


def _saved(call: Call) -> Decimal | None:
    read, written = _cached(call), call.usage.cache_creation_input_tokens or 0
    if not read and not written:
        return None
    known = marginals_of(call)
    if known is None:
        return None
    surcharge = known.get("cache_write_tokens", Decimal(0)) * written
    return -(known.get("cache_read_tokens", Decimal(0)) * read + surcharge) / MILLION


def _cached(call: Call) -> int:
    return call.usage.cache_read_input_tokens or 0


def _fresh(call: Call) -> int:
    """Tokens that were not read from the cache: of a shorter request no more than these could have been."""
    return max(0, (call.usage.input_tokens or 0) - _cached(call))


def _model(call: Call) -> str | None:
    return call.request_model


def with_characters(breaks: Sequence[CacheBreak], contents: Mapping[str, bytes]) -> tuple[CacheBreak, ...]:
    """`contents`: the JSON of messages by their hashes; one that is not there is not looked at."""
    return tuple(_with_character(each, contents) for each in breaks)


def _with_character(broke: CacheBreak, contents: Mapping[str, bytes]) -> CacheBreak:
    found = [contents.get(each.content_hash) for each in (broke.previous, broke.message) if each is not None]
    texts = [readable(content) for content in found if content is not None]
    return broke if len(texts) < 2 else replace(broke, character=first_difference(texts[0], texts[1]))


def readable(content: bytes) -> str:
    """The text of a message: its `content` where that is one text, else its JSON."""
    message: object = orjson.loads(content)
    text = message.get("content") if isinstance(message, dict) else message
    return text if isinstance(text, str) else content.decode("utf-8", "replace")


def first_difference(one: str, other: str) -> int:
    """At which character two texts part; their common length where one goes on from the other."""
    shorter = min(len(one), len(other))
    low, high = 0, shorter
    while low < high:  # slices are compared at the speed of memory
        middle = (low + high + 1) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    return low
