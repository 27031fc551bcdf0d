"""Every statement of ours runs in a transaction that says as whom, for which project, and within which limits.

Nothing is set for longer than the transaction, so a connection has nothing to remember: not for the next one who
takes it out of our pool, and not behind a pooler that hands it to somebody else in between (docs/supabase.md).
Row security (sql/postgres/security.sql) then decides what is seen: decision 0145.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import asyncpg

from watchllm_proxy.errors import StoreError, StoreUnavailable
from watchllm_proxy.store.postgres_errors import translated

CONNECT_TIMEOUT_S = 10.0
ACQUIRE_TIMEOUT_S = 15.0
"""To wait for a connection of our own pool while others use them all."""

COMMAND_TIMEOUT_S = 330.0
"""The last resort, for a server that says nothing: longer than any limit below, so that the server cuts first."""


class Role(StrEnum):
    """What a transaction may do; made by security.sql."""

    RECORDER = "watchllm_recorder"
    """All projects: who stores what the log holds, and who keeps order."""
    READER = "watchllm_reader"
    """One project, only to look."""
    KEYRING = "watchllm_keyring"
    """Hashes of project keys, of all projects, and what the proxies know of those."""


@dataclass(frozen=True, slots=True)
class Work:
    """A kind of work: as whom, and how long it may take. The server ends what takes longer."""

    role: Role
    statement_timeout_ms: int
    lock_timeout_ms: int
    idle_timeout_ms: int
    """Between two statements: a process of ours that hangs, or is cut off, must not hold its locks."""
    isolation: Literal["read_committed", "repeatable_read"] = "read_committed"
    is_readonly: bool = True


QUESTION = Work(Role.READER, statement_timeout_ms=15_000, lock_timeout_ms=3_000, idle_timeout_ms=10_000)
"""Somebody waits for the page."""

BATCH = Work(
    Role.RECORDER, statement_timeout_ms=60_000, lock_timeout_ms=10_000, idle_timeout_ms=30_000, is_readonly=False
)
"""The recorder's: what it does not get now it asks for again."""

STATE = Work(
    Role.RECORDER,
    statement_timeout_ms=300_000,
    lock_timeout_ms=10_000,
    idle_timeout_ms=60_000,
    isolation="repeatable_read",
)
"""What the recorder reads at its start: much, and as of one moment."""

KEYRING = Work(Role.KEYRING, statement_timeout_ms=10_000, lock_timeout_ms=3_000, idle_timeout_ms=10_000)
LOGIN = Work(
    Role.RECORDER, statement_timeout_ms=10_000, lock_timeout_ms=3_000, idle_timeout_ms=10_000, is_readonly=False
)
"""Somebody waits to be let in."""

UPKEEP = Work(
    Role.RECORDER, statement_timeout_ms=300_000, lock_timeout_ms=10_000, idle_timeout_ms=30_000, is_readonly=False
)
"""Nobody waits for it: keys and projects made by hand, rows that are deleted by age."""

_ISOLATIONS = {"read_committed": "READ COMMITTED", "repeatable_read": "REPEATABLE READ"}


async def open_pool(dsn: str, *, min_size: int = 1, max_size: int = 4) -> asyncpg.Pool:
    """Connections to Postgres, `min_size` of them at once. Raises `StoreUnavailable` when they cannot be had.

    No statement is prepared ahead: a pooler in transaction mode does not know a statement of another
    connection, and a plan made for one project's figures is none for another's.
    """
    async with translated():
        return await asyncpg.create_pool(
            dsn,
            min_size=min_size,
            max_size=max_size,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=COMMAND_TIMEOUT_S,
            statement_cache_size=0,
            server_settings={"application_name": "watchllm"},
            reset=_nothing_to_reset,
        )


@asynccontextmanager
async def transaction(pool: asyncpg.Pool, work: Work, project_id: str = "") -> AsyncIterator[asyncpg.Connection]:
    """A connection within a transaction for `work`; a reader sees `project_id` and nothing else.

    Raises `StoreUnavailable` or `StoreRejected`, also for what happens in its body.
    """
    async with translated(), pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
        try:
            await _begin(connection, work, project_id)
            yield connection
        except BaseException:
            if not connection.is_closed():
                await connection.execute("ROLLBACK")
            raise
        await connection.execute("COMMIT")


async def _begin(connection: asyncpg.Connection, work: Work, project_id: str) -> None:
    try:
        async with translated():
            await connection.execute(_opening(work, project_id))
    except StoreError as exc:  # whatever it is: no row is to blame
        raise StoreUnavailable(f"cannot work as {work.role} (`watchllm migrate` makes it so): {exc}") from exc


def _opening(work: Work, project_id: str) -> str:
    """All in one way to the server and back, which takes no parameters: the only text of others goes as hex."""
    project = f"convert_from(decode('{project_id.encode().hex()}', 'hex'), 'UTF8')"
    return f"""
        BEGIN ISOLATION LEVEL {_ISOLATIONS[work.isolation]}{" READ ONLY" if work.is_readonly else ""};
        SELECT set_config('role', '{work.role}', true), set_config('watchllm.project_id', {project}, true),
            set_config('statement_timeout', '{work.statement_timeout_ms}', true),
            set_config('lock_timeout', '{work.lock_timeout_ms}', true),
            set_config('idle_in_transaction_session_timeout', '{work.idle_timeout_ms}', true)
    """


async def _nothing_to_reset(connection: asyncpg.Connection) -> None:
    """What is set ends with its transaction."""
