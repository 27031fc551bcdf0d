"""Projects, their keys and provider keys, as the console changes them: one module behind the page and the API.

Whoever administers a project manages its keys. Who administers the project `default` runs the installation, and
may name another project. A project or a key of somebody else is not there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

import asyncpg
from aiohttp import web

from watchllm_proxy.console.account import MAX_NAME
from watchllm_proxy.console.answers import Problem
from watchllm_proxy.console.context import POOL, SETTINGS, VISITOR
from watchllm_proxy.console.values import whole_number
from watchllm_proxy.errors import StoreRejected, StoreUnavailable
from watchllm_proxy.grants import Scope
from watchllm_proxy.sealing import UNSET, Vault, is_provider_key
from watchllm_proxy.store import keys, projects, provider_keys
from watchllm_proxy.store.keys import KeyInfo, NewKey
from watchllm_proxy.store.projects import ProjectInfo
from watchllm_proxy.store.provider_keys import ProviderKeyInfo

MAX_GRACE_S = 30 * 86_400
DEFAULT_GRACE_S = 3_600


# --- what was asked -----------------------------------------------------------------------------------


def project_meant(request: web.Request, named: object = None) -> str:
    """The visitor's own project; the one `named`, if that is it, or if the visitor runs the installation."""
    visitor = request[VISITOR]
    if named is None or named == visitor.project_id:
        return visitor.project_id
    if not isinstance(named, str) or not visitor.is_operator:
        raise _no_project()
    return named


async def project_shown(request: web.Request, named: object = None) -> ProjectInfo:
    """As `project_meant`, of one that is there."""
    project_id = project_meant(request, named)
    found = {each.project_id: each for each in await list_projects(request)}
    if project_id not in found:
        raise web.HTTPNotFound
    return found[project_id]


def name_of(fields: Mapping[str, object]) -> str:
    name = fields.get("name", "unnamed")
    if not isinstance(name, str) or not name.strip() or len(name) > MAX_NAME:
        raise Problem(422, "invalid_parameter", f"name must be a text of 1 to {MAX_NAME} characters.", "name")
    return name.strip()


def scopes_of(given: object) -> Sequence[Scope]:
    """None: the usual ones."""
    if given is None:
        return keys.DEFAULT_SCOPES
    known = {scope.value: scope for scope in Scope}
    words = given if isinstance(given, list) else []
    if not words or not all(isinstance(word, str) and word in known for word in words):
        raise Problem(422, "invalid_parameter", f"scopes must be a list of {', '.join(known)}.", "scopes")
    return [known[word] for word in dict.fromkeys(words)]


def grace_of(given: object) -> int:
    seconds = whole_number(given)
    if seconds is None or not 0 <= seconds <= MAX_GRACE_S:
        raise Problem(422, "invalid_parameter", f"grace_s must be seconds, 0 to {MAX_GRACE_S}.", "grace_s")
    return seconds


def key_id_of(request: web.Request) -> UUID:
    try:
        return UUID(request.match_info["key_id"])
    except ValueError:
        raise web.HTTPNotFound from None


def _no_project() -> Problem:
    return Problem(404, "not_found", "There is no such project here.", "project_id")


def _pool(request: web.Request) -> asyncpg.Pool:
    pool = request.app[POOL]
    if pool is None:
        raise StoreUnavailable("this console has no store of keys")
    return pool


# --- projects -----------------------------------------------------------------------------------------


async def list_projects(request: web.Request) -> Sequence[ProjectInfo]:
    """All of them for who runs the installation; else the visitor's own."""
    visitor = request[VISITOR]
    return await projects.list_projects(_pool(request), None if visitor.is_operator else visitor.project_id)


async def create_project(request: web.Request, project_id: object, name: str | None) -> None:
    if not request[VISITOR].is_operator:
        raise Problem(403, "operator_required", "Projects are made by who administers the project `default`.")
    if not isinstance(project_id, str):
        raise Problem(422, "invalid_parameter", "project_id must be a text.", "project_id")
    try:
        is_new = await projects.create_project(_pool(request), project_id, name or project_id)
    except ValueError as exc:
        raise Problem(422, "invalid_parameter", f"{exc}.", "project_id") from exc
    if not is_new:
        raise Problem(409, "project_exists", "There is a project of this id already.", "project_id")


# --- keys ---------------------------------------------------------------------------------------------


async def list_keys(request: web.Request, project_id: str) -> Sequence[KeyInfo]:
    return await keys.list_keys(_pool(request), project_id)


async def create_key(request: web.Request, project_id: str, name: str, scopes: Sequence[Scope]) -> NewKey:
    try:
        return await keys.create_key(_pool(request), project_id, name, scopes=scopes)
    except StoreRejected as exc:
        raise _no_project() from exc


async def rotate_key(request: web.Request, project_id: str, key_id: UUID, grace_s: int) -> NewKey:
    made = await keys.replace_key(_pool(request), project_id, key_id, grace_s=grace_s)
    if made is None:
        await _key(request, project_id, key_id)
        raise Problem(409, "key_not_in_force", "This key is revoked, or is being replaced already.")
    return made


async def revoke_key(request: web.Request, project_id: str, key_id: UUID) -> KeyInfo:
    """Once more changes nothing."""
    await keys.revoke_key(_pool(request), project_id, key_id)
    return await _key(request, project_id, key_id)


async def rotate_keys(request: web.Request, project_id: str, grace_s: int) -> Sequence[NewKey]:
    """Every key that is in force and not being replaced already."""
    replaced = await keys.replace_keys(_pool(request), project_id, grace_s=grace_s)
    return [made for _, made in replaced]


async def revoke_keys(request: web.Request, project_id: str) -> int:
    """Every key of the project; how many there were."""
    return await keys.revoke_keys(_pool(request), project_id)


async def _key(request: web.Request, project_id: str, key_id: UUID) -> KeyInfo:
    found = await keys.list_keys(_pool(request), project_id)
    meant = next((each for each in found if each.key_id == key_id), None)
    if meant is None:
        raise web.HTTPNotFound
    return meant


# --- provider keys ------------------------------------------------------------------------------------


def can_seal(request: web.Request) -> bool:
    return bool(request.app[SETTINGS].secret_keys)


async def provider_key(request: web.Request, project_id: str) -> ProviderKeyInfo | None:
    found = await provider_keys.list_provider_keys(_pool(request), project_id)
    return found[0] if found else None


async def set_provider_key(request: web.Request, project_id: str, given: object) -> ProviderKeyInfo:
    if not isinstance(given, str) or not is_provider_key(given.strip()):
        raise Problem(
            422, "invalid_parameter", "provider_key must be one word of printable characters.", "provider_key"
        )
    vault = Vault(request.app[SETTINGS].secret_keys)
    if not vault:
        raise Problem(409, "no_secret_key", UNSET)
    done = await provider_keys.set_provider_key(_pool(request), project_id, given.strip(), vault.seal)
    if done is None:
        raise _no_project()
    return done


async def remove_provider_key(request: web.Request, project_id: str) -> None:
    """Where there is none, nothing changes."""
    await provider_keys.remove_provider_key(_pool(request), project_id)
