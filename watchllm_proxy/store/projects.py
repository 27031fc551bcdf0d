"""Projects, the tenants: made and listed by whoever runs the installation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg

from watchllm_proxy.store import views
from watchllm_proxy.store.sql import queries
from watchllm_proxy.store.transactions import QUESTION, UPKEEP, transaction

PROJECT_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
"""What a project may be called: it stands in addresses and in file names."""


@dataclass(frozen=True, slots=True)
class ProjectInfo:
    """`wanted_plan`: what its admin asks for; None: nothing."""

    project_id: str
    name: str
    created_at_us: int
    keys_in_force: int
    plan: str
    wanted_plan: str | None = None


async def create_project(pool: asyncpg.Pool, project_id: str, name: str) -> bool:
    """False: there is a project of that name. Raises ValueError for a name that `PROJECT_ID` does not allow."""
    if not PROJECT_ID.fullmatch(project_id):
        raise ValueError("a project's id has 1 to 63 of a-z, 0-9, - and _, and begins with a letter or digit")
    async with transaction(pool, UPKEEP) as connection:
        made = await connection.fetch(
            queries("postgres")["create_project"], project_id, views.text(name), datetime.now(UTC)
        )
    return bool(made)


async def list_projects(pool: asyncpg.Pool, project_id: str | None = None) -> tuple[ProjectInfo, ...]:
    """All of them, oldest first; or `project_id` alone, asked about by a reader, who sees no other."""
    asking = transaction(pool, UPKEEP) if project_id is None else transaction(pool, QUESTION, project_id)
    async with asking as connection:
        found = await connection.fetch(queries("postgres")["list_projects"])
    return tuple(
        ProjectInfo(
            project_id=row["project_id"],
            name=row["name"],
            created_at_us=views.at_us(row["created_at"]),
            keys_in_force=row["keys"],
            plan=row["plan"],
            wanted_plan=row["wanted_plan"],
        )
        for row in found
        if project_id in {None, row["project_id"]}
    )
