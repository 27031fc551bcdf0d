"""What a run's messages cost, for whoever looks at it: read and reckoned once, for as long as it does not grow."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from aiohttp import web

from watchllm_proxy.console.context import project_of, reading_of
from watchllm_proxy.console.loading import LoadedRun
from watchllm_proxy.console.memory import Memory
from watchllm_proxy.errors import StoreUnavailable
from watchllm_proxy.insights.caching import CacheBreak, with_characters
from watchllm_proxy.insights.spending import Spending, spending

KEPT_RUNS = 64
MAX_LOOKED_INTO = 16
"""Breaks of a run whose two messages are read to find the character."""


Known = tuple[Spending | None]
"""None: of a run whose calls are gone."""


class SpendingMemory(Memory[Known]):
    """Of the runs that were looked at last."""

    def __init__(self) -> None:
        super().__init__(KEPT_RUNS, lambda known: 1)


SPENDING: web.AppKey[SpendingMemory] = web.AppKey("SPENDING")


async def with_spending(request: web.Request, loaded: LoadedRun) -> LoadedRun:
    """The run with its spending; without where it is too long for that, or the store of calls is away."""
    project_id, run, memory = project_of(request), loaded.run, request.app[SPENDING]
    key = (project_id, run.run_id, run.last_activity_at_us, run.total_steps, run.total_cost_usd, run.input_tokens)
    known = memory.get(key)
    if known is not None:
        return replace(loaded, spending=known[0])
    try:
        sent = await reading_of(request).get_sent_calls(project_id, run)
    except StoreUnavailable:
        return loaded
    found = None if not sent else await asyncio.to_thread(spending, sent, loaded.steps)
    if found is not None and found.breaks:
        found = replace(found, breaks=await _with_characters(request, found.breaks))
    memory.put(key, (found,))
    return replace(loaded, spending=found)


async def _with_characters(request: web.Request, breaks: Sequence[CacheBreak]) -> tuple[CacheBreak, ...]:
    messages = [each for broke in breaks[:MAX_LOOKED_INTO] for each in (broke.previous, broke.message)]
    hashes = sorted({each.content_hash for each in messages if each is not None})
    if not hashes:
        return tuple(breaks)
    contents = await reading_of(request).get_messages(project_of(request), hashes)
    return await asyncio.to_thread(with_characters, breaks, contents)
