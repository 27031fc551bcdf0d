"""Sessions, the conversations of several runs: what lists and pages tell of them. Who is logged in: `people`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import asyncpg

from watchllm_proxy.store import run_rows, views
from watchllm_proxy.store.sql import queries

MAX_LOOKED_THROUGH = 10_000
"""The newest runs of a project, whose sessions a list holds."""


@dataclass(frozen=True, slots=True)
class SessionQuery:
    """Which sessions; those of a single turn are no conversation, and are left out unless they are asked for."""

    limit: int = 20
    offset: int = 0
    with_single: bool = False


@dataclass(frozen=True, slots=True)
class SessionRow:
    """Figures over all runs of a session. `title` and `agent_name`: of its first run."""

    session_id: str
    title: str
    agent_name: str | None
    user_id: str | None
    turns: int  # runs that no other run started
    runs: int
    running: int
    failed: int
    started_at_us: int
    last_activity_at_us: int
    total_steps: int
    error_count: int
    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int
    total_cost_usd: Decimal | None  # of the priced calls; None: none could be priced
    unpriced_calls: int


@dataclass(frozen=True, slots=True)
class SessionList:
    """One page, and how many there are among the runs that were looked through."""

    rows: Sequence[SessionRow]
    total: int
    is_total_exact: bool = True


async def list_sessions(connection: asyncpg.Connection, project_id: str, query: SessionQuery) -> SessionList:
    """The session with the newest run first."""
    found = await connection.fetch(
        _with_figures("list_sessions"),
        views.key(project_id),
        MAX_LOOKED_THROUGH,
        query.with_single,
        query.limit,
        query.offset,
    )
    total = found[0]["total"] if found else 0
    is_total_exact = not found or found[0]["looked_through"] < MAX_LOOKED_THROUGH
    return SessionList([_session(row) for row in found], total, is_total_exact)


async def get_session(connection: asyncpg.Connection, project_id: str, session_id: str) -> SessionRow | None:
    row = await connection.fetchrow(
        _with_figures("session_with_figures"), views.key(project_id), views.key(session_id)
    )
    return None if row is None else _session(row)


def _with_figures(name: str) -> str:
    named = queries("postgres")
    return named[name].replace("/*session_figures*/", named["session_figures"])


def _session(row: Any) -> SessionRow:
    return SessionRow(
        session_id=row["session_id"],
        title=row["title"],
        agent_name=row["agent_name"],
        user_id=row["user_id"],
        turns=row["turns"],
        runs=row["runs"],
        running=row["running"],
        failed=row["failed"],
        started_at_us=views.at_us(row["started_at"]),
        last_activity_at_us=views.at_us(row["last_activity_at"]),
        total_steps=int(row["total_steps"]),
        error_count=int(row["error_count"]),
        input_tokens=int(row["input_tokens"]),
        output_tokens=int(row["output_tokens"]),
        cache_read_input_tokens=int(row["cache_read_input_tokens"]),
        total_cost_usd=run_rows.usd_from(row["total_cost_usd"]),
        unpriced_calls=int(row["unpriced_calls"]),
    )
