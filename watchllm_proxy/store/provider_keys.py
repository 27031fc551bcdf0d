"""Provider keys of projects: sealed before they get here, and never given out open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg

from watchllm_proxy.errors import StoreRejected
from watchllm_proxy.store import views
from watchllm_proxy.store.sql import queries
from watchllm_proxy.store.transactions import QUESTION, UPKEEP, transaction

SHOWN_CHARACTERS = 4


@dataclass(frozen=True, slots=True)
class ProviderKeyInfo:
    """That a project has one, and how to recognise it."""

    project_id: str
    last_four: str
    set_at_us: int


async def set_provider_key(
    pool: asyncpg.Pool, project_id: str, provider_key: str, seal: Callable[[str, str], str]
) -> ProviderKeyInfo | None:
    """None: there is no such project. `seal` is `Vault.seal`; raises ValueError where it cannot."""
    now = datetime.now(UTC)
    sealed, last_four = seal(project_id, provider_key), provider_key[-SHOWN_CHARACTERS:]
    async with transaction(pool, UPKEEP) as connection:
        if not await connection.fetchval("SELECT true FROM projects WHERE project_id = $1", project_id):
            return None
        await connection.execute(queries("postgres")["set_provider_key"], project_id, sealed, last_four, now)
    return ProviderKeyInfo(project_id, last_four, views.at_us(now))


async def list_provider_keys(pool: asyncpg.Pool, project_id: str | None = None) -> tuple[ProviderKeyInfo, ...]:
    """None: of all projects. One is asked about by a reader, who sees no other."""
    asking = transaction(pool, UPKEEP) if project_id is None else transaction(pool, QUESTION, project_id)
    async with asking as connection:
        found = await connection.fetch(queries("postgres")["list_provider_keys"], project_id)
    return tuple(ProviderKeyInfo(row["project_id"], row["last_four"], views.at_us(row["set_at"])) for row in found)


async def remove_provider_key(pool: asyncpg.Pool, project_id: str) -> bool:
    """False: the project has none."""
    async with transaction(pool, UPKEEP) as connection:
        return bool(await connection.fetch(queries("postgres")["remove_provider_key"], project_id))


async def reseal(pool: asyncpg.Pool, again: Callable[[str, str], str | None]) -> int:
    """Replace each sealed value by what `again` makes of it (None: leave it); returns how many were replaced.

    `again` gets the project and the sealed value, and raises ValueError for one that does not open: then nothing
    is changed, and `StoreRejected` names the project.
    """
    resealed = 0
    async with transaction(pool, UPKEEP) as connection:
        for row in await connection.fetch(queries("postgres")["sealed_provider_keys"]):
            try:
                sealed = again(row["project_id"], row["sealed"])
            except ValueError as exc:
                raise StoreRejected(f"the provider key of {row['project_id']} does not open: {exc}") from exc
            if sealed is not None:
                done = await connection.fetch(
                    queries("postgres")["reseal_provider_key"], row["project_id"], row["sealed"], sealed
                )
                resealed += len(done)
    return resealed
