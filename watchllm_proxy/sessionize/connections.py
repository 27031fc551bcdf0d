"""Which runs have used which client connection. A function of the STATE anchors put into it.

No evidence by itself: a pool may serve many agents. But a connection that one session alone has used so far
tells equals apart.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container, Iterator
from typing import TypeVar

from watchllm_proxy.records import Anchor
from watchllm_proxy.sessionize import marks
from watchllm_proxy.sessionize.run_state import RunKey

K = TypeVar("K")

MAX_RUNS = 64
"""Of one connection, the newest: one that so many runs have used is a pool's, and tells nothing."""

_Address = tuple[str, str, str]
"""(project_id, host, port)"""


class Connections:
    """Holds what is among the last `window` anchors put anywhere (`Anchor.seq`). A run's connections are
    forgotten with it, if not before."""

    def __init__(self, *, window: int) -> None:
        self._window = window
        self._uses: OrderedDict[tuple[RunKey, _Address], Anchor] = OrderedDict()  # the last of each, by its time
        self._runs: dict[_Address, dict[RunKey, None]] = {}
        self._addresses: dict[RunKey, dict[_Address, None]] = {}

    def __len__(self) -> int:
        return len(self._uses)

    def put(self, anchor: Anchor) -> None:
        """An answered call of this run came over the connection that its mark tells."""
        run = (anchor.project_id, anchor.run_id)
        address = (anchor.project_id, *marks.connection_of(anchor))
        use = run, address
        self._uses[use] = anchor
        self._uses.move_to_end(use)
        runs = self._runs.setdefault(address, {})
        _put_last(runs, run)
        _put_last(self._addresses.setdefault(run, {}), address)
        if len(runs) > MAX_RUNS:
            self._drop(next(iter(runs)), address)

    def users(self, project_id: str, client_address: str) -> list[Anchor]:
        """The newest call of each run that has used this connection."""
        host, _, port = client_address.replace(" ", "").rpartition(":")
        address = (project_id, host, port)
        return [self._uses[run, address] for run in self._runs.get(address, ())]

    def sharing(self, run: RunKey) -> Iterator[Anchor]:
        """The same for all connections of this run, itself among the users."""
        for address in self._addresses.get(run, ()):
            yield from (self._uses[user, address] for user in self._runs[address])

    def keep_window(self, newest_seq: int) -> None:
        """Forget what has fallen out of the window, now that this anchor is the newest."""
        while self._uses and next(iter(self._uses.values())).seq <= newest_seq - self._window:
            self._drop(*next(iter(self._uses)))

    def forget(self, run: RunKey) -> None:
        for address in list(self._addresses.get(run, ())):
            self._drop(run, address)

    def keep_only(self, runs: Container[RunKey]) -> None:
        for run in [run for run in self._addresses if run not in runs]:
            self.forget(run)

    def _drop(self, run: RunKey, address: _Address) -> None:
        if self._uses.pop((run, address), None) is None:
            return
        del self._runs[address][run]
        del self._addresses[run][address]
        if not self._runs[address]:
            del self._runs[address]
        if not self._addresses[run]:
            del self._addresses[run]


def _put_last(ordered: dict[K, None], key: K) -> None:
    ordered.pop(key, None)
    ordered[key] = None
