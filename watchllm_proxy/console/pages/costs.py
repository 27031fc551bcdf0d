"""The page of costs: bars of days that the server draws, and a table; `.csv` and `.json` say the same exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from statistics import median
from urllib.parse import urlencode

from aiohttp import web

from watchllm_proxy.console.addresses import agent_path, runs_path
from watchllm_proxy.console.answers import json_answer
from watchllm_proxy.console.context import now_us
from watchllm_proxy.console.costs import Costs, days_of, load_costs, load_what_is_known
from watchllm_proxy.console.formats import compact, count_of, instant, usd
from watchllm_proxy.console.html import render
from watchllm_proxy.console.queries import CostsBy, CostsQuery, costs_query
from watchllm_proxy.console.tables import table_answer, table_of
from watchllm_proxy.store.costs import MAX_GROUPS, CostGroup

BAR_WIDTH = 10
CHART_HEIGHT = 100
BY_WORDS = {
    CostsBy.MODEL: "Model",
    CostsBy.AGENT: "Agent",
    CostsBy.VERSION: "Version",
    CostsBy.TOOL: "Tool",
    CostsBy.KEY: "Key",
    CostsBy.DAY: "Day",
}
TIMES = {"24h": "Last 24 hours", "7d": "Last 7 days", "30d": "Last 30 days", "90d": "Last 90 days"}
_UNNAMED = {
    CostsBy.MODEL: "no model named",
    CostsBy.AGENT: "no agent named",
    CostsBy.VERSION: "no version named",
    CostsBy.TOOL: "asked for no tool",
    CostsBy.KEY: "without a key",
    CostsBy.DAY: "",
}
_ENOUGH_DAYS = 5
"""With something spent, before one of them may be called unusual."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A day in the chart, in units of its view box."""

    x: int
    height: int
    title: str


@dataclass(frozen=True, slots=True)
class Row:
    """A group as the table shows it."""

    label: str
    path: str | None  # its runs
    group: CostGroup
    share: str


async def costs_page(request: web.Request) -> web.Response:
    query = costs_query(request.query, now_us())
    costs = await load_what_is_known(request, query)
    return render(
        request,
        "costs.html",
        nav="costs",
        costs=costs,
        rows=None if costs.groups is None else [_row(costs, group) for group in costs.groups],
        are_all_told=costs.groups is None or len(costs.groups) < MAX_GROUPS,
        bars=bars(costs.days),
        days=[_row(costs, day, CostsBy.DAY) for day in costs.days],
        dearest=dearest_day(costs.days),
        by_words=BY_WORDS,
        times=TIMES,
        until=request.query.get("until", ""),
        path_of=lambda by, suffix="": _path(request, by, suffix),
    )


async def costs_json(request: web.Request) -> web.Response:
    return json_answer(costs_document(await load_costs(request, costs_query(request.query, now_us()))))


async def costs_csv(request: web.Request) -> web.Response:
    """A line for each group."""
    query = costs_query(request.query, now_us())
    costs = await load_costs(request, query)
    first, after = days_of(query)
    return table_answer(f"costs-by-{query.by}-{first}-{after - timedelta(days=1)}.csv", costs_table(costs))


def costs_document(costs: Costs) -> dict[str, object]:
    return {
        "by": costs.query.by.value,
        "since": instant(costs.query.from_us),
        "until": instant(costs.query.to_us),
        "total": _figures(costs.total),
        "groups": [{"name": group.name, **_figures(group)} for group in costs.groups or ()],
        "days": [{"day": day.name, **_figures(day)} for day in costs.days],
    }


def _figures(group: CostGroup) -> dict[str, object]:
    return {
        "cost_usd": group.known_cost_usd,
        "unpriced_calls": group.unpriced_calls,
        "calls": group.calls,
        "failed_calls": group.failed_calls,
        "input_tokens": group.input_tokens,
        "output_tokens": group.output_tokens,
        "cache_read_input_tokens": group.cache_read_input_tokens,
    }


def costs_table(costs: Costs) -> str:
    head = [costs.query.by.value, *_figures(costs.total)]
    return table_of(head, ([group.name or "", *_figures(group).values()] for group in costs.groups or ()))


def bars(days: Sequence[CostGroup]) -> list[Bar]:
    """The dearest day is as high as the chart; whatever cost something is seen."""
    highest = max((day.cost_usd for day in days), default=Decimal(0))
    return [
        Bar(
            x=number * BAR_WIDTH,
            height=max(1, int(CHART_HEIGHT * day.cost_usd / highest)) if day.cost_usd else 0,
            title=_bar_title(day),
        )
        for number, day in enumerate(days)
    ]


def _bar_title(day: CostGroup) -> str:
    calls = f", {count_of(day.calls, 'call')}" if day.calls is not None else ""
    unpriced = f", {compact(day.unpriced_calls)} unpriced" if day.unpriced_calls else ""
    return f"{day.name}: {usd(day.known_cost_usd)}{calls}{unpriced}"


def dearest_day(days: Sequence[CostGroup]) -> str:
    """In words, with how unusual it is; "" where nothing was spent."""
    spent = [day.cost_usd for day in days if day.cost_usd]
    if not spent:
        return ""
    dearest = max(days, key=lambda day: day.cost_usd)
    usual = median(spent)
    times = f", {dearest.cost_usd / usual:.1f} times the median day" if len(spent) >= _ENOUGH_DAYS else ""
    return f"Dearest day: {dearest.name}, {usd(dearest.cost_usd)}{times}"


def _row(costs: Costs, group: CostGroup, by: CostsBy | None = None) -> Row:
    by = by or costs.query.by
    total = costs.total.cost_usd
    share = f"{100 * group.cost_usd / total:.1f} %" if total and group.known_cost_usd is not None else "–"
    return Row(group.name or _UNNAMED[by], _runs_of(by, group.name, costs.query), group, share)


def _runs_of(by: CostsBy, name: str | None, query: CostsQuery) -> str | None:
    if by is CostsBy.AGENT and name:
        return agent_path(name)
    if by is CostsBy.DAY and name:
        return runs_path(
            {"since": name, "until": str(date.fromisoformat(name) + timedelta(days=1)), "kind": "all"}
        )
    return None


def _path(request: web.Request, by: CostsBy, suffix: str = "") -> str:
    """This page by something else, or one of its twins."""
    kept = {name: value for name, value in request.query.items() if name in {"since", "until"} and value}
    return f"/costs{suffix}?{urlencode({'by': by.value, **kept}, errors='replace')}"
