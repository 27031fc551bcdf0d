"""What `watchllm keys` and `watchllm projects` do in Postgres. Apart from them, for the drivers take a third of a
second to import, and `--help` need not wait for that."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import asyncpg

from watchllm_proxy import settings
from watchllm_proxy.commands.api_client import CommandFailed, ExitStatus, NotFound
from watchllm_proxy.commands.terminal import clean
from watchllm_proxy.grants import Scope
from watchllm_proxy.lifecycle import make_data_dir
from watchllm_proxy.settings import Settings
from watchllm_proxy.store import keys, project_settings, projects
from watchllm_proxy.store.embedded import EmbeddedPostgres
from watchllm_proxy.store.keys import KeyInfo
from watchllm_proxy.store.migrate import migrate_postgres
from watchllm_proxy.store.projects import ProjectInfo
from watchllm_proxy.store.transactions import open_pool

T = TypeVar("T")

MAX_NAME = 200

MIN_PREFIX = 8
"""Characters of a key's id that must be given: a slip of the finger must not end a key."""


def create_project(project_id: str, name: str) -> None:
    """Raises `CommandFailed` for an id that is taken or cannot be one."""
    try:
        is_new = asked(lambda pool: projects.create_project(pool, project_id, name))
    except ValueError as exc:
        raise CommandFailed(f"{clean(project_id)!r}: {exc}", ExitStatus.USAGE) from exc
    if not is_new:
        raise CommandFailed(f"there is a project {project_id!r} already")


def rename_project(project_id: str, name: str) -> None:
    if not name.strip() or len(name) > MAX_NAME:
        raise CommandFailed(f"a name has 1 to {MAX_NAME} characters", ExitStatus.USAGE)

    async def rename(pool: asyncpg.Pool) -> None:
        if await project_settings.change(pool, project_id, lambda now: replace(now, name=name.strip())) is None:
            raise NotFound(f"there is no project {clean(project_id)!r}; `watchllm projects create` makes one")

    asked(rename)


def list_projects() -> Sequence[ProjectInfo]:
    return asked(projects.list_projects)


def create_key(project_id: str, name: str, scopes: Sequence[Scope]) -> str:
    """The key itself, which nobody can ask for again. No `scopes`: the usual ones."""

    async def create(pool: asyncpg.Pool) -> str:
        await must_exist(pool, project_id)
        return (await keys.create_key(pool, project_id, name, scopes=scopes or keys.DEFAULT_SCOPES)).key

    return asked(create)


def list_keys(project_id: str) -> Sequence[KeyInfo]:
    async def listed(pool: asyncpg.Pool) -> Sequence[KeyInfo]:
        await must_exist(pool, project_id)
        return await keys.list_keys(pool, project_id)

    return asked(listed)


def revoke_key(project_id: str, wanted: str) -> KeyInfo:
    """`wanted` is a key's id, its beginning, or the key. Raises `NotFound`, or `CommandFailed` for several."""

    async def revoke(pool: asyncpg.Pool) -> KeyInfo:
        await must_exist(pool, project_id)
        meant = only_match(await keys.list_keys(pool, project_id), wanted)
        await keys.revoke_key(pool, project_id, meant.key_id)
        return meant

    return asked(revoke)


def replace_key(project_id: str, wanted: str, grace_s: float) -> tuple[KeyInfo, str]:
    """What is replaced, and the new key. `wanted` as for `revoke_key`; `CommandFailed` for one not in force."""

    async def replace(pool: asyncpg.Pool) -> tuple[KeyInfo, str]:
        await must_exist(pool, project_id)
        meant = only_match(await keys.list_keys(pool, project_id), wanted)
        return meant, await _replaced(pool, meant, grace_s)

    return asked(replace)


def revoke_all(project_id: str) -> int:
    """Ends every key of a project; how many there were."""

    async def revoke(pool: asyncpg.Pool) -> int:
        await must_exist(pool, project_id)
        return await keys.revoke_keys(pool, project_id)

    return asked(revoke)


def replace_all(project_id: str, grace_s: float) -> list[tuple[KeyInfo, str]]:
    """As `replace_key`, every key of a project that is in force and not being replaced already."""

    async def replace(pool: asyncpg.Pool) -> list[tuple[KeyInfo, str]]:
        await must_exist(pool, project_id)
        replaced = await keys.replace_keys(pool, project_id, grace_s=grace_s)
        return [(old, made.key) for old, made in replaced]

    return asked(replace)


async def _replaced(pool: asyncpg.Pool, old: KeyInfo, grace_s: float) -> str:
    made = await keys.replace_key(pool, old.project_id, old.key_id, grace_s=grace_s)
    if made is None:
        raise CommandFailed(f"{old.key_prefix}… is revoked, or is being replaced already")
    return made.key


def only_match(found: Sequence[KeyInfo], wanted: str) -> KeyInfo:
    """As `revoke_key` says. Of a whole key its beginning is compared, for no more of it is known."""
    if len(wanted) < MIN_PREFIX:
        raise CommandFailed(f"give at least {MIN_PREFIX} characters of it", ExitStatus.USAGE)
    matches = [
        each for each in found if str(each.key_id).startswith(wanted.lower()) or wanted.startswith(each.key_prefix)
    ]
    if not matches:
        raise NotFound("there is no such key in this project; `watchllm keys list` lists them")
    if len(matches) > 1:
        raise CommandFailed(f"{len(matches)} keys begin so: give the whole id that `watchllm keys list` shows")
    return matches[0]


async def must_exist(pool: asyncpg.Pool, project_id: str) -> None:
    if project_id not in {each.project_id for each in await projects.list_projects(pool)}:
        raise NotFound(f"there is no project {clean(project_id)!r}; `watchllm projects create` makes one")


def asked(question: Callable[[asyncpg.Pool], Awaitable[T]]) -> T:
    """The answer of the Postgres that the settings name, or of the embedded one."""

    async def ask() -> T:
        async with _postgres(settings.load()) as dsn:
            pool = await open_pool(dsn, max_size=1)
            try:
                return await question(pool)
            finally:
                await pool.close()

    return asyncio.run(ask())


@contextlib.asynccontextmanager
async def _postgres(chosen: Settings) -> AsyncIterator[str]:
    """URL of the Postgres of these settings, for as long as a command takes.

    Where none is named: the embedded one of a `watchllm up` that is running, else the same, started and migrated.
    """
    if chosen.database_url is not None:
        yield chosen.database_url
        return
    make_data_dir(chosen.data_dir)
    server = EmbeddedPostgres(chosen.data_dir / "postgres")
    running = server.running_dsn
    if running is not None:
        yield running
        return
    try:
        await asyncio.to_thread(server.start)
        await migrate_postgres(server.owner_dsn)
        yield server.dsn
    finally:
        await asyncio.to_thread(server.stop)
