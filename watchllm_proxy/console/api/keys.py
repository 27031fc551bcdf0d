"""`/api/projects`, `/api/keys` and `/api/provider-key`: what `console.keys` does, in JSON."""

from __future__ import annotations

from aiohttp import web

from watchllm_proxy.console import keys
from watchllm_proxy.console.answers import json_answer
from watchllm_proxy.console.api.bodies import json_object
from watchllm_proxy.console.context import now_us
from watchllm_proxy.console.correcting import known_fields_only
from watchllm_proxy.console.formats import instant
from watchllm_proxy.store.keys import KeyInfo, NewKey
from watchllm_proxy.store.provider_keys import ProviderKeyInfo


async def list_projects(request: web.Request) -> web.Response:
    rows = [
        {
            "project_id": each.project_id,
            "name": each.name,
            "created_at": instant(each.created_at_us),
            "keys_in_force": each.keys_in_force,
            "plan": each.plan,
            "wanted_plan": each.wanted_plan,
        }
        for each in await keys.list_projects(request)
    ]
    return json_answer({"projects": rows})


async def create_project(request: web.Request) -> web.Response:
    fields = await json_object(request)
    known_fields_only(fields, "project_id", "name")
    name = keys.name_of(fields) if "name" in fields else None
    await keys.create_project(request, fields.get("project_id"), name)
    project_id = str(fields["project_id"])
    return json_answer({"project": {"project_id": project_id, "name": name or project_id}}, status=201)


async def rotate_project(request: web.Request) -> web.Response:
    fields = await json_object(request)
    known_fields_only(fields, "grace_s")
    project_id = keys.project_meant(request, request.match_info["project_id"])
    grace_s = keys.grace_of(fields.get("grace_s", keys.DEFAULT_GRACE_S))
    made = await keys.rotate_keys(request, project_id, grace_s)
    return json_answer({"keys": [_shown_once(each) for each in made]}, status=201)


async def revoke_project(request: web.Request) -> web.Response:
    known_fields_only(await json_object(request))
    project_id = keys.project_meant(request, request.match_info["project_id"])
    return json_answer({"revoked": await keys.revoke_keys(request, project_id)})


async def list_keys(request: web.Request) -> web.Response:
    found = await keys.list_keys(request, keys.project_meant(request, request.query.get("project_id")))
    now = now_us()
    return json_answer({"keys": [_key(each, now) for each in found]})


async def create_key(request: web.Request) -> web.Response:
    fields = await json_object(request)
    known_fields_only(fields, "name", "scopes", "project_id")
    project_id = keys.project_meant(request, fields.get("project_id"))
    made = await keys.create_key(request, project_id, keys.name_of(fields), keys.scopes_of(fields.get("scopes")))
    return _new_key(made)


async def rotate_key(request: web.Request) -> web.Response:
    fields = await json_object(request)
    known_fields_only(fields, "grace_s", "project_id")
    project_id = keys.project_meant(request, fields.get("project_id"))
    grace_s = keys.grace_of(fields.get("grace_s", keys.DEFAULT_GRACE_S))
    return _new_key(await keys.rotate_key(request, project_id, keys.key_id_of(request), grace_s))


async def revoke_key(request: web.Request) -> web.Response:
    project_id = keys.project_meant(request, request.query.get("project_id"))
    ended = await keys.revoke_key(request, project_id, keys.key_id_of(request))
    return json_answer({"key": _key(ended, now_us())})


async def show_provider_key(request: web.Request) -> web.Response:
    project_id = keys.project_meant(request, request.query.get("project_id"))
    return _provider_key(request, await keys.provider_key(request, project_id))


async def set_provider_key(request: web.Request) -> web.Response:
    fields = await json_object(request)
    known_fields_only(fields, "provider_key", "project_id")
    project_id = keys.project_meant(request, fields.get("project_id"))
    return _provider_key(request, await keys.set_provider_key(request, project_id, fields.get("provider_key")))


async def remove_provider_key(request: web.Request) -> web.Response:
    await keys.remove_provider_key(request, keys.project_meant(request, request.query.get("project_id")))
    return _provider_key(request, None)


def _new_key(made: NewKey) -> web.Response:
    return json_answer(_shown_once(made), status=201)


def _shown_once(made: NewKey) -> dict[str, object]:
    """All that ever holds the key."""
    return {"key": _key(made.info, now_us()), "secret": made.key}


def _key(info: KeyInfo, now: int) -> dict[str, object]:
    return {
        "key_id": info.key_id,
        "project_id": info.project_id,
        "name": info.name,
        "key_prefix": info.key_prefix,
        "scopes": info.scopes,
        "is_in_force": info.is_in_force(now),
        "created_at": instant(info.created_at_us),
        "expires_at": instant(info.expires_at_us),
        "revoked_at": instant(info.revoked_at_us),
        "replaced_by": info.replaced_by,
        "requests_per_minute": info.requests_per_minute,
        "monthly_cap_usd": info.monthly_cap_usd,
    }


def _provider_key(request: web.Request, info: ProviderKeyInfo | None) -> web.Response:
    shown = None if info is None else {"last_four": info.last_four, "set_at": instant(info.set_at_us)}
    return json_answer({"provider_key": shown, "can_be_set": keys.can_seal(request)})
