"""The page of a project's keys: make one (shown once), replace it, end it; and the provider key. No script."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode
from uuid import UUID

from aiohttp import web

from watchllm_proxy.console import account, formats, keys
from watchllm_proxy.console.answers import Problem
from watchllm_proxy.console.context import ACCOUNTS, VISITOR, now_us
from watchllm_proxy.console.forms import form_fields
from watchllm_proxy.console.html import render
from watchllm_proxy.console.pages.fields import in_words, limits, plain, whole
from watchllm_proxy.grants import Scope
from watchllm_proxy.store.keys import DEFAULT_SCOPES, KeyInfo, NewKey

SCOPES = {
    Scope.PROXY: "send calls to the upstream",
    Scope.INGEST: "report runs and events",
    Scope.READ: "see what was captured",
    Scope.ADMIN: "correct, erase and change settings",
}
LIMITS = ("requests_per_minute", "monthly_cap_usd")
GRACES = ((3_600, "in an hour"), (86_400, "in a day"), (604_800, "in a week"), (0, "at once"))


@dataclass(frozen=True, slots=True)
class KeyRow:
    """`limits`: as their fields hold them; `errors`: what is wrong with which of them."""

    info: KeyInfo
    state: str
    is_in_force: bool
    can_rotate: bool
    limits: Mapping[str, str]
    errors: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class WrongLimits:
    """What was written for a key and cannot be."""

    key_id: UUID
    written: Mapping[str, str]
    errors: Mapping[str, str]


async def keys_page(request: web.Request) -> web.Response:
    return await _page(request, _project_of(request, request.query))


async def create_form(request: web.Request) -> web.Response:
    fields = await form_fields(request)
    project_id = _project_of(request, fields)
    try:
        scopes = keys.scopes_of([str(word) for word in fields.getall("scope", [])])
        made = await keys.create_key(request, project_id, keys.name_of(dict(fields)), scopes)
    except Problem as exc:
        return await _page(request, project_id, problem=exc)
    return await _page(request, project_id, made=made)


async def rotate_form(request: web.Request) -> web.Response:
    fields = await form_fields(request)
    project_id = _project_of(request, fields)
    try:
        grace_s = keys.grace_of(whole(fields.get("grace_s", "")))
        made = await keys.rotate_key(request, project_id, keys.key_id_of(request), grace_s)
    except Problem as exc:
        return await _page(request, project_id, problem=exc)
    return await _page(request, project_id, made=made)


async def revoke_form(request: web.Request) -> web.Response:
    project_id = _project_of(request, await form_fields(request))
    await keys.revoke_key(request, project_id, keys.key_id_of(request))
    raise _back(request, project_id)


async def limits_form(request: web.Request) -> web.Response:
    """Both limits of a key; one that is left empty is none."""
    fields = dict(await form_fields(request))
    project_id, key_id = _project_of(request, fields), keys.key_id_of(request)
    wanted = limits(fields, LIMITS)
    errors = {}
    for name in LIMITS:
        try:
            account.read(name, wanted.get(name))
        except Problem as exc:
            errors[name] = in_words(exc)
    if errors:
        return await _page(request, project_id, wrong=WrongLimits(key_id, fields, errors))
    if not await request.app[ACCOUNTS].limit_key(project_id, key_id, *account.read_limits(wanted)):
        raise web.HTTPNotFound
    raise _back(request, project_id)


async def provider_key_form(request: web.Request) -> web.Response:
    fields = await form_fields(request)
    project_id = _project_of(request, fields)
    if "remove" in fields:
        await keys.remove_provider_key(request, project_id)
        raise _back(request, project_id)
    try:
        await keys.set_provider_key(request, project_id, fields.get("provider_key"))
    except Problem as exc:
        return await _page(request, project_id, problem=exc)
    raise _back(request, project_id)


def _project_of(request: web.Request, fields: Mapping[str, str]) -> str:
    return keys.project_meant(request, fields.get("project_id"))


def _back(request: web.Request, project_id: str) -> web.HTTPSeeOther:
    is_own = project_id == request[VISITOR].project_id
    return web.HTTPSeeOther(
        "/settings/keys" if is_own else f"/settings/keys?{urlencode({'project_id': project_id})}"
    )


async def _page(
    request: web.Request,
    project_id: str,
    *,
    made: NewKey | None = None,
    problem: Problem | None = None,
    wrong: WrongLimits | None = None,
) -> web.Response:
    now = now_us()
    info = await keys.project_shown(request, project_id)
    found = await keys.list_keys(request, project_id)
    return render(
        request,
        "keys.html",
        status=problem.status if problem is not None else 422 if wrong is not None else 201 if made else 200,
        nav="keys",
        project_id=project_id,
        is_own=project_id == request[VISITOR].project_id,
        project_name=info.name,
        rows=[_row(each, now, wrong) for each in reversed(found)],
        made=made,
        problem=problem,
        scopes=SCOPES,
        usual=DEFAULT_SCOPES,
        graces=GRACES,
        max_name=account.MAX_NAME,
        provider_key=await keys.provider_key(request, project_id),
        can_seal=keys.can_seal(request),
        now=now,
    )


def _row(info: KeyInfo, now: int, wrong: WrongLimits | None) -> KeyRow:
    is_in_force = info.is_in_force(now)
    is_wrong = wrong is not None and wrong.key_id == info.key_id
    return KeyRow(
        info,
        _state(info, now),
        is_in_force,
        can_rotate=is_in_force and info.expires_at_us is None,
        limits={**_limits(info), **(wrong.written if wrong is not None and is_wrong else {})},
        errors=wrong.errors if wrong is not None and is_wrong else {},
    )


def _limits(info: KeyInfo) -> dict[str, str]:
    return {
        "requests_per_minute": "" if info.requests_per_minute is None else str(info.requests_per_minute),
        "monthly_cap_usd": "" if info.monthly_cap_usd is None else plain(info.monthly_cap_usd),
    }


def _state(info: KeyInfo, now: int) -> str:
    if info.revoked_at_us is not None:
        return f"revoked {formats.ago(info.revoked_at_us, now)}"
    if info.expires_at_us is None:
        return "in force"
    if now < info.expires_at_us:
        return f"ends in {formats.duration(info.expires_at_us - now)}"
    return f"ended {formats.ago(info.expires_at_us, now)}"
