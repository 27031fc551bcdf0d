"""Exchanges that a client takes for over while we still take what comes of them: what a kill leaves of them.

Each has a copy in the half of the crash buffer that takes new records, so it is copied anew whenever the halves
change places: what is large, or one of very many, is not held.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from watchllm_proxy.capture.crash_buffer import CrashBuffer
from watchllm_proxy.capture.spill import Part, in_memory, manifest

MAX_BYTES = 1 << 20
"""Of all that is held."""


@dataclass(frozen=True, slots=True)
class _Held:
    """`slots` in the crash buffer: while a commit is under way, one in each half."""

    kept: list[bytes]
    kept_bytes: int
    described: bytes
    slots: list[int | None] = field(default_factory=list)


class HeldExchanges:
    """Belongs to the loop's thread, as the buffer's `keep` does."""

    def __init__(self, buffer: CrashBuffer) -> None:
        self._buffer = buffer
        self._held: dict[UUID, _Held] = {}

    def hold(self, exchange_id: UUID, payload: Sequence[Part]) -> None:
        kept = in_memory(payload)
        held = _Held(kept, sum(map(len, kept)), manifest(payload))
        if held.kept_bytes + sum(one.kept_bytes for one in self._held.values()) <= MAX_BYTES:
            self._held[exchange_id] = held
            self._keep(exchange_id, held)

    def release(self, exchange_id: UUID) -> None:
        """It is given up, or in the buffer in its last form."""
        if self._held and (held := self._held.pop(exchange_id, None)) is not None:
            self._buffer.settle(held.slots)

    def swapped(self) -> None:
        """A commit begins: its half will be emptied."""
        for exchange_id, held in self._held.items():
            self._keep(exchange_id, held)

    def emptied(self) -> None:
        """The commit is over, and the copies in its half are gone."""
        for held in self._held.values():
            del held.slots[:-1]

    def _keep(self, exchange_id: UUID, held: _Held) -> None:
        held.slots.append(self._buffer.keep(exchange_id, held.kept, held.kept_bytes, held.described))
