"""The pages of plans: what was used this month, what can be had, and what a plan has not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from aiohttp import web

from watchllm_proxy.console import account
from watchllm_proxy.console.account import FEATURE_LABELS, FEATURE_SHOWS, Account, UpgradeRequired
from watchllm_proxy.console.api.account import month_of
from watchllm_proxy.console.context import ACCOUNTS, POOL, may, project_of
from watchllm_proxy.console.forms import form_fields
from watchllm_proxy.console.html import render
from watchllm_proxy.grants import Scope
from watchllm_proxy.store.plans import Plan
from watchllm_proxy.store.usage import RequestCounts, UsedDay

_FIRST_MONTH = date(2026, 1, 1)


@dataclass(frozen=True, slots=True)
class DayBar:
    """A row of the month: `share_percent` of its busiest day."""

    used: UsedDay
    share_percent: int


async def settings_home(request: web.Request) -> web.Response:
    """To the first of the settings that whoever asks may see."""
    may_manage_keys = request.app[POOL] is not None and may(request, Scope.ADMIN)
    raise web.HTTPFound("/settings/keys" if may_manage_keys else "/usage")


async def usage_page(request: web.Request) -> web.Response:
    month = await account.account_of(request, month_of(request))
    return render(
        request,
        "usage.html",
        nav="usage",
        month=month,
        title=f"{month.month:%B %Y}",
        resets_at=month.resets_at,
        notes=warning_sentences(month),
        bars=bars(month),
        previous=_month_before(month.month),
        quota_percent=percent(month.quota_used),
        cap_percent=percent(month.cap_used),
    )


def _month_before(month: date) -> str | None:
    """None where a link would lead back for ever: nothing was counted before `_FIRST_MONTH`."""
    return f"{month - timedelta(days=1):%Y-%m}" if month > _FIRST_MONTH else None


async def pricing_page(request: web.Request) -> web.Response:
    desk = request.app[ACCOUNTS]
    current, chosen = await desk.plan(project_of(request)), await desk.settings(project_of(request))
    return render(
        request,
        "pricing.html",
        nav="plans",
        plans=[plan for plan in await desk.plans() if plan.monthly_usd is not None or plan == current],
        current=current,
        project_id=project_of(request),
        features=FEATURE_LABELS,
        wanted=None if chosen is None else chosen.wanted_plan,
        may_change=may(request, Scope.ADMIN),
    )


async def choose_plan(request: web.Request) -> web.Response:
    """From the pricing page: `plan` by who runs the installation, else `wanted_plan`; empty: no longer."""
    fields = await form_fields(request)
    if "wanted_plan" in fields:
        wanted: dict[str, object] = {"wanted_plan": fields["wanted_plan"] or None}
    else:
        wanted = {"plan": fields.get("plan", "")}
    await account.change(request, project_of(request), wanted)
    raise web.HTTPSeeOther("/pricing")


def upgrade_page(request: web.Request, needed: UpgradeRequired) -> web.Response:
    """What the page would show, and how to get it."""
    return render(
        request,
        "upgrade.html",
        status=402,
        nav="",
        label=FEATURE_LABELS[needed.feature],
        shows=FEATURE_SHOWS[needed.feature],
        current=needed.current,
        plan=needed.plan,
        price=price_of(needed.plan),
    )


def price_of(plan: Plan | None) -> str:
    if plan is None or plan.monthly_usd is None:
        return ""
    return f"${plan.monthly_usd.normalize():f} a month"


def bars(month: Account) -> list[DayBar]:
    """Every day of the month up to the last one with something in it, empty ones too."""
    if not month.days:
        return []
    by_day = {day.day: day for day in month.days}
    nothing = UsedDay(month.month, RequestCounts(), Decimal(0), 0)
    busiest = max(day.counts.passed for day in month.days) or 1
    dates = [month.month + timedelta(days=index) for index in range(max(by_day).day)]
    filled = [by_day.get(each) or UsedDay(each, nothing.counts, nothing.cost_usd, 0) for each in dates]
    return [DayBar(day, 100 * day.counts.passed // busiest) for day in filled]


def warning_sentences(month: Account) -> list[str]:
    resets = f"The next month begins at {month.resets_at}."
    passes = month.settings is not None and month.settings.over_quota == "pass"
    beyond = (
        "Requests pass, and of those beyond it figures are kept, and no text."
        if passes
        else "Requests are refused with 429 quota_exceeded."
    )
    sentences = {
        "near_quota": f"{percent(month.quota_used)} % of this month's requests are used. {resets}",
        "over_quota": f"This month's requests are used up. {beyond} {resets}",
        "near_cap": f"{percent(month.cap_used)} % of this month's cap on money is spent. {resets}",
        "over_cap": f"The cap on money is reached: requests are refused with 429 spending_cap_reached. {resets}",
    }
    return [sentences[warning] for warning in month.warnings]


def percent(share: Decimal | None) -> int | None:
    """Rounded down: 100 is all of it."""
    return None if share is None else int(share * 100)
