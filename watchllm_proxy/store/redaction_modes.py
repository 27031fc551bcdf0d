"""What each project wants redacted: a column of `projects`."""

from __future__ import annotations

import time
from collections.abc import Mapping

import asyncpg

from watchllm_proxy.store.sql import queries
from watchllm_proxy.store.transactions import UPKEEP, transaction

MODES_S = 5.0
"""A changed mode is known after this long."""


class RedactionModes:
    """Those of projects that have one of their own: off, secrets or all. Asks at most each `MODES_S`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._known: Mapping[str, str] = {}
        self._next_look = 0.0

    async def current(self) -> Mapping[str, str]:
        if time.monotonic() >= self._next_look:
            async with transaction(self._pool, UPKEEP) as connection:
                found = await connection.fetch(queries("postgres")["redaction_modes"])
            self._known = {row["project_id"]: row["redaction"] for row in found}
            self._next_look = time.monotonic() + MODES_S
        return self._known


async def set_redaction(pool: asyncpg.Pool, project_id: str, mode: str | None) -> bool:
    """None: as the setting says. False: there is no such project."""
    async with transaction(pool, UPKEEP) as connection:
        return bool(await connection.fetch(queries("postgres")["set_redaction"], project_id, mode))
