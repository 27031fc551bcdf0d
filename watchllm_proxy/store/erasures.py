"""What somebody asked to be erased: asked for by a command or by housekeeping, done by the recorder."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import asyncpg
import orjson

from watchllm_proxy.store import views
from watchllm_proxy.store.old_runs import DeletedRuns, delete_runs
from watchllm_proxy.store.run_rows import uuid_from
from watchllm_proxy.store.sql import queries
from watchllm_proxy.store.transactions import QUESTION, UPKEEP, transaction

_RUNS_AT_ONCE = 500


class ErasureScope(StrEnum):
    RUN = "run"  # the run of this id
    USER = "user"  # runs with a call of this user, whole, and the user's other calls
    PROJECT = "project"  # all runs and calls; the project and its keys stay
    BEFORE = "before"  # calls that began before an instant (microseconds); runs go by their own age


@dataclass(frozen=True, slots=True)
class Erasure:
    """`subject`: an id or an instant, by the scope; empty for a project. Covers what was captured before it."""

    erasure_id: UUID
    project_id: str
    scope: ErasureScope
    subject: str
    requested_at_us: int


@dataclass(frozen=True, slots=True)
class Progress:
    """`erased` is there once it is done: what, and how many."""

    erased: dict[str, int] | None
    failure: str | None


@dataclass(frozen=True, slots=True)
class AskedErasure:
    """As a list shows it. `subject` is forgotten when it is done."""

    erasure_id: UUID
    scope: ErasureScope
    subject: str
    requested_at_us: int
    done_at_us: int | None
    failure: str | None
    erased: dict[str, int] | None


async def ask_for(pool: asyncpg.Pool, erasure: Erasure) -> None:
    """Asking again, by the same id, is asking once."""
    async with transaction(pool, UPKEEP) as connection:
        await connection.execute(
            queries("postgres")["ask_for_erasure"],
            erasure.erasure_id,
            views.key(erasure.project_id),
            erasure.scope.value,
            views.text(erasure.subject),
            views.instant(erasure.requested_at_us),
        )


async def wanted(pool: asyncpg.Pool, *, before_us: int | None = None) -> list[Erasure]:
    """What is to be done, oldest first. `before_us`: what was asked for by then, None: all of it."""
    async with transaction(pool, UPKEEP) as connection:
        found = await connection.fetch(queries("postgres")["wanted_erasures"], views.optional_instant(before_us))
    return [
        Erasure(
            uuid_from(row["erasure_id"]),
            row["project_id"],
            ErasureScope(row["scope"]),
            row["subject"],
            views.at_us(row["requested_at"]),
        )
        for row in found
    ]


async def progress(pool: asyncpg.Pool, erasure_id: UUID) -> Progress:
    async with transaction(pool, UPKEEP) as connection:
        (row,) = await connection.fetch(queries("postgres")["erasure"], erasure_id)
    erased = None if row["erased"] is None else orjson.loads(row["erased"])
    return Progress(erased, row["failure"])


async def of_project(pool: asyncpg.Pool, project_id: str) -> list[AskedErasure]:
    """What people asked for, the newest first."""
    async with transaction(pool, QUESTION, views.key(project_id)) as connection:
        found = await connection.fetch(queries("postgres")["erasures_of_project"], views.key(project_id))
    return [
        AskedErasure(
            uuid_from(row["erasure_id"]),
            ErasureScope(row["scope"]),
            row["subject"],
            views.at_us(row["requested_at"]),
            views.optional_at_us(row["done_at"]),
            row["failure"],
            None if row["erased"] is None else orjson.loads(row["erased"]),
        )
        for row in found
    ]


async def last_done(pool: asyncpg.Pool) -> dict[str, int]:
    """By project, when something that people asked for was erased last."""
    async with transaction(pool, UPKEEP) as connection:
        found = await connection.fetch(queries("postgres")["last_erasures"])
    return {row["project_id"]: views.at_us(row["done_at"]) for row in found}


async def end(
    pool: asyncpg.Pool,
    erasure_id: UUID,
    now: datetime,
    *,
    erased: dict[str, int] | None,
    failure: str | None = None,
) -> None:
    """It is done, or failed for good."""
    counts = None if erased is None else orjson.dumps(erased).decode()
    async with transaction(pool, UPKEEP) as connection:
        await connection.execute(queries("postgres")["end_erasure"], erasure_id, now, failure, counts)


async def runs_of_user(pool: asyncpg.Pool, project_id: str, user_id: str) -> list[str]:
    async with transaction(pool, UPKEEP) as connection:
        found = await connection.fetch(queries("postgres")["runs_of_user"], project_id, views.key(user_id))
    return [row["run_id"] for row in found]


async def erase_runs(pool: asyncpg.Pool, project_id: str, run_ids: list[str]) -> DeletedRuns:
    """Some at a time, each time with all that is theirs."""
    deleted = DeletedRuns()
    for start in range(0, len(run_ids), _RUNS_AT_ONCE):
        async with transaction(pool, UPKEEP) as connection:
            deleted += await delete_runs(connection, project_id, run_ids[start : start + _RUNS_AT_ONCE])
    return deleted


async def erase_project(pool: asyncpg.Pool, project_id: str) -> DeletedRuns:
    """All of its runs. What else names it, as its keys do, stays."""
    deleted = DeletedRuns()
    while True:
        async with transaction(pool, UPKEEP) as connection:
            found = await connection.fetch(queries("postgres")["runs_of_project"], project_id, _RUNS_AT_ONCE)
            gone = await delete_runs(connection, project_id, [row["run_id"] for row in found])
        deleted += gone
        if gone.runs < _RUNS_AT_ONCE:
            break
    async with transaction(pool, UPKEEP) as connection:
        await connection.execute(queries("postgres")["delete_leftovers_of_project"], project_id)
    return deleted
