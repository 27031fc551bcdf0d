"""The pages of projects: all of them, for who runs the installation; and one, with its limits and all its keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiohttp import web

from watchllm_proxy.console import account, keys
from watchllm_proxy.console.answers import Problem
from watchllm_proxy.console.context import ACCOUNTS, VISITOR, now_us
from watchllm_proxy.console.forms import form_fields
from watchllm_proxy.console.html import render
from watchllm_proxy.console.pages.fields import in_words, limits, number, plain, whole
from watchllm_proxy.console.pages.keys import GRACES
from watchllm_proxy.enrich.flags.thresholds import CHOICES, DEFAULT_THRESHOLDS
from watchllm_proxy.store.keys import NewKey
from watchllm_proxy.store.project_settings import ProjectSettings

LIMITS = ("requests_per_minute", "monthly_cap_usd", "retention_days")
THRESHOLD = "threshold."
"""Before the name of a flag's threshold, in the form."""

Said = Mapping[str, str]
"""By the name of a field: what is wrong with it, or what was written there."""


@dataclass(frozen=True, slots=True)
class ThresholdRow:
    """`usual`: what holds where nothing is written; None: nothing does."""

    name: str
    value: str
    usual: str | None
    least: str
    most: str


def path_of(project_id: str) -> str:
    return f"/settings/projects/{project_id}"


# --- all projects ---------------------------------------------------------------------------------------


async def projects_page(request: web.Request) -> web.Response:
    return await _list(request)


async def create_form(request: web.Request) -> web.Response:
    fields = await form_fields(request)
    name = fields.get("name", "").strip()
    project_id = fields.get("project_id", "").strip()
    try:
        await keys.create_project(request, project_id, keys.name_of({"name": name}) if name else None)
    except Problem as exc:
        if exc.status == 403:
            raise
        return await _list(request, problem=exc, written={"project_id": project_id, "name": name})
    raise web.HTTPSeeOther(path_of(project_id))


async def _list(
    request: web.Request, *, problem: Problem | None = None, written: Said | None = None
) -> web.Response:
    return render(
        request,
        "projects.html",
        status=problem.status if problem is not None else 200,
        nav="projects",
        projects=await keys.list_projects(request),
        titles={plan.plan: plan.title for plan in await request.app[ACCOUNTS].plans()},
        errors={problem.param: in_words(problem)} if problem is not None else {},
        written=written or {},
        max_name=account.MAX_NAME,
        now=now_us(),
    )


# --- one project ----------------------------------------------------------------------------------------


async def project_page(request: web.Request) -> web.Response:
    return await _page(request)


async def project_form(request: web.Request) -> web.Response:
    """What the form has is put in place, all of it or, where a field is wrong, nothing."""
    project_id = _named(request)
    fields = dict(await form_fields(request))
    wanted, errors = _read(fields)
    if not errors:
        try:
            await account.change(request, project_id, wanted)
        except Problem as exc:
            if exc.status == 403 or exc.param is None:
                raise
            errors = {exc.param: in_words(exc)}
    if errors:
        return await _page(request, errors=errors, written=fields)
    raise web.HTTPSeeOther(f"{path_of(project_id)}?saved=true")


async def rotate_form(request: web.Request) -> web.Response:
    project_id, grace = _named(request), (await form_fields(request)).get("grace_s", "")
    grace_s = keys.grace_of(whole(grace))
    return await _page(request, made=await keys.rotate_keys(request, project_id, grace_s))


async def revoke_form(request: web.Request) -> web.Response:
    """Of so many keys at once a person says that he means it."""
    project_id = _named(request)
    if "sure" not in await form_fields(request):
        return await _page(request, errors={"sure": "Tick this, for it cannot be taken back."})
    return await _page(request, revoked=await keys.revoke_keys(request, project_id))


async def _page(
    request: web.Request,
    *,
    errors: Said | None = None,
    written: Said | None = None,
    made: Sequence[NewKey] | None = None,
    revoked: int | None = None,
) -> web.Response:
    info = await keys.project_shown(request, request.match_info["project_id"])
    desk = request.app[ACCOUNTS]
    chosen = await desk.settings(info.project_id)
    if chosen is None:
        raise web.HTTPNotFound
    plans = {plan.plan: plan for plan in await desk.plans()}
    return render(
        request,
        "project.html",
        status=422 if errors else 201 if made else 200,
        nav="project" if info.project_id == request[VISITOR].project_id else "projects",
        project=info,
        plans=plans,
        plan=plans[chosen.plan],
        chosen=chosen,
        shown={**_shown(chosen), **(written or {})},
        thresholds=_thresholds(chosen, written or {}),
        is_folded=not chosen.flag_thresholds and not any(name.startswith(THRESHOLD) for name in errors or {}),
        errors=errors or {},
        is_saved="saved" in request.query,
        made=made,
        revoked=revoked,
        graces=GRACES,
        max_name=account.MAX_NAME,
    )


def _named(request: web.Request) -> str:
    return keys.project_meant(request, request.match_info["project_id"])


# --- what the form says ---------------------------------------------------------------------------------


def _read(fields: Said) -> tuple[dict[str, object], dict[str, str]]:
    """As `account.change` takes it, and what is wrong with which field."""
    asked = {name: fields[name] for name in ("name", "plan", "over_quota") if name in fields}
    wanted: dict[str, object] = {**asked, **limits(fields, (*LIMITS, "wanted_plan"))}
    errors: dict[str, str] = {}
    for name, value in wanted.items():
        _check(name, name, value, errors)
    thresholds = {name: fields[THRESHOLD + name] for name in CHOICES if THRESHOLD + name in fields}
    numbers = {name: number(text.strip()) for name, text in thresholds.items()}
    told = {name: value for name, value in numbers.items() if value is not None}
    for name, value in told.items():
        _check("flag_thresholds", THRESHOLD + name, {name: value}, errors)
    return ({**wanted, "flag_thresholds": told} if thresholds else wanted), errors


def _check(name: str, field: str, value: object, errors: dict[str, str]) -> None:
    try:
        account.read(name, value)
    except Problem as exc:
        errors[field] = in_words(exc)


# --- what it shows --------------------------------------------------------------------------------------


def _shown(chosen: ProjectSettings) -> dict[str, str]:
    numbers = {name: getattr(chosen, name) for name in LIMITS}
    return {
        "name": chosen.name,
        "over_quota": chosen.over_quota,
        **{name: "" if value is None else plain(value) for name, value in numbers.items()},
    }


def _thresholds(chosen: ProjectSettings, written: Said) -> list[ThresholdRow]:
    own = {name: plain(value) for name, value in chosen.flag_thresholds}
    return [
        ThresholdRow(
            name,
            value=written.get(THRESHOLD + name, own.get(name, "")),
            usual=None if getattr(DEFAULT_THRESHOLDS, name) is None else plain(getattr(DEFAULT_THRESHOLDS, name)),
            least=plain(least),
            most=plain(most),
        )
        for name, (least, most, _) in CHOICES.items()
    ]
