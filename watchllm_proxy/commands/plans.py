"""`watchllm projects plan|limits`, `watchllm keys limits`, `watchllm usage`: what a project may use, and used.

They ask Postgres and not the running server; the proxies take a change up within seconds.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from watchllm_proxy.commands import options
from watchllm_proxy.commands.api_client import CommandFailed, ExitStatus, NotFound
from watchllm_proxy.commands.keys import keys, projects
from watchllm_proxy.commands.terminal import Column, Terminal, clean, errors_told, table
from watchllm_proxy.console import formats
from watchllm_proxy.records import DEFAULT_PROJECT_ID

if TYPE_CHECKING:  # what needs the drivers is imported late: `--help` need not wait for them
    import asyncpg

    from watchllm_proxy.store.plans import Plan
    from watchllm_proxy.store.project_settings import ProjectSettings
    from watchllm_proxy.store.usage import UsedDay

PLAN_COLUMNS = (
    Column("PLAN"),
    Column("A MONTH", align_right=True),
    Column("REQUESTS", align_right=True),
    Column("KEPT", align_right=True),
    Column("HAS"),
)
DAY_COLUMNS = (
    Column("DAY"),
    Column("REQUESTS", align_right=True),
    Column("REFUSED", align_right=True),
    Column("COST", align_right=True),
)
NONE = "none"

Project = Annotated[str, typer.Option("--project", "-p", help="Whose.")]
Rate = Annotated[
    str | None,
    typer.Option("--requests-per-minute", metavar="N", help="Beyond it 429; `none`: any number."),
]
Cap = Annotated[
    str | None,
    typer.Option("--monthly-cap-usd", metavar="USD", help="From then on 429, in a month of UTC; `none`: no cap."),
]


def add_to(app: typer.Typer) -> None:
    """Two of them stand among the commands of projects and keys."""
    projects.command("plan")(plan)
    projects.command("limits")(limits)
    keys.command("limits")(key_limits)
    app.command("usage")(usage)


def plan(
    project: Annotated[str, typer.Argument(help="The project.")],
    wanted: Annotated[str | None, typer.Argument(metavar="[PLAN]", help="Left out: show the plans.")] = None,
    *,
    as_json: options.Json = False,
) -> None:
    """Give a project a plan, or show what there is and which one it has."""
    with errors_told("/pricing", is_data=as_json):
        from watchllm_proxy.commands import key_work  # noqa: PLC0415
        from watchllm_proxy.store import plans, project_settings  # noqa: PLC0415

        async def ask(pool: asyncpg.Pool) -> tuple[tuple[Plan, ...], str]:
            await key_work.must_exist(pool, project)
            found = await plans.all_plans(pool)
            if wanted is not None:
                if wanted not in {each.plan for each in found}:
                    names = ", ".join(each.plan for each in found)
                    raise CommandFailed(f"there is no plan {clean(wanted)!r}; there are {names}", ExitStatus.USAGE)
                await project_settings.change(
                    pool, project, lambda now: replace(now, plan=wanted, wanted_plan=None)
                )
            chosen = await project_settings.of_project(pool, project)
            return found, "" if chosen is None else chosen.plan

        found, current = key_work.asked(ask)
        terminal = Terminal()
        if as_json:
            terminal.json({"plans": [_plan(each) for each in found], "current": current})
        elif wanted is None:
            for line in table(
                PLAN_COLUMNS, [_plan_cells(each, is_current=each.plan == current) for each in found]
            ):
                terminal.line(line)
        else:
            terminal.say(f"Project {project} has the plan {current}. Proxies and pages know it within seconds.")


def limits(
    project: Annotated[str, typer.Argument(help="The project.")],
    *,
    over_quota: Annotated[
        str | None,
        typer.Option(help="refuse (429), or pass: pass requests on and keep figures, and no text."),
    ] = None,
    requests_per_minute: Rate = None,
    monthly_cap_usd: Cap = None,
) -> None:
    """Set what a project may send, and what becomes of the rest. What is left out stays."""
    with errors_told("/usage"):
        from watchllm_proxy.commands import key_work  # noqa: PLC0415
        from watchllm_proxy.store import project_settings  # noqa: PLC0415
        from watchllm_proxy.store.project_settings import OverQuota  # noqa: PLC0415

        if over_quota is not None and over_quota not in list(OverQuota):
            raise CommandFailed("--over-quota is refuse or pass", ExitStatus.USAGE)
        rate, cap = _rate(requests_per_minute), _cap(monthly_cap_usd)

        def edit(now: ProjectSettings) -> ProjectSettings:
            return replace(
                now,
                over_quota=now.over_quota if over_quota is None else OverQuota(over_quota),
                requests_per_minute=now.requests_per_minute if requests_per_minute is None else rate,
                monthly_cap_usd=now.monthly_cap_usd if monthly_cap_usd is None else cap,
            )

        async def ask(pool: asyncpg.Pool) -> ProjectSettings:
            changed = await project_settings.change(pool, project, edit)
            if changed is None:
                raise NotFound(f"there is no project {clean(project)!r}")
            return changed

        now = key_work.asked(ask)
        beyond = "refused" if now.over_quota == "refuse" else "passed"
        Terminal().say(
            f"Project {project}: over its quota requests are {beyond}; "
            f"{_in_words(now.requests_per_minute, now.monthly_cap_usd)}."
        )


def key_limits(
    key: Annotated[str, typer.Argument(help="Its id as `keys list` shows it or the beginning of that.")],
    *,
    project: Project = DEFAULT_PROJECT_ID,
    requests_per_minute: Rate = None,
    monthly_cap_usd: Cap = None,
) -> None:
    """Set both limits of a key: one that is left out is none."""
    with errors_told("/settings/keys"):
        from watchllm_proxy.commands import key_work  # noqa: PLC0415
        from watchllm_proxy.store import keys as stored  # noqa: PLC0415

        rate, cap = _rate(requests_per_minute), _cap(monthly_cap_usd)

        async def ask(pool: asyncpg.Pool) -> str:
            await key_work.must_exist(pool, project)
            meant = key_work.only_match(await stored.list_keys(pool, project), key)
            if not await stored.limit_key(pool, project, meant.key_id, rate, cap):
                raise CommandFailed(f"the key {meant.key_prefix}… is revoked")
            return meant.key_prefix

        Terminal().say(f"Key {key_work.asked(ask)}…: {_in_words(rate, cap)}.")


def usage(
    *,
    project: Project = DEFAULT_PROJECT_ID,
    month: Annotated[str | None, typer.Option(help="Such as 2026-11, of UTC; left out: this one.")] = None,
    as_json: options.Json = False,
) -> None:
    """Show what a project used in a month: requests, refusals, cost, by day."""
    with errors_told("/usage", is_data=as_json):
        from watchllm_proxy.commands import key_work  # noqa: PLC0415
        from watchllm_proxy.store import plans  # noqa: PLC0415
        from watchllm_proxy.store import usage as stored  # noqa: PLC0415

        first = _month(month)
        after = date(first.year + first.month // 12, first.month % 12 + 1, 1)

        async def ask(pool: asyncpg.Pool) -> tuple[Plan | None, tuple[UsedDay, ...]]:
            await key_work.must_exist(pool, project)
            return await plans.plan_of(pool, project), await stored.used_days(pool, project, first, after)

        has, days = key_work.asked(ask)
        terminal, requests = Terminal(), sum(day.counts.passed for day in days)
        quota = has.monthly_requests if has is not None else None
        if as_json:
            terminal.json(
                {"month": f"{first:%Y-%m}", "requests": requests, "quota": quota, "days": list(map(_day, days))}
            )
            return
        for line in table(DAY_COLUMNS, [_day_cells(day) for day in days]):
            terminal.line(line)
        of_quota = "" if quota is None else f" of {quota:,} ({100 * requests // max(quota, 1)} %)"
        terminal.say(f"{requests:,} requests{of_quota} in {first:%Y-%m}.")


def _plan_cells(each: Plan, *, is_current: bool) -> tuple[Text, ...]:
    usd = "–" if each.monthly_usd is None else f"${each.monthly_usd.normalize():f}"
    requests = "unlimited" if each.monthly_requests is None else f"{each.monthly_requests:,}"
    kept = {None: "as set", 0: "ever"}.get(each.retention_days, f"{each.retention_days} d")
    name = Text(f"{each.plan} *" if is_current else each.plan, style="bold" if is_current else "")
    return name, Text(usd), Text(requests), Text(kept), Text(", ".join(sorted(each.features)))


def _plan(each: Plan) -> dict[str, object]:
    return {**asdict(each), "features": sorted(each.features)}


def _day_cells(day: UsedDay) -> tuple[Text, ...]:
    return (
        Text(day.day.isoformat()),
        Text(f"{day.counts.passed:,}"),
        Text(f"{day.counts.refused:,}"),
        Text(formats.usd(day.cost_usd)),
    )


def _day(day: UsedDay) -> dict[str, object]:
    return {
        "day": day.day.isoformat(),
        "requests": day.counts.passed,
        "refused": day.counts.refused,
        "cost_usd": day.cost_usd,
        "unpriced_calls": day.unpriced_calls,
    }


def _rate(written: str | None) -> int | None:
    if written is None or written == NONE:
        return None
    if not written.isascii() or not written.isdigit() or not 0 < int(written) <= 1_000_000:
        raise CommandFailed(
            "--requests-per-minute is a whole number from 1 to 1,000,000, or none", ExitStatus.USAGE
        )
    return int(written)


def _cap(written: str | None) -> Decimal | None:
    if written is None or written == NONE:
        return None
    try:
        amount = Decimal(written)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or not 0 <= amount <= 1_000_000:
        raise CommandFailed("--monthly-cap-usd is US dollars from 0 to 1,000,000, or none", ExitStatus.USAGE)
    return round(amount, 12)


def _in_words(rate: int | None, cap: Decimal | None) -> str:
    return (
        f"{'any number of' if rate is None else f'{rate:,}'} requests a minute, "
        f"{'no cap on money' if cap is None else f'{formats.usd(cap)} a month'}"
    )


def _month(written: str | None) -> date:
    now = datetime.now(UTC)
    try:
        return date(now.year, now.month, 1) if written is None else date.fromisoformat(f"{written}-01")
    except ValueError:
        raise CommandFailed("--month is a month such as 2026-11", ExitStatus.USAGE) from None
