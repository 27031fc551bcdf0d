"""Project keys: made here, shown once, kept as a hash.

A key is 256 random bits, so a plain SHA-256 of it can be looked up and cannot be guessed from.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import asyncpg

from watchllm_proxy.grants import Grants, KeyGrant, ProjectTerms, Scope, known_scopes
from watchllm_proxy.store import views
from watchllm_proxy.store.run_rows import uuid_from
from watchllm_proxy.store.sql import queries
from watchllm_proxy.store.transactions import KEYRING, QUESTION, UPKEEP, transaction

KEY_PREFIX = "lgw_proj_"
SHOWN_CHARACTERS = len(KEY_PREFIX) + 6
"""Of a key that stay visible: enough to recognise it, 36 of 256 bits."""

ROWS_AT_ONCE = 1000
"""Between two reads of so many keys others of the loop get their turn."""

DEFAULT_SCOPES = (Scope.PROXY, Scope.INGEST)
"""Of a new key: it sits in an agent's environment, which sends and reports, and has nothing to read."""


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """A project key as it can be listed. `expires_at_us` None: in force until it is revoked; limits None: those of
    its project alone."""

    key_id: UUID
    project_id: str
    name: str
    key_prefix: str
    scopes: tuple[str, ...]
    created_at_us: int
    revoked_at_us: int | None = None
    expires_at_us: int | None = None
    replaced_by: UUID | None = None
    requests_per_minute: int | None = None
    monthly_cap_usd: Decimal | None = None  # in a month of UTC

    def is_in_force(self, now_us: int) -> bool:
        return self.revoked_at_us is None and (self.expires_at_us is None or now_us < self.expires_at_us)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key at its birth, the only time that `key` is known."""

    info: KeyInfo
    key: str = field(repr=False)


async def create_key(
    pool: asyncpg.Pool, project_id: str, name: str, *, scopes: Sequence[str] = DEFAULT_SCOPES
) -> NewKey:
    """Raises `StoreRejected` when there is no such project."""
    key = _new_key()
    info = KeyInfo(
        key_id=uuid4(),
        project_id=project_id,
        name=views.text(name),
        key_prefix=key[:SHOWN_CHARACTERS],
        scopes=tuple(sorted(scopes)),
        created_at_us=views.at_us(datetime.now(UTC)),
    )
    async with transaction(pool, UPKEEP) as connection:
        await connection.execute(
            queries("postgres")["create_key"],
            info.key_id,
            info.project_id,
            info.name,
            _digest(key),
            info.key_prefix,
            list(info.scopes),
            views.instant(info.created_at_us),
        )
    return NewKey(info, key)


async def list_keys(pool: asyncpg.Pool, project_id: str) -> tuple[KeyInfo, ...]:
    """All keys of a project, oldest first, revoked ones too."""
    async with transaction(pool, QUESTION, project_id) as connection:
        found = await connection.fetch(queries("postgres")["list_keys"], project_id)
    return tuple(
        KeyInfo(
            key_id=uuid_from(row["key_id"]),
            project_id=row["project_id"],
            name=row["name"],
            key_prefix=row["key_prefix"],
            scopes=tuple(row["scopes"]),
            created_at_us=views.at_us(row["created_at"]),
            revoked_at_us=views.optional_at_us(row["revoked_at"]),
            expires_at_us=views.optional_at_us(row["expires_at"]),
            replaced_by=None if row["replaced_by"] is None else uuid_from(row["replaced_by"]),
            requests_per_minute=row["requests_per_minute"],
            monthly_cap_usd=row["monthly_cap_usd"],
        )
        for row in found
    )


async def revoke_key(pool: asyncpg.Pool, project_id: str, key_id: UUID) -> bool:
    """Ends a key for good. False: the project has no such key."""
    async with transaction(pool, UPKEEP) as connection:
        row = await connection.fetchrow(queries("postgres")["revoke_key"], project_id, key_id, datetime.now(UTC))
    return row is not None


async def revoke_keys(pool: asyncpg.Pool, project_id: str) -> int:
    """Ends all keys of a project; returns how many were not ended before."""
    async with transaction(pool, UPKEEP) as connection:
        return len(await connection.fetch(queries("postgres")["revoke_keys"], project_id, datetime.now(UTC)))


async def replace_key(pool: asyncpg.Pool, project_id: str, key_id: UUID, *, grace_s: float) -> NewKey | None:
    """A new key that may what the old one may, which ends `grace_s` from now: time to bring the new one about.

    None: the project has no such key in force, or it is being replaced already.
    """
    now, key, new_id = datetime.now(UTC), _new_key(), uuid4()
    async with transaction(pool, UPKEEP) as connection:
        row = await connection.fetchrow(
            queries("postgres")["replace_key"],
            project_id,
            key_id,
            now + timedelta(seconds=grace_s),
            new_id,
            _digest(key),
            key[:SHOWN_CHARACTERS],
            now,
        )
    if row is None:
        return None
    info = KeyInfo(
        key_id=new_id,
        project_id=project_id,
        name=row["name"],
        key_prefix=key[:SHOWN_CHARACTERS],
        scopes=tuple(row["scopes"]),
        created_at_us=views.at_us(now),
        requests_per_minute=row["requests_per_minute"],
        monthly_cap_usd=row["monthly_cap_usd"],
    )
    return NewKey(info, key)


async def replace_keys(
    pool: asyncpg.Pool, project_id: str, *, grace_s: float
) -> tuple[tuple[KeyInfo, NewKey], ...]:
    """As `replace_key`, every key of a project that is in force and not being replaced already: old and new."""
    found = await list_keys(pool, project_id)
    meant = [each for each in found if each.revoked_at_us is None and each.expires_at_us is None]
    made = [(each, await replace_key(pool, project_id, each.key_id, grace_s=grace_s)) for each in meant]
    return tuple((old, new) for old, new in made if new is not None)


def _new_key() -> str:
    return KEY_PREFIX + secrets.token_urlsafe(32)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


async def limit_key(
    pool: asyncpg.Pool,
    project_id: str,
    key_id: UUID,
    requests_per_minute: int | None,
    monthly_cap_usd: Decimal | None,
) -> bool:
    """None is no limit. False: the project has no such key in force."""
    async with transaction(pool, UPKEEP) as connection:
        row = await connection.fetchrow(
            queries("postgres")["limit_key"], views.key(project_id), key_id, requests_per_minute, monthly_cap_usd
        )
    return row is not None


async def load_grants(pool: asyncpg.Pool, seen: str = "") -> tuple[str, Grants | None]:
    """All keys in force and all projects, and a mark of them; None where the mark is still the one `seen`."""
    async with transaction(pool, KEYRING) as connection:
        mark = str(await connection.fetchval(queries("postgres")["grants_mark"]))
        if mark == seen:
            return mark, None
        cursor = connection.cursor(queries("postgres")["active_keys"], prefetch=ROWS_AT_ONCE)
        keys = [row async for row in cursor]
        projects = await connection.fetch(queries("postgres")["project_terms"])
    return mark, await asyncio.to_thread(_grants, keys, projects)


def _grants(keys: Sequence[asyncpg.Record], projects: Sequence[asyncpg.Record]) -> Grants:
    return Grants(
        {bytes(row["key_hash"]): _grant(row) for row in keys},
        {row["project_id"]: _terms(row) for row in projects},
    )


def _grant(row: asyncpg.Record) -> KeyGrant:
    return KeyGrant(
        project_id=row["project_id"],
        key_id=str(row["key_id"]),
        scopes=known_scopes(tuple(row["scopes"])),
        expires_at_us=views.optional_at_us(row["expires_at"]),
        requests_per_minute=row["requests_per_minute"],
    )


def _terms(row: asyncpg.Record) -> ProjectTerms:
    return ProjectTerms(
        project_id=row["project_id"],
        sealed_provider_key=row["sealed_provider_key"],
        plan=row["plan"],
        monthly_requests=row["monthly_requests"],
        passes_over_quota=row["over_quota"] == "pass",
        requests_per_minute=row["requests_per_minute"],
    )
