"""People who log in to the console, and their sessions. Passwords come as hashes: `passwords` makes them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import asyncpg

from watchllm_proxy.grants import Scope, known_scopes
from watchllm_proxy.store import views
from watchllm_proxy.store.sql import queries
from watchllm_proxy.store.transactions import LOGIN, UPKEEP, transaction

USER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}")
"""What a person may be called: an e-mail address, or a short name."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who may log in. `password_hash` is only there to be compared with."""

    user_name: str
    project_id: str
    scopes: frozenset[Scope]
    created_at_us: int = 0
    password_hash: str = field(default="", repr=False)


async def create_person(
    pool: asyncpg.Pool, user_name: str, project_id: str, scopes: Sequence[Scope], password_hash: str
) -> bool:
    """False: the name is taken. Raises ValueError for one that cannot be, `StoreRejected` for no such project."""
    if not USER_NAME.fullmatch(user_name):
        raise ValueError("a name has 1 to 100 of letters, digits and . _ @ + -, and begins with a letter or digit")
    async with transaction(pool, UPKEEP) as connection:
        made = await connection.fetch(
            queries("postgres")["create_person"],
            user_name,
            project_id,
            sorted(scopes),
            password_hash,
            datetime.now(UTC),
        )
    return bool(made)


async def list_people(pool: asyncpg.Pool, project_id: str | None = None) -> tuple[Person, ...]:
    """None: of all projects."""
    async with transaction(pool, UPKEEP) as connection:
        found = await connection.fetch(queries("postgres")["list_people"], project_id)
    return tuple(
        Person(row["user_name"], row["project_id"], _scopes(row), views.at_us(row["created_at"])) for row in found
    )


async def remove_person(pool: asyncpg.Pool, user_name: str) -> bool:
    """Ends their sessions, too. False: there is nobody of that name."""
    async with transaction(pool, UPKEEP) as connection:
        return bool(await connection.fetch(queries("postgres")["remove_person"], user_name))


async def set_password(pool: asyncpg.Pool, user_name: str, password_hash: str) -> bool:
    """Ends their sessions. False: there is nobody of that name."""
    async with transaction(pool, UPKEEP) as connection:
        return bool(await connection.fetch(queries("postgres")["set_password"], user_name, password_hash))


async def get_person(pool: asyncpg.Pool, user_name: str) -> Person | None:
    """With the hash of their password."""
    if not USER_NAME.fullmatch(user_name):
        return None
    async with transaction(pool, LOGIN) as connection:
        row = await connection.fetchrow(queries("postgres")["get_person"], user_name)
    if row is None:
        return None
    return Person(row["user_name"], row["project_id"], _scopes(row), password_hash=row["password_hash"])


# --- sessions ---------------------------------------------------------------------------------------


async def open_session(pool: asyncpg.Pool, person: Person, cookie: bytes, *, lasts_s: float) -> bool:
    """False: the password was changed, or the person removed, since it was compared."""
    now = datetime.now(UTC)
    async with transaction(pool, LOGIN) as connection:
        opened = await connection.fetch(
            queries("postgres")["open_session"],
            _digest(cookie),
            person.user_name,
            person.password_hash,
            now,
            now + timedelta(seconds=lasts_s),
        )
    return bool(opened)


async def get_session(pool: asyncpg.Pool, cookie: bytes) -> Person | None:
    """Whose it is. None: it is over, or never was."""
    async with transaction(pool, LOGIN) as connection:
        row = await connection.fetchrow(queries("postgres")["get_session"], _digest(cookie), datetime.now(UTC))
    return None if row is None else Person(row["user_name"], row["project_id"], _scopes(row))


async def close_session(pool: asyncpg.Pool, cookie: bytes) -> None:
    async with transaction(pool, LOGIN) as connection:
        await connection.execute(queries("postgres")["close_session"], _digest(cookie))


def _digest(cookie: bytes) -> bytes:
    return hashlib.sha256(cookie).digest()


def _scopes(row: asyncpg.Record) -> frozenset[Scope]:
    return known_scopes(tuple(row["scopes"]))
