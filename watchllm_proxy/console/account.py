"""A project's account: its plan, what it used, its limits. What the page and the API say, and who may see what.

The seam to the store is `AccountDesk`. What a plan has not is answered 402 with the plan that has it, before the
handler is asked; the features stand beside the routes in `app`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Protocol
from uuid import UUID

from aiohttp import web

from watchllm_proxy.console.answers import Problem
from watchllm_proxy.console.context import ACCOUNTS, FEATURES, VISITOR, project_of
from watchllm_proxy.console.values import whole_number
from watchllm_proxy.enrich.flags import thresholds
from watchllm_proxy.store.plans import Feature, Plan, smallest_with
from watchllm_proxy.store.project_settings import OverQuota, ProjectSettings
from watchllm_proxy.store.usage import KeySpent, UsedDay

FEATURE_LABELS: Mapping[Feature, str] = {
    Feature.EVENTS: "Events",
    Feature.DASHBOARD: "Runs and calls",
    Feature.DEBUGGER: "Debugger timeline",
    Feature.COST_ATTRIBUTION: "Cost attribution",
    Feature.ANOMALY_DETECTION: "Anomaly detection",
}
FEATURE_SHOWS: Mapping[Feature, str] = {
    Feature.EVENTS: "Events that your programs report, to be looked for by run, user, model and time.",
    Feature.DASHBOARD: "Every run of every agent in a list: what set it off, how it ended, what it cost.",
    Feature.DEBUGGER: "A run step by step: each decision, tool call and answer, with its time, its cost and why.",
    Feature.COST_ATTRIBUTION: "Where the money went: by model, agent, version, key and day.",
    Feature.ANOMALY_DETECTION: "Loops, repeated tools, lost caches and costly steps, pointed out as they happen.",
}

NEAR = Decimal("0.8")
"""Of a quota or a cap: from here on the pages warn."""

MAX_NAME = 200
MAX_REQUESTS_PER_MINUTE = 1_000_000
MAX_CAP_USD = Decimal(1_000_000)
MAX_RETENTION_DAYS = 36_500


class AccountDesk(Protocol):
    """All may raise `StoreUnavailable`."""

    async def plans(self) -> Sequence[Plan]: ...

    async def plan(self, project_id: str) -> Plan | None:
        """As of some seconds ago; as it was last known, while the store is away. None: no such project."""

    async def used(self, project_id: str, first: date, after: date) -> Sequence[UsedDay]: ...
    async def spent_by_key(self, project_id: str, first: date, after: date) -> Sequence[KeySpent]: ...
    async def settings(self, project_id: str) -> ProjectSettings | None: ...
    async def change(
        self, project_id: str, edit: Callable[[ProjectSettings], ProjectSettings]
    ) -> ProjectSettings | None: ...
    async def limit_key(
        self, project_id: str, key_id: UUID, requests_per_minute: int | None, monthly_cap_usd: Decimal | None
    ) -> bool: ...


class NobodysAccounts:
    """Where there are no plans: everything may be used, and nothing can be changed."""

    async def plans(self) -> Sequence[Plan]:
        return ()

    async def plan(self, project_id: str) -> Plan | None:
        return None

    async def used(self, project_id: str, first: date, after: date) -> Sequence[UsedDay]:
        return ()

    async def spent_by_key(self, project_id: str, first: date, after: date) -> Sequence[KeySpent]:
        return ()

    async def settings(self, project_id: str) -> ProjectSettings | None:
        return None

    async def change(
        self, project_id: str, edit: Callable[[ProjectSettings], ProjectSettings]
    ) -> ProjectSettings | None:
        return None

    async def limit_key(
        self, project_id: str, key_id: UUID, requests_per_minute: int | None, monthly_cap_usd: Decimal | None
    ) -> bool:
        return False


# --- what a plan has not ----------------------------------------------------------------------------


class UpgradeRequired(Problem):
    """`plan` has the feature; None: none does."""

    def __init__(self, feature: Feature, current: Plan, plan: Plan | None) -> None:
        self.feature = feature
        self.current = current
        self.plan = plan
        label = FEATURE_LABELS[feature]
        message = f"{label}: no plan of this installation has that."
        if plan is not None:
            message = (
                f"{label}: that needs the plan {plan.title} ({plan.plan}); this project has {current.title}. "
                "GET /api/plans lists the plans; PATCH /api/project asks for one (`wanted_plan`)."
            )
        super().__init__(402, "upgrade_required", message)


@web.middleware
async def within_plan(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """What the plan of the project has not is not served. Stands behind the guard, which knows who asks."""
    feature = request.app[FEATURES].get(getattr(request.match_info, "handler", None))
    if feature is None or VISITOR not in request:
        return await handler(request)
    desk = request.app[ACCOUNTS]
    plan = await desk.plan(project_of(request))
    if plan is None or feature in plan.features:
        return await handler(request)
    raise UpgradeRequired(feature, plan, smallest_with(await desk.plans(), feature))


# --- what was used ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Account:
    """A month of a project. `resets_at_us`: when the next one begins."""

    month: date
    resets_at_us: int
    plan: Plan | None
    settings: ProjectSettings | None
    days: tuple[UsedDay, ...]
    keys: tuple[KeySpent, ...]

    @property
    def resets_at(self) -> str:
        """For people."""
        return f"{next_month(self.month)} 00:00 UTC"

    @property
    def requests(self) -> int:
        return sum(day.counts.passed for day in self.days)

    @property
    def refused(self) -> dict[str, int]:
        return {
            "quota": sum(day.counts.refused_quota for day in self.days),
            "rate": sum(day.counts.refused_rate for day in self.days),
            "cap": sum(day.counts.refused_cap for day in self.days),
            "share": sum(day.counts.refused_share for day in self.days),
        }

    @property
    def passed_over_quota(self) -> int:
        return sum(day.counts.passed_over_quota for day in self.days)

    @property
    def cost_usd(self) -> Decimal:
        return sum((day.cost_usd for day in self.days), Decimal(0))

    @property
    def unpriced_calls(self) -> int:
        return sum(day.unpriced_calls for day in self.days)

    @property
    def quota(self) -> int | None:
        return self.plan.monthly_requests if self.plan is not None else None

    @property
    def cap_usd(self) -> Decimal | None:
        return self.settings.monthly_cap_usd if self.settings is not None else None

    @property
    def quota_used(self) -> Decimal | None:
        return _share(Decimal(self.requests), self.quota)

    @property
    def cap_used(self) -> Decimal | None:
        return _share(self.cost_usd, self.cap_usd)

    @property
    def warnings(self) -> tuple[str, ...]:
        """For programs: near_quota, over_quota, near_cap, over_cap."""
        found = []
        for used, what in ((self.quota_used, "quota"), (self.cap_used, "cap")):
            if used is not None and used >= NEAR:
                found.append(f"over_{what}" if used >= 1 else f"near_{what}")
        return tuple(found)


async def account_of(request: web.Request, month: date) -> Account:
    desk, project_id = request.app[ACCOUNTS], project_of(request)
    after = next_month(month)
    return Account(
        month=month,
        resets_at_us=int(datetime(after.year, after.month, 1, tzinfo=UTC).timestamp()) * 1_000_000,
        plan=await desk.plan(project_id),
        settings=await desk.settings(project_id),
        days=tuple(await desk.used(project_id, month, after)),
        keys=tuple(await desk.spent_by_key(project_id, month, after)),
    )


def next_month(month: date) -> date:
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


def _share(used: Decimal, of: Decimal | int | None) -> Decimal | None:
    if of is None:
        return None
    return used / Decimal(of) if of else Decimal(1)


# --- what can be chosen -----------------------------------------------------------------------------


async def change(request: web.Request, project_id: str, fields: Mapping[str, object]) -> ProjectSettings:
    """Put what `fields` say in place; what they leave out stays. Raises `Problem`, or 404.

    A plan is given by who runs the installation; whoever administers the project asks for it (decision 0250).
    """
    desk = request.app[ACCOUNTS]
    if "plan" in fields and not request[VISITOR].is_operator:
        raise Problem(
            403,
            "operator_required",
            "Plans are given by who administers the project `default`. Send `wanted_plan` to ask for one.",
            "plan",
        )
    plans = {plan.plan: plan for plan in await desk.plans()}
    wanted = {name: read(name, value) for name, value in fields.items()}
    for name in ("plan", "wanted_plan"):
        if wanted.get(name) is not None and wanted[name] not in plans:
            raise _bad(name, f"must be one of {', '.join(plans)}.")

    def edit(before: ProjectSettings) -> ProjectSettings:
        answered = {"wanted_plan": None} if "plan" in wanted else {}
        after = replace(before, **{**answered, **wanted})  # type: ignore[arg-type]
        if after.wanted_plan == after.plan:
            after = replace(after, wanted_plan=None)
        if {"plan", "retention_days"} & wanted.keys():
            _check_retention(after, plans.get(after.plan))
        return after

    after = await desk.change(project_id, edit)
    if after is None:
        raise web.HTTPNotFound
    return after


def _check_retention(after: ProjectSettings, plan: Plan | None) -> None:
    """A project may keep its calls less long than its plan says, never longer."""
    longest = plan.retention_days if plan is not None else None
    if not longest or after.retention_days is None:
        return
    if after.retention_days == 0 or after.retention_days > longest:
        raise _bad("retention_days", f"must be at most {longest}: that is what the plan {after.plan} keeps.")


def read(name: str, value: object) -> object:
    """What can be put in place as `name`; raises `Problem`."""
    return _READ[name](name, value)


def read_limits(fields: Mapping[str, object]) -> tuple[int | None, Decimal | None]:
    """Requests a minute and US dollars a month of a key; raises `Problem`."""
    return (
        _read_rate("requests_per_minute", fields.get("requests_per_minute")),
        _read_cap("monthly_cap_usd", fields.get("monthly_cap_usd")),
    )


def _bad(name: str, message: str) -> Problem:
    return Problem(422, "invalid_parameter", f"{name} {message}", name)


def _read_plan(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise _bad(name, "must be the name of a plan.")
    return value


def _read_wanted_plan(name: str, value: object) -> str | None:
    return None if value is None else _read_plan(name, value)


def _read_name(name: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_NAME:
        raise _bad(name, f"must be a text of 1 to {MAX_NAME} characters.")
    return value.strip()


def _read_over_quota(name: str, value: object) -> OverQuota:
    if not isinstance(value, str) or value not in list(OverQuota):
        raise _bad(name, "must be refuse or pass.")
    return OverQuota(value)


def _read_retention(name: str, value: object) -> int | None:
    return _whole(name, value, 0, MAX_RETENTION_DAYS)


def _read_rate(name: str, value: object) -> int | None:
    return _whole(name, value, 1, MAX_REQUESTS_PER_MINUTE)


def _read_cap(name: str, value: object) -> Decimal | None:
    """A number, or a text of one, for those who want it exact. As JSON it is a float: 12 decimals of it count."""
    if value is None:
        return None
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            amount = Decimal(str(value))
        except InvalidOperation:
            amount = Decimal("NaN")
        if amount.is_finite() and 0 <= amount <= MAX_CAP_USD:
            return round(amount, 12)
    raise _bad(name, f"must be US dollars from 0 to {MAX_CAP_USD:,}, or null for no cap.")


def _read_flag_thresholds(name: str, value: object) -> tuple[tuple[str, Decimal], ...]:
    """All that differ from what holds for all; none: null."""
    if value is not None and not isinstance(value, dict):
        raise _bad(name, "must be an object of numbers, or null.")
    return tuple(sorted((each, _threshold(name, each, number)) for each, number in (value or {}).items()))


def _threshold(name: str, each: str, value: object) -> Decimal:
    if each not in thresholds.CHOICES:
        raise _bad(name, f"knows no {each[:40]!r}; there are {', '.join(thresholds.CHOICES)}.")
    least, most, is_whole = thresholds.CHOICES[each]
    if isinstance(value, int | float) and not isinstance(value, bool):
        amount = Decimal(str(value))
        if thresholds.is_choice(each, amount):
            return round(amount, 12)
    what = "a whole number" if is_whole else "a number"
    raise _bad(name, f"needs {what} from {least:,} to {most:,} as {each}.")


def _whole(name: str, value: object, least: int, most: int) -> int | None:
    if value is None:
        return None
    number = whole_number(value)
    if number is None or not least <= number <= most:
        raise _bad(name, f"must be a whole number from {least:,} to {most:,}, or null.")
    return number


_READ: Mapping[str, Callable[[str, object], object]] = {
    "name": _read_name,
    "plan": _read_plan,
    "wanted_plan": _read_wanted_plan,
    "over_quota": _read_over_quota,
    "retention_days": _read_retention,
    "requests_per_minute": _read_rate,
    "monthly_cap_usd": _read_cap,
    "flag_thresholds": _read_flag_thresholds,
}
CHOICES = tuple(_READ)
