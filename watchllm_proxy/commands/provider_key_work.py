"""What `watchllm provider-keys` does in Postgres; apart from it, for the driver takes long to import."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from watchllm_proxy.commands.api_client import NotFound
from watchllm_proxy.commands.key_work import asked
from watchllm_proxy.commands.terminal import clean
from watchllm_proxy.sealing import Vault
from watchllm_proxy.store import provider_keys
from watchllm_proxy.store.provider_keys import ProviderKeyInfo


def set_provider_key(project_id: str, key: str, vault: Vault) -> ProviderKeyInfo:
    """Raises `NotFound` for a project that is not there."""

    async def change(pool: asyncpg.Pool) -> ProviderKeyInfo | None:
        return await provider_keys.set_provider_key(pool, project_id, key, vault.seal)

    done = asked(change)
    if done is None:
        raise NotFound(f"there is no project {clean(project_id)!r}; `watchllm projects create` makes one")
    return done


def list_provider_keys() -> Sequence[ProviderKeyInfo]:
    return asked(provider_keys.list_provider_keys)


def remove_provider_key(project_id: str) -> bool:
    async def remove(pool: asyncpg.Pool) -> bool:
        return await provider_keys.remove_provider_key(pool, project_id)

    return asked(remove)


def reseal(vault: Vault) -> int:
    """How many were not of the first secret. Raises `StoreRejected` where one does not open."""

    def again(project_id: str, sealed: str) -> str | None:
        return None if vault.is_of_first(sealed) else vault.seal(project_id, vault.open(project_id, sealed))

    async def all_of_them(pool: asyncpg.Pool) -> int:
        return await provider_keys.reseal(pool, again)

    return asked(all_of_them)
