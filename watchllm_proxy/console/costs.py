"""What a project's calls cost over some days: what the page, its table and its twins for programs say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from operator import attrgetter

from aiohttp import web

from watchllm_proxy.console.context import ACCOUNTS, project_of, reading_of
from watchllm_proxy.console.queries import CostsBy, CostsQuery
from watchllm_proxy.errors import StoreUnavailable
from watchllm_proxy.store.costs import CostBy, CostGroup


@dataclass(frozen=True, slots=True)
class Costs:
    """`days`: every day of UTC that was asked for, in order. `groups`: the dearest first; None: not known now."""

    query: CostsQuery
    days: Sequence[CostGroup]
    groups: Sequence[CostGroup] | None

    @property
    def total(self) -> CostGroup:
        """Of all groups, also of those that are too many to be told."""
        return CostGroup(
            name=None,
            cost_usd=sum((day.cost_usd for day in self.days), Decimal(0)),
            unpriced_calls=sum(day.unpriced_calls for day in self.days),
            calls=_sum(self.days, "calls"),
            failed_calls=_sum(self.days, "failed_calls"),
            input_tokens=_sum(self.days, "input_tokens"),
            output_tokens=_sum(self.days, "output_tokens"),
            cache_read_input_tokens=_sum(self.days, "cache_read_input_tokens"),
        )


def _sum(days: Sequence[CostGroup], figure: str) -> int | None:
    """None: not known of some day."""
    figures = [attrgetter(figure)(day) for day in days]
    return None if None in figures else sum(figures)


async def load_costs(request: web.Request, query: CostsQuery) -> Costs:
    """May raise `StoreUnavailable`."""
    found = await _stored(request, CostBy.DAY, query)
    days = _every_day(query, found, CostGroup("", Decimal(0), 0, 0, 0, 0, 0, 0))
    match query.by:
        case CostsBy.DAY:
            groups: Sequence[CostGroup] = [day for day in days if day.calls]
        case CostsBy.KEY:
            groups = await _by_key(request, query)
        case CostsBy.TOOL:
            groups = await _by_tool(request, query)
        case _:
            groups = await _stored(request, CostBy(query.by.value), query)
    return Costs(query, days, groups)


async def load_what_is_known(request: web.Request, query: CostsQuery) -> Costs:
    """The same without what only the store of calls knows, while that is away."""
    try:
        return await load_costs(request, query)
    except StoreUnavailable:
        first, after = days_of(query)
        used = await request.app[ACCOUNTS].used(project_of(request), first, after)
        found = [CostGroup(each.day.isoformat(), each.cost_usd, each.unpriced_calls) for each in used]
        days = _every_day(query, found, CostGroup("", Decimal(0), 0))
        in_postgres = {CostsBy.KEY: _by_key, CostsBy.TOOL: _by_tool}.get(query.by)
        return Costs(query, days, None if in_postgres is None else await in_postgres(request, query))


async def _stored(request: web.Request, by: CostBy, query: CostsQuery) -> Sequence[CostGroup]:
    reading = reading_of(request)
    return await reading.costs(project_of(request), by, from_us=query.from_us, to_us=query.to_us)


async def _by_key(request: web.Request, query: CostsQuery) -> Sequence[CostGroup]:
    spent = await request.app[ACCOUNTS].spent_by_key(project_of(request), *days_of(query))
    return [CostGroup(each.key_id or None, each.cost_usd, each.unpriced_calls) for each in spent]


async def _by_tool(request: web.Request, query: CostsQuery) -> Sequence[CostGroup]:
    reading = reading_of(request)
    return await reading.costs_by_tool(project_of(request), from_us=query.from_us, to_us=query.to_us)


def days_of(query: CostsQuery) -> tuple[date, date]:
    """The first day of UTC, and the one after the last."""
    first = datetime.fromtimestamp(query.from_us // 1_000_000, UTC).date()
    last = datetime.fromtimestamp((query.to_us - 1) // 1_000_000, UTC).date()
    return first, last + timedelta(days=1)


def _every_day(query: CostsQuery, found: Sequence[CostGroup], nothing: CostGroup) -> Sequence[CostGroup]:
    first, after = days_of(query)
    by_day = {each.name: each for each in found}
    names = [(first + timedelta(days=number)).isoformat() for number in range((after - first).days)]
    return [by_day.get(name) or replace(nothing, name=name) for name in names]
