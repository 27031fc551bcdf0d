"""`GET /api/usage`, `/api/plans`, `GET` and `PATCH /api/project`, `PATCH /api/keys/{key_id}/limits`."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime

from aiohttp import web

from watchllm_proxy.console import account, formats
from watchllm_proxy.console.account import Account
from watchllm_proxy.console.answers import BadParameter, json_answer
from watchllm_proxy.console.api.bodies import json_object
from watchllm_proxy.console.context import ACCOUNTS, now_us, project_of
from watchllm_proxy.console.correcting import known_fields_only
from watchllm_proxy.console.keys import key_id_of, project_meant
from watchllm_proxy.enrich.flags.thresholds import CHOICES
from watchllm_proxy.store.plans import Plan
from watchllm_proxy.store.project_settings import ProjectSettings
from watchllm_proxy.store.usage import UsedDay

_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")


async def usage(request: web.Request) -> web.Response:
    return json_answer({"usage": _usage(await account.account_of(request, month_of(request)))})


async def plans(request: web.Request) -> web.Response:
    desk = request.app[ACCOUNTS]
    current = await desk.plan(project_of(request))
    found = [_plan(plan) for plan in await desk.plans()]
    return json_answer({"plans": found, "current": None if current is None else current.plan})


async def project(request: web.Request) -> web.Response:
    found = await request.app[ACCOUNTS].settings(project_meant(request, request.query.get("project_id")))
    if found is None:
        raise web.HTTPNotFound
    return json_answer({"project": _project(found)})


async def change_project(request: web.Request) -> web.Response:
    """Fields that are left out stay as they are."""
    fields = await json_object(request)
    known_fields_only(fields, *account.CHOICES, "project_id")
    project_id = project_meant(request, fields.pop("project_id", None))
    return json_answer({"project": _project(await account.change(request, project_id, fields))})


async def limit_key(request: web.Request) -> web.Response:
    """Both limits of a key: what is left out, or null, is no limit."""
    fields = await json_object(request)
    known_fields_only(fields, "requests_per_minute", "monthly_cap_usd", "project_id")
    project_id, key_id = project_meant(request, fields.get("project_id")), key_id_of(request)
    limits = account.read_limits(fields)
    if not await request.app[ACCOUNTS].limit_key(project_id, key_id, *limits):
        raise web.HTTPNotFound
    return json_answer({"key": {"key_id": key_id, "requests_per_minute": limits[0], "monthly_cap_usd": limits[1]}})


def month_of(request: web.Request) -> date:
    """The month of the address, such as 2026-11; else this one."""
    named = request.query.get("month")
    if named is None:
        now = datetime.fromtimestamp(now_us() / 1e6, UTC)
        return date(now.year, now.month, 1)
    found = _MONTH.fullmatch(named)
    if found is None or not 1970 <= int(found[1]) <= 9998:
        raise BadParameter("month", "month must be a month of UTC such as 2026-11.")
    return date(int(found[1]), int(found[2]), 1)


def _usage(month: Account) -> dict[str, object]:
    return {
        "month": f"{month.month:%Y-%m}",
        "resets_at": formats.instant(month.resets_at_us),
        "plan": None if month.plan is None else month.plan.plan,
        "requests": month.requests,
        "quota": month.quota,
        "passed_over_quota": month.passed_over_quota,
        "refused": month.refused,
        "cost_usd": month.cost_usd,
        "monthly_cap_usd": month.cap_usd,
        "unpriced_calls": month.unpriced_calls,
        "warnings": month.warnings,
        "days": [_day(day) for day in month.days],
        "keys": [
            {"key_id": each.key_id or None, "cost_usd": each.cost_usd, "unpriced_calls": each.unpriced_calls}
            for each in month.keys
        ],
    }


def _day(used: UsedDay) -> dict[str, object]:
    return {
        "day": used.day.isoformat(),
        "requests": used.counts.passed,
        "refused": used.counts.refused,
        "cost_usd": used.cost_usd,
        "unpriced_calls": used.unpriced_calls,
    }


def _plan(plan: Plan) -> dict[str, object]:
    return {
        "plan": plan.plan,
        "title": plan.title,
        "monthly_usd": plan.monthly_usd,
        "monthly_requests": plan.monthly_requests,
        "retention_days": plan.retention_days,
        "features": sorted(plan.features),
    }


def _project(chosen: ProjectSettings) -> dict[str, object]:
    return {
        "project_id": chosen.project_id,
        "name": chosen.name,
        "plan": chosen.plan,
        "wanted_plan": chosen.wanted_plan,
        "over_quota": chosen.over_quota,
        "retention_days": chosen.retention_days,
        "requests_per_minute": chosen.requests_per_minute,
        "monthly_cap_usd": chosen.monthly_cap_usd,
        "flag_thresholds": {
            name: int(value) if CHOICES[name][2] else value for name, value in chosen.flag_thresholds
        },
    }
