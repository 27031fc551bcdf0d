"""A blocking context manager inside a loop that must go on meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from typing import TypeVar

T = TypeVar("T")


@asynccontextmanager
async def entered(opening: AbstractContextManager[T]) -> AsyncIterator[T]:
    """Entered and left in a thread: a target is ready when it answered, and the model may live in this loop."""
    found = await asyncio.to_thread(opening.__enter__)
    try:
        yield found
    finally:
        await asyncio.to_thread(opening.__exit__, None, None, None)
