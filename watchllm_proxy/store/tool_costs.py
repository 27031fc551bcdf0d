"""What model calls cost by the tool that they asked for, out of the steps of a project's newest runs."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import asyncpg

from watchllm_proxy.store import run_rows, views
from watchllm_proxy.store.costs import MAX_GROUPS, CostGroup
from watchllm_proxy.store.sql import queries

MAX_RUNS = 5_000
MAX_STEPS = 200_000
"""Of the newest runs, that are read for it: steps are kept by run, not by time."""


async def tool_costs(
    connection: asyncpg.Connection, project_id: str, *, from_us: int, to_us: int
) -> Sequence[CostGroup]:
    """Of the calls that began within [from_us, to_us), the dearest tool first; None: of calls that asked for none.

    What a call cost and wrote is shared evenly among the tools that its answer calls; it counts as a call
    of each. How much of what it read was for which is not known.
    """
    found = await connection.fetch(
        queries("postgres")["costs_by_tool"],
        views.key(project_id),
        views.instant(from_us),
        views.instant(to_us),
        MAX_RUNS,
        MAX_STEPS,
        MAX_GROUPS,
    )
    return [
        CostGroup(
            name=row["name"],
            cost_usd=run_rows.usd_from(row["cost_usd"]) or Decimal(0),
            unpriced_calls=row["unpriced_calls"],
            calls=row["calls"],
            failed_calls=row["failed_calls"],
            output_tokens=row["output_tokens"],
        )
        for row in found
    ]
