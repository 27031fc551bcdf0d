"""The page of a project's keys: make one (shown once), replace it, end it; and the provider key. No script."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from watchllm_proxy.console import formats, keys
from watchllm_proxy.console.answers import Problem
from watchllm_proxy.console.context import now_us, project_of
from watchllm_proxy.console.forms import form_fields
from watchllm_proxy.console.html import render
from watchllm_proxy.grants import Scope
from watchllm_proxy.store.keys import DEFAULT_SCOPES, KeyInfo, NewKey

SCOPES = {
    Scope.PROXY: "send calls to the upstream",
    Scope.INGEST: "report runs and events",
    Scope.READ: "see what was captured",
    Scope.ADMIN: "correct, erase and change settings",
}
GRACES = ((3_600, "in an hour"), (86_400, "in a day"), (604_800, "in a week"), (0, "at once"))


@dataclass(frozen=True, slots=True)
class KeyRow:
    info: KeyInfo
    state: str
    is_in_force: bool
    can_rotate: bool


async def keys_page(request: web.Request) -> web.Response:
    return await _page(request)


async def create_form(request: web.Request) -> web.Response:
    fields = await form_fields(request)
    try:
        scopes = keys.scopes_of([str(word) for word in fields.getall("scope", [])])
        made = await keys.create_key(request, project_of(request), keys.name_of(dict(fields)), scopes)
    except Problem as exc:
        return await _page(request, problem=exc)
    return await _page(request, made=made)


async def rotate_form(request: web.Request) -> web.Response:
    grace = (await form_fields(request)).get("grace_s", "")
    try:
        grace_s = keys.grace_of(int(grace) if grace.isdecimal() else None)
        made = await keys.rotate_key(request, project_of(request), keys.key_id_of(request), grace_s)
    except Problem as exc:
        return await _page(request, problem=exc)
    return await _page(request, made=made)


async def revoke_form(request: web.Request) -> web.Response:
    await keys.revoke_key(request, project_of(request), keys.key_id_of(request))
    raise web.HTTPSeeOther("/settings/keys")


async def provider_key_form(request: web.Request) -> web.Response:
    fields = await form_fields(request)
    if "remove" in fields:
        await keys.remove_provider_key(request, project_of(request))
        raise web.HTTPSeeOther("/settings/keys")
    try:
        await keys.set_provider_key(request, project_of(request), fields.get("provider_key"))
    except Problem as exc:
        return await _page(request, problem=exc)
    raise web.HTTPSeeOther("/settings/keys")


async def _page(
    request: web.Request, *, made: NewKey | None = None, problem: Problem | None = None
) -> web.Response:
    project_id, now = project_of(request), now_us()
    found = await keys.list_keys(request, project_id)
    return render(
        request,
        "keys.html",
        status=problem.status if problem is not None else 201 if made is not None else 200,
        nav="keys",
        project_id=project_id,
        rows=[_row(info, now) for info in reversed(found)],
        made=made,
        problem=problem,
        scopes=SCOPES,
        usual=DEFAULT_SCOPES,
        graces=GRACES,
        max_name=keys.MAX_NAME,
        provider_key=await keys.provider_key(request, project_id),
        can_seal=keys.can_seal(request),
        now=now,
    )


def _row(info: KeyInfo, now: int) -> KeyRow:
    is_in_force = info.is_in_force(now)
    return KeyRow(info, _state(info, now), is_in_force, can_rotate=is_in_force and info.expires_at_us is None)


def _state(info: KeyInfo, now: int) -> str:
    if info.revoked_at_us is not None:
        return f"revoked {formats.ago(info.revoked_at_us, now)}"
    if info.expires_at_us is None:
        return "in force"
    if now < info.expires_at_us:
        return f"ends in {formats.duration(info.expires_at_us - now)}"
    return f"ended {formats.ago(info.expires_at_us, now)}"
