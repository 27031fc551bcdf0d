"""The sessionizer's memory, as the run store holds it: taken up at a start, and run by run while it thinks."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Callable, Coroutine, Iterator, Sequence

from watchllm_proxy.records import Run, Step
from watchllm_proxy.sessionize import Sessionizer
from watchllm_proxy.store.postgres import RunStore

RunKey = tuple[str, str]
"""(project_id, run_id)"""

StoredRun = tuple[Run, tuple[Step, ...]]


class StoredRuns:
    """The sessionizer's shelf: asked from the thread that thinks, answered by the loop with the connections."""

    def __init__(self, load: Callable[[Sequence[RunKey]], Coroutine[None, None, list[StoredRun]]]) -> None:
        """`load` waits for a store that is away; what it raises, `fetch` raises."""
        self._load = load
        self._loop: asyncio.AbstractEventLoop | None = None

    def serve(self) -> None:
        """From this loop, from now on."""
        self._loop = asyncio.get_running_loop()

    def fetch(self, keys: Sequence[RunKey]) -> list[StoredRun]:
        """Never from the loop itself, which would wait for its own answer."""
        if self._loop is None:
            raise RuntimeError("nobody serves this shelf yet")
        return asyncio.run_coroutine_threadsafe(self._load(keys), self._loop).result()


async def take_up(sessionizer: Sessionizer, runs: RunStore) -> None:
    """The state as of the last commit."""
    with _uncollected():
        state = await runs.load_state(settled_for_us=sessionizer.settled_for_us)
        await asyncio.to_thread(sessionizer.load, state.outlines, state.anchors)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """While hundreds of thousands of objects are made that stay, a search for cycles among them finds nothing,
    and takes half as long again; and so does each later one that looks at them."""
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()
