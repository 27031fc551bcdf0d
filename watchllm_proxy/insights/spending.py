"""A run's money in one: what messages carried, what the cache saved and lost, what could have been saved."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from watchllm_proxy.insights.caching import CacheBreak, cache_breaks, saved_by_cache_usd
from watchllm_proxy.insights.carried import CarriedCosts, carried_costs
from watchllm_proxy.records import SentCall, Step


@dataclass(frozen=True, slots=True)
class Spending:
    carried: CarriedCosts
    saved_by_cache_usd: Decimal | None  # None: not known
    breaks: tuple[CacheBreak, ...]

    def lost_by_breaks_usd(self, but_of: Collection[UUID | int] = ()) -> Decimal:
        """Of the breaks that a changed message made, as far as prices are known: those could have been avoided.

        `but_of`: calls whose whole cost is counted elsewhere.
        """
        avoidable = (each for each in self.breaks if each.message_index is not None)
        lost = (each.usd_lost for each in avoidable if each.call_id not in but_of)
        return sum((usd for usd in lost if usd is not None), Decimal(0))


def spending(calls: Sequence[SentCall], steps: Sequence[Step]) -> Spending:
    """`calls`: all of a run, in the order they began in; `steps`: its steps by index."""
    return Spending(carried_costs(calls, steps), saved_by_cache_usd(calls), cache_breaks(calls))
