"""What `watchllm users` does in Postgres; apart from it, for driver and hashing take long to import."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from watchllm_proxy import passwords
from watchllm_proxy.commands.api_client import CommandFailed, ExitStatus
from watchllm_proxy.commands.key_work import asked, must_exist
from watchllm_proxy.commands.terminal import clean
from watchllm_proxy.grants import Scope
from watchllm_proxy.store import people
from watchllm_proxy.store.people import Person


def create_user(user_name: str, project_id: str, scopes: Sequence[Scope], password: str) -> None:
    """Raises `CommandFailed` for a name that is taken or cannot be one, and for a password that is no good."""
    password_hash = _hashed(password)

    async def create(pool: asyncpg.Pool) -> bool:
        await must_exist(pool, project_id)
        return await people.create_person(pool, user_name, project_id, scopes, password_hash)

    try:
        is_new = asked(create)
    except ValueError as exc:
        raise CommandFailed(f"{clean(user_name)!r}: {exc}", ExitStatus.USAGE) from exc
    if not is_new:
        raise CommandFailed(f"there is a {user_name!r} already; names are of the whole installation")


def list_users() -> Sequence[Person]:
    return asked(people.list_people)


def remove_user(user_name: str) -> bool:
    async def remove(pool: asyncpg.Pool) -> bool:
        return await people.remove_person(pool, user_name)

    return asked(remove)


def set_password(user_name: str, password: str) -> bool:
    password_hash = _hashed(password)

    async def change(pool: asyncpg.Pool) -> bool:
        return await people.set_password(pool, user_name, password_hash)

    return asked(change)


def _hashed(password: str) -> str:
    try:
        return passwords.hashed(password)
    except ValueError as exc:
        raise CommandFailed(str(exc), ExitStatus.USAGE) from exc
